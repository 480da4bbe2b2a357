"""CLIP's ResNet: open-clip-torch's numbers, the resolution of its last stage, every method on it, and its published
file."""

import hashlib
from functools import partial
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn

from dns.backbones import ARCHITECTURES, build_backbone, clip
from dns.backbones.backbone import Architecture
from dns.backbones.clip import CLIPBackbone, CLIPResNet
from dns.methods import METHODS
from dns.network import Network
from dns.training.checkpoint_reader import read
from dns.training.network import initial_network, load_initial_weights, trained_network
from ffcv_convert.common.errors import WeightsError
from pipelines.augment.normalisation import NORMALISATIONS
from tests.support.configs import make_config
from tests.support.refusals import assert_tells, refusal

PERSON = torch.tensor([2, 2, 0, 0, 1, 1] * 2)
ALIKE = {"rtol": 1e-5, "atol": 1e-5}


def drawn(network: nn.Module) -> nn.Module:
    """Give all its tensors random values: those of a new network leave a block's convolutions without effect."""
    torch.manual_seed(3)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.5 if tensor.ndim == 1 else torch.randn_like(tensor) / 8)
    return network


def open_clips(**sizes: object) -> nn.Module:
    """open-clip-torch's network without its attention pooling."""
    oracle = pytest.importorskip("open_clip.modified_resnet").ModifiedResNet(output_dim=8, heads=8, **sizes)
    del oracle.attnpool
    return drawn(oracle)


def open_clips_maps(oracle: nn.Module, images: Tensor) -> list[Tensor]:
    maps = [oracle.stem(images)]
    for layer in (oracle.layer1, oracle.layer2, oracle.layer3, oracle.layer4):
        maps.append(layer(maps[-1]))
    return maps


@pytest.mark.numerical
@pytest.mark.parametrize("training", [True, False])
def test_maps_are_open_clips(training: bool) -> None:
    oracle, own = open_clips(layers=(3, 4, 6, 3), width=64), CLIPResNet()
    own.load_state_dict(oracle.state_dict())  # strict: all names are alike
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():  # training first: the running statistics that eval mode needs
        for mode in (True, training):
            wanted, found = open_clips_maps(oracle.train(mode), images)[-1], own.train(mode)(images)
    assert found.shape == (2, 2048, 2, 1)
    torch.testing.assert_close(found, wanted, **ALIKE)


@pytest.mark.parametrize("pooled", [True, False])
def test_without_the_poolings_of_layer4_a_map_keeps_its_resolution(pooled: bool) -> None:
    """Both of them are gone: that of the convolutions and that of the shortcut."""
    oracle = open_clips(layers=(1, 2, 1, 2), width=16)
    network = CLIPResNet((1, 2, 1, 2), width=16)
    network.load_state_dict(oracle.state_dict())
    backbone = CLIPBackbone(network, pooled)
    oracle.layer4[0].avgpool = oracle.layer4[0].downsample[0] = nn.Identity()
    wanted = open_clips_maps(oracle, images := torch.randn(4, 3, 64, 32))
    found = [backbone.stem(images)]
    for stage in backbone.stages:
        found.append(stage(found[-1]))
    assert [maps.shape[2:] for maps in found] == ([(16, 8)] * 2 if pooled else []) + [(8, 4)] + [(4, 2)] * 2
    assert (backbone.stem_width, *backbone.widths) == tuple(maps.shape[1] for maps in found)
    for one, other in zip(found, wanted[-len(found) :], strict=True):
        torch.testing.assert_close(one, other, **ALIKE)


def test_the_widths_of_the_whole_network() -> None:
    with torch.device("meta"):
        backbones = [build_backbone("resnet50_clip", None, pooled=pooled) for pooled in (True, False)]
    assert [(one.stem_width, one.widths) for one in backbones] == [(64, (256, 512, 1024, 2048)), (512, (1024, 2048))]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """resnet50_clip with a block or two a stage, and a quarter of the channels."""
    monkeypatch.setitem(
        ARCHITECTURES,
        "resnet50_clip",
        Architecture(partial(CLIPResNet, (1, 2, 2, 1), 16), CLIPBackbone, normalisation="clip"),
    )


def embedded(network: Network, images: Tensor) -> Tensor:
    with torch.no_grad():
        return network.eval().embed(images, visible=False)[1]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_a_step_embeds_and_comes_back_from_a_file(method: str, tmp_path: Path) -> None:
    recipe = "synthetic" if method == "dns" else f"{method}/synthetic"
    config = make_config("--model.architecture=resnet50_clip", "--model.pretrained=none", recipe=recipe)
    network = initial_network(config, 3).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    outputs = network(torch.randn(network.views * 6, 3, 64, 32), torch.randn(6, 3, 64, 32))
    network.loss(outputs, PERSON)["total"].backward()
    optimiser.step()
    changed = {name for name, parameter in network.named_parameters() if not torch.equal(parameter, before[name])}
    assert {"visible_stem.conv1.weight", "other_stem.bn3.weight"} <= changed

    images = torch.randn(2, 3, 64, 32)
    torch.save(network.state_dict(), tmp_path / "trained.pt")
    again = trained_network(tmp_path / "trained.pt", read(tmp_path / "trained.pt"), config)
    assert embedded(network, images).shape == (2, network.width)
    assert torch.equal(embedded(again, images), embedded(network, images))


@pytest.mark.usefixtures("small")
@pytest.mark.filterwarnings("ignore")  # torch.jit is deprecated
def test_training_starts_from_an_archive_as_openai_published_it(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """TorchScript, in float16 but for batch norms, `visual.` beside the other parts of CLIP."""

    class CLIP(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.visual = drawn(ARCHITECTURES["resnet50_clip"].network())
            self.visual.add_module("attnpool", nn.Linear(512, 8))
            self.token_embedding = nn.Embedding(5, 8)
            self.logit_scale = nn.Parameter(torch.ones(()))

        def forward(self, images: Tensor) -> Tensor:
            return self.token_embedding.weight

    whole, path = CLIP(), tmp_path / "RN50.pt"
    for module in whole.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.half()
    torch.jit.save(torch.jit.script(whole), path)
    config = make_config("--model.architecture=resnet50_clip", f"--model.pretrained={path}")
    network = initial_network(config, 3)
    assert config.normalisation == NORMALISATIONS["clip"]
    for stem in (network.visible_stem, network.other_stem):
        assert torch.equal(stem.conv2.weight, whole.visual.conv2.weight.float())
        assert torch.equal(stem.layer2[1].bn3.running_var, whole.visual.layer2[1].bn3.running_var)
    assert torch.equal(network.layer4[0].downsample[2].bias, whole.visual.layer4[0].downsample[2].bias)
    assert_tells(capsys.readouterr().err, "note", path, "visual.")


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch.hub would keep the published file."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path / "checkpoints" / "RN50.pt"


def test_a_published_file_is_compared_with_openais_digest(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.parent.mkdir()
    kept.write_bytes(b"a file")
    with refusal(WeightsError, kept, clip.SHA256):
        load_initial_weights("resnet50_clip", "clip")
    monkeypatch.setattr(clip, "SHA256", hashlib.sha256(b"a file").hexdigest())
    assert clip.published_file() == kept


def test_a_missing_file_is_downloaded_once_and_checked(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(url: str, place: str, hash_prefix: str) -> None:
        asked.append((url, hash_prefix))
        Path(place).write_bytes(b"from OpenAI")

    digest = hashlib.sha256(b"from OpenAI").hexdigest()
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setattr(clip, "SHA256", digest)
    assert [clip.published_file() for _ in range(2)] == [kept, kept]
    assert asked == [(clip.URL, digest)]


def test_offline_it_says_where_to_put_the_file(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with refusal(WeightsError, kept, "no network", "--model.pretrained"):
        load_initial_weights("resnet50_clip", "clip")


def test_imagenet_weights_are_refused_with_its_own() -> None:
    with refusal(WeightsError, "resnet50_clip", "--model.pretrained=clip"):
        load_initial_weights("resnet50_clip", "imagenet")
