"""Initial weights: torchvision's, from its cache or from a file; refused with a reason where that cannot be."""

import argparse
import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import Weights, WeightsEnum

from dns.backbones import ARCHITECTURES, build_backbone
from dns.backbones.backbone import Architecture
from dns.backbones.resnet import published_file
from dns.losses import LossOptions
from dns.model import DNS, ModelOptions
from dns.training import checkpoint_reader
from dns.training.network import load_initial_weights
from ffcv_convert.common.errors import WeightsError
from tests.support.refusals import assert_tells, refusal


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    return path


def test_a_file_initialises_both_stems_and_the_trunk(weights_file: Path) -> None:
    stored = torch.load(weights_file, weights_only=True)
    weights = load_initial_weights("resnet18", str(weights_file))
    model = DNS(3, ModelOptions(architecture="resnet18"), LossOptions(), weights)
    for stem in (model.visible_stem, model.other_stem):
        assert torch.equal(stem.conv1.weight, stored["conv1.weight"])
        assert torch.equal(stem.layer2[1].bn2.running_var, stored["layer2.1.bn2.running_var"])
    assert torch.equal(model.layer4[1].conv2.weight, stored["layer4.1.conv2.weight"])


def test_imagenet_is_torchvisions_file_from_its_cache(
    weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchvision's own loading code, over a file that has the name and the checksum it looks for."""
    digest = hashlib.sha256(weights_file.read_bytes()).hexdigest()[:8]

    class Local(WeightsEnum):
        FILE = Weights(url=f"https://example.invalid/resnet18-{digest}.pth", transforms=torch.nn.Identity, meta={})

    published = ARCHITECTURES["resnet18"]
    assert torchvision.models.ResNet18_Weights.IMAGENET1K_V1 in published.weights["imagenet"].args
    local = {"imagenet": partial(published_file, Local.FILE)}
    monkeypatch.setitem(ARCHITECTURES, "resnet18", replace(published, weights=local))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / f"resnet18-{digest}.pth").write_bytes(weights_file.read_bytes())
    weights = load_initial_weights("resnet18", "imagenet")
    assert torch.equal(weights["conv1.weight"], torch.load(weights_file, weights_only=True)["conv1.weight"])
    build_backbone("resnet18", weights)


def test_a_network_without_imagenet_weights_says_so() -> None:
    with refusal(WeightsError, "resnet10_half", "--model.pretrained=none"):
        load_initial_weights("resnet10_half", "imagenet")


def test_without_a_network_it_says_where_to_put_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    path = tmp_path / "checkpoints" / "resnet50-0676ba61.pth"
    with refusal(WeightsError, path, "no network", "--model.pretrained"):
        load_initial_weights("resnet50", "imagenet")


def test_none_means_no_weights() -> None:
    assert load_initial_weights("resnet50", "none") is None


def test_wrong_files_are_refused(weights_file: Path, tmp_path: Path) -> None:
    with refusal(WeightsError, tmp_path / "gone.pth", "no such"):
        load_initial_weights("resnet18", str(tmp_path / "gone.pth"))
    with refusal(WeightsError, weights_file, "resnet50"):
        load_initial_weights("resnet50", str(weights_file))
    (tmp_path / "text.pth").write_text("not weights")
    with refusal(WeightsError, tmp_path / "text.pth", "readable"):
        load_initial_weights("resnet18", str(tmp_path / "text.pth"))
    torch.save([1], tmp_path / "list.pth")
    with refusal(WeightsError, tmp_path / "list.pth", "list"):
        load_initial_weights("resnet18", str(tmp_path / "list.pth"))


def prefixed(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


WRAPPED = {
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model, with a command line": lambda state: {"model": state, "args": argparse.Namespace(lr=0.1, out="x")},
    "teacher, beside a student": lambda state: {"student": prefixed("net.", state), "teacher": state},
    "module.": lambda state: prefixed("module.", state),
    "backbone., beside a head": lambda state: {**prefixed("backbone.", state), "head.weight": torch.ones(3, 3)},
    "state_dict and module.encoder_q.": lambda state: {"state_dict": prefixed("module.encoder_q.", state)},
    "model and encoder., without a classifier": lambda state: {
        "model": {name: tensor for name, tensor in prefixed("encoder.", state).items() if ".fc." not in name}
    },
    "two levels": lambda state: {"model": {"ema": prefixed("module.", state)}},
}


@pytest.mark.parametrize("how", WRAPPED)
def test_weights_of_other_programs_load_however_they_are_wrapped(
    weights_file: Path, tmp_path: Path, how: str, capsys: pytest.CaptureFixture
) -> None:
    stored = torch.load(weights_file, weights_only=True)
    torch.save(WRAPPED[how](stored), tmp_path / "foreign.pth")
    weights = load_initial_weights("resnet18", str(tmp_path / "foreign.pth"))
    plain = load_initial_weights("resnet18", str(weights_file))
    assert all(torch.equal(weights[name], plain[name]) for name in plain if not name.startswith("fc."))
    assert_tells(capsys.readouterr().err, "note", tmp_path / "foreign.pth")


def test_what_is_missing_and_the_nearest_prefix_are_named(weights_file: Path, tmp_path: Path) -> None:
    state = torch.load(weights_file, weights_only=True)
    del state["layer4.1.conv2.weight"]
    torch.save({"model": {**prefixed("encoder.", state), "other.conv1.weight": torch.ones(1)}}, tmp_path / "near.pth")
    with refusal(WeightsError, tmp_path / "near.pth", "resnet18", "layer4.1.conv2.weight", "encoder. in its model"):
        load_initial_weights("resnet18", str(tmp_path / "near.pth"))
    torch.save({"model": {"patch_embed.weight": torch.ones(1)}}, tmp_path / "vit.pth")
    with refusal(WeightsError, tmp_path / "vit.pth", "resnet18", "conv1.weight"):
        load_initial_weights("resnet18", str(tmp_path / "vit.pth"))


def test_without_a_home_folder_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch would make a folder named ~ here."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "~/.cache/torch/hub")
    with refusal(WeightsError, "TORCH_HOME"):
        load_initial_weights("resnet50", "imagenet")


def with_odd_values(content: dict[str, torch.Tensor], value: torch.Tensor) -> dict[str, torch.Tensor]:
    return {**content, "layer3.0.conv1.weight": value}


@pytest.mark.parametrize(
    "value",
    [
        torch.full((256, 128, 3, 3), torch.nan),
        torch.ones((256, 128, 3, 3), dtype=torch.int8),
        torch.ones(1).expand(256, 128, 3, 3),
        [1.0],
    ],
    ids=["nan", "int8", "not stored", "a list"],
)
def test_weights_that_are_no_sound_numbers_are_refused(weights_file: Path, tmp_path: Path, value: object) -> None:
    torch.save(with_odd_values(torch.load(weights_file, weights_only=True), value), tmp_path / "odd.pth")  # type: ignore[arg-type]
    with refusal(WeightsError, tmp_path / "odd.pth", "layer3.0.conv1.weight"):
        load_initial_weights("resnet18", str(tmp_path / "odd.pth"))


def flipped(path: Path, place: int) -> Path:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    return path


def test_a_flipped_bit_is_found(weights_file: Path, tmp_path: Path) -> None:
    """By the archive's checksums, by the one in the name; a file that has neither is refused."""
    zipped, legacy = tmp_path / "resnet18.pth", tmp_path / "legacy.pth"
    zipped.write_bytes(weights_file.read_bytes())
    with refusal(WeightsError, zipped, "BadZipFile"):
        load_initial_weights("resnet18", str(flipped(zipped, zipped.stat().st_size // 2)))
    stored = torch.load(weights_file, weights_only=True)
    torch.save(stored, legacy, _use_new_zipfile_serialization=False)
    with refusal(WeightsError, legacy, "PyTorch 1.6"):
        load_initial_weights("resnet18", str(legacy))
    named = legacy.rename(tmp_path / f"legacy-{hashlib.sha256(legacy.read_bytes()).hexdigest()[:8]}.pth")
    weights = load_initial_weights("resnet18", str(named))
    assert torch.equal(weights["layer4.1.conv2.weight"], stored["layer4.1.conv2.weight"])
    with refusal(WeightsError, named, "checksum"):
        load_initial_weights("resnet18", str(flipped(named, named.stat().st_size // 2)))


def test_counters_are_gone() -> None:
    names = DNS(2, ModelOptions(), LossOptions()).state_dict()
    assert not [name for name in names if name.endswith("num_batches_tracked")]
    assert {"resnet18", "resnet152", "resnext50_32x4d", "wide_resnet101_2", "resnet10_half"} <= {*ARCHITECTURES}


class Plain:
    """A Backbone of three convolutions, without a pooled stem."""

    rectified = False

    def __init__(self, network: nn.Module, pooled: bool) -> None:
        assert not pooled
        convolutions = list(network.children())
        self.stem: nn.Module = nn.Sequential(convolutions[0])
        self.stages = (nn.Sequential(convolutions[1]), nn.Sequential(convolutions[2]))
        self.stem_width, self.widths = 4, (8, 16)


def plain_network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 8, stride=8), nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.Conv2d(8, 16, 3, padding=1)
    )


def test_another_network_takes_a_class_and_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "plain", Architecture(plain_network, Plain))
    model = DNS(2, ModelOptions(architecture="plain"), LossOptions())
    outputs = model(*torch.randn(4, 3, 64, 32).chunk(2))
    assert outputs.embedding_BD.shape == (4, 16)
    model.loss(outputs, torch.tensor([0, 1, 0, 1]))["total"].backward()
    groups = model.groups()
    assert sum(map(len, groups.values())) == len(list(model.parameters()))
    assert [tuple(parameter.shape) for parameter in groups["layer3"]] == [(8, 4, 3, 3), (8,)]


def test_safetensors_are_read_where_their_library_is_installed(
    weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    library, path = pytest.importorskip("safetensors.torch"), tmp_path / "model.safetensors"
    stored = torch.load(weights_file, weights_only=True)
    library.save_file(stored, path)
    weights = load_initial_weights("resnet18", str(path))
    assert all(torch.equal(weights[name], stored[name]) for name in stored if not name.startswith("fc."))
    assert_tells(capsys.readouterr().err, "note", path, hashlib.sha256(path.read_bytes()).hexdigest())
    path.write_bytes(path.read_bytes()[:-100])
    with refusal(WeightsError, path, "SafetensorError"):
        load_initial_weights("resnet18", str(path))


def test_safetensors_without_their_library_name_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    monkeypatch.setattr(checkpoint_reader, "find_spec", lambda _: None)
    with refusal(WeightsError, tmp_path / "model.safetensors", "'.[safetensors]'"):
        load_initial_weights("resnet18", str(tmp_path / "model.safetensors"))
