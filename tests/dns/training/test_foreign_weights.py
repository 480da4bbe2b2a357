"""Weights of other programs, laid out as these write them; those of another network are refused with its name."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dns.backbones import ARCHITECTURES
from dns.backbones.backbone import Architecture
from dns.backbones.clip import CLIPBackbone, CLIPResNet
from dns.backbones.resnet import ResNetBackbone, _HalfResNet
from dns.training.network import initial_network, load_initial_weights
from ffcv_convert.common.errors import ConfigError, WeightsError
from tests.support.configs import make_config
from tests.support.refusals import assert_tells, refusal

State = dict[str, Tensor]


def state_of(architecture: str, *leaves_out: str) -> State:
    torch.manual_seed(0)
    state = ARCHITECTURES[architecture].network().state_dict()
    return {name: tensor for name, tensor in state.items() if not name.startswith(leaves_out)}


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def fast_reid() -> dict[str, Any]:
    """A checkpoint of JDAI-CV/fast-reid: fastreid/utils/checkpoint.py; pixel_mean and pixel_std are not in it."""
    heads = {"heads.bottleneck.0.weight": torch.ones(256), "heads.weight": torch.ones(5, 256)}
    trunk = prefixed("backbone.", state_of("resnet10_half", "fc."))
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    return {"model": {**trunk, **heads}, "optimizer": optimizer, "scheduler": {"last_epoch": 2}, "epoch": 3}


def fast_reid_with_non_local_blocks() -> dict[str, Any]:
    """WITH_NL: its NL_2 and NL_3 stand beside the layers, and are left out."""
    content = fast_reid()
    content["model"]["backbone.NL_2.0.theta.weight"] = torch.ones(1, 64, 1, 1)
    return content


def moco() -> dict[str, Any]:
    """What DengpanFu/LUPerson's lup_moco.py writes: MoCo v2 with an MLP in place of fc, in DistributedDataParallel."""
    encoder = state_of("resnet10_half", "fc.")
    mlp = {f"fc.{layer}.{kind}": torch.ones(8) for layer in (0, 2) for kind in ("weight", "bias")}
    keys = {name: tensor + 1 for name, tensor in {**encoder, **mlp}.items()}
    queue = {"module.queue": torch.ones(8, 16), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}
    both = {**prefixed("module.encoder_q.", {**encoder, **mlp}), **prefixed("module.encoder_k.", keys)}
    return {"epoch": 200, "arch": "resnet50", "state_dict": {**both, **queue}, "optimizer": {"state": {}}}


# Each with the prefix and the entry of the tensors that training starts from.
LAYOUTS = {
    "fast-reid": (fast_reid, "backbone.", "model"),
    "fast-reid with non-local blocks": (fast_reid_with_non_local_blocks, "backbone.", "model"),
    "LUPerson, while it trains": (moco, "module.encoder_q.", "state_dict"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_trunk_is_found(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    made, prefix, where = LAYOUTS[layout]
    torch.save(made(), tmp_path / "foreign.pth")
    found, wanted = (
        load_initial_weights("resnet10_half", str(tmp_path / "foreign.pth")),
        state_of("resnet10_half", "fc."),
    )
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
    assert_tells(capsys.readouterr().err, tmp_path / "foreign.pth", prefix, where)


def test_plain_names_of_a_resnet_need_no_note(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """LUPerson's published lup_moco_r50.pth, and what fast-reid starts from."""
    wanted = state_of("resnet10_half", "fc.")
    torch.save(wanted, tmp_path / "lup_moco_r50.pth")
    found = load_initial_weights("resnet10_half", str(tmp_path / "lup_moco_r50.pth"))
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
    assert capsys.readouterr().err == ""


def with_instance_norms(state: State) -> State:
    """As fast-reid's IBN and XingangPan/IBN-Net have them: half of a norm's channels in IN, the others in BN."""
    found: State = {}
    for name, tensor in state.items():
        block, norm, kind = name.rpartition("bn1.")
        if not block or name.endswith("num_batches_tracked") or block.startswith("layer4"):
            found[name] = tensor
            continue
        found[f"{block}{norm}BN.{kind}"] = tensor.chunk(2)[0]
        if kind in ("weight", "bias"):
            found[f"{block}{norm}IN.{kind}"] = tensor.chunk(2)[1]
    return found


def test_instance_norms_are_named(tmp_path: Path) -> None:
    torch.save(with_instance_norms(state_of("resnet10_half")), tmp_path / "ibn.pth")
    with refusal(WeightsError, tmp_path / "ibn.pth", "layer1.0.bn1.weight", "layer1.0.bn1.BN.weight", "No other"):
        load_initial_weights("resnet10_half", str(tmp_path / "ibn.pth"))


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks in place of the large ones: a deeper one, and CLIP's."""
    deeper = Architecture(partial(_HalfResNet, [1, 1, 2, 1]), ResNetBackbone)
    monkeypatch.setitem(ARCHITECTURES, "resnet34", deeper)
    small = Architecture(partial(CLIPResNet, (1, 1, 1, 1), 16), CLIPBackbone, normalisation="clip")
    monkeypatch.setitem(ARCHITECTURES, "resnet50_clip", small)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(
    ("asked", "fits", "prefix"),
    [
        ("resnet10_half", "resnet50_clip", "visual."),
        ("resnet50_clip", "resnet10_half", "module."),
        ("resnet10_half", "resnet34", ""),  # whose tensors are those of resnet10_half and more
        ("resnet34", "resnet10_half", ""),
    ],
)
def test_a_file_of_another_network_is_refused_with_the_one_it_fits(
    asked: str, fits: str, prefix: str, tmp_path: Path
) -> None:
    torch.save({"model": prefixed(prefix, state_of(fits))}, tmp_path / "other.pth")
    with refusal(WeightsError, tmp_path / "other.pth", asked, f"--model.architecture={fits}", "fits"):
        load_initial_weights(asked, str(tmp_path / "other.pth"))
    load_initial_weights(fits, str(tmp_path / "other.pth"))


@pytest.mark.usefixtures("rows")
def test_a_damaged_file_of_another_network_is_refused_with_the_nearest(tmp_path: Path) -> None:
    state = state_of("resnet50_clip", "layer4.0.bn3.")
    torch.save(prefixed("visual.", state), tmp_path / "near.pth")
    with refusal(WeightsError, tmp_path / "near.pth", "--model.architecture=resnet50_clip", "nearer"):
        load_initial_weights("resnet10_half", str(tmp_path / "near.pth"))


@pytest.mark.usefixtures("rows")
def test_an_architecture_whose_library_is_missing_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> nn.Module:
        raise ConfigError("not installed")

    monkeypatch.setitem(ARCHITECTURES, "resnet152", Architecture(missing, ResNetBackbone))
    torch.save(state_of("resnet34"), tmp_path / "other.pth")
    with refusal(WeightsError, tmp_path / "other.pth", "--model.architecture=resnet34"):
        load_initial_weights("resnet10_half", str(tmp_path / "other.pth"))


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(
    ("method", "architecture"),
    [("dns", "resnet34"), ("baseline", "resnet50_clip"), ("agw", "resnet10_half"), ("deen", "resnet34")],
)
def test_a_trained_network_of_another_kind_is_refused_with_its_own(
    method: str, architecture: str, tmp_path: Path
) -> None:
    own = ("synthetic" if method == "dns" else f"{method}/synthetic", f"--model.architecture={architecture}")
    trained = initial_network(make_config(own[1], "--model.pretrained=none", recipe=own[0]), 5)
    torch.save({"model": trained.state_dict()}, path := tmp_path / "trained.pt")
    config = make_config("--model.architecture=resnet10_half", f"--model.pretrained={path}")
    with refusal(WeightsError, path, f"--model.method={method} --model.architecture={architecture}"):
        initial_network(config, 3)
    initial_network(make_config(own[1], f"--model.pretrained={path}", recipe=own[0]), 3)
