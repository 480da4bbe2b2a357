"""Vision transformers: timm's numbers, its files, any grid of patches, and the mean where GeM would cut."""

import ast
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn
from torch.nn import functional

from dns.backbones import ARCHITECTURES, build_backbone, vit
from dns.engine import Engine
from dns.export.graph import ExportedBranch, to_onnx
from dns.export.precision import to_float16
from dns.export.runtime import open_session, run
from dns.losses import LossOptions
from dns.methods import METHODS
from dns.model import DNS, ModelOptions
from dns.network import NetworkOptions
from dns.optim import MultiplierOptions, OptimOptions, make_optimiser
from dns.report import saliency
from dns.training import fine_tuning, throughput
from dns.training.network import initial_network, load_initial_weights
from dns.training.selection import check_patches
from ffcv_convert.common.errors import ConfigError, DataError, WeightsError
from pipelines.augment.normalisation import NORMALISATIONS
from tests.support.configs import make_config
from tests.support.refusals import refusal

NAMES = sorted(vit.VISION_TRANSFORMERS)
TINY = "vit_tiny_patch16"
State = dict[str, Tensor]


def drawn(name: str = TINY) -> State:
    """Weights in timm's names, all of them random: timm itself draws zeros and ones as well."""
    torch.manual_seed(0)
    state = ARCHITECTURES[name].network().state_dict()
    return {key: tensor + 0.05 * torch.randn(tensor.shape) for key, tensor in state.items()}


@pytest.fixture(scope="module")
def weights() -> State:
    return drawn()


def maps_of(backbone: Any, images: Tensor) -> Tensor:
    maps = backbone.stem(images)
    for stage in backbone.stages:
        maps = stage(maps)
    return maps


def network(weights: State | None = None, identities: int = 3, architecture: str = TINY) -> DNS:
    torch.manual_seed(1)
    return DNS(identities, ModelOptions(architecture=architecture), LossOptions(), weights)


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> DNS:
    """A DNS on a transformer of three blocks, with random weights: what traces it takes less time."""
    build = partial(timm.create_model, f"{TINY}_224", pretrained=False, num_classes=0, depth=3)
    monkeypatch.setitem(ARCHITECTURES, "shallow", replace(ARCHITECTURES[TINY], network=build))
    return network(drawn("shallow"), architecture="shallow").eval()


@pytest.mark.parametrize("name", ["vit_base_patch16", TINY])
def test_it_computes_what_timm_s_network_without_class_token_does(name: str) -> None:
    state = drawn(name)
    theirs = timm.create_model(f"{name}_224", class_token=False, global_pool="avg", fc_norm=False, num_classes=0)
    without = {key: tensor for key, tensor in state.items() if key != "cls_token"}
    theirs.load_state_dict({**without, "pos_embed": state["pos_embed"][:, 1:]})
    images = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        wanted, found = theirs.forward_features(images), maps_of(build_backbone(name, state), images)
    assert found.shape == (1, wanted.shape[2], 14, 14)
    assert torch.allclose(found.flatten(2).transpose(1, 2), wanted, rtol=0, atol=1e-5)
    assert wanted.std() > 0.1
    assert wanted.min() < 0


@pytest.mark.parametrize("grid", [(18, 9), (24, 12), (9, 18), (6, 3), (28, 28), (14, 7)])
def test_position_embeddings_are_resized_as_timm_does(weights: State, grid: tuple[int, int]) -> None:
    stem: Any = build_backbone(TINY, weights).stem
    wanted = resample_abs_pos_embed(weights["pos_embed"], list(grid), num_prefix_tokens=1)[0, 1:].unflatten(0, grid)
    found = stem.position_on(*grid)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-5)
    images = torch.randn(1, 3, 16 * grid[0], 16 * grid[1])
    patches = stem.patches(images)
    assert torch.allclose(stem(images), stem.blocks(patches + wanted.permute(2, 0, 1)), rtol=0, atol=1e-4)
    assert not torch.allclose(stem(images), stem.blocks(patches), rtol=0, atol=1e-2)


def test_at_their_own_grid_they_stay_what_they_are(weights: State) -> None:
    stem: Any = build_backbone(TINY, weights).stem
    assert stem.position_on(14, 14) is stem.position
    assert torch.equal(vit.resizing(14, 14, stem.position), torch.eye(14))
    with torch.autocast("cpu", torch.bfloat16):
        assert stem.position_on(18, 9).dtype == torch.float32


def test_the_three_parts_have_a_third_of_the_blocks_each() -> None:
    model = network()
    groups = model.groups()
    assert sum(map(len, groups.values())) == len(list(model.parameters()))
    counts = {name: sum(one.numel() for one in groups[name]) for name in ("layer3", "layer4")}
    block, norm = sum(one.numel() for one in model.layer3[0].parameters()), 2 * 192
    assert counts == {"layer3": 4 * block, "layer4": 4 * block + norm}
    assert len(model.visible_stem.blocks) == len(model.other_stem.blocks) == 4  # type: ignore[arg-type]


def test_signed_maps_are_pooled_by_their_mean() -> None:
    """In DNS and in its baseline; a ResNet's maps by GeM, which the goldens hold."""
    for name in ("dns", "baseline"):
        method, seen = METHODS[name], []
        options = method.model(method=name, architecture=TINY)
        model = method.network(3, options, method.loss()).eval()
        model.last_map.register_forward_hook(lambda _module, _given, maps, seen=seen: seen.append(maps))
        with torch.inference_mode():
            z, _ = model.embed(torch.randn(2, 3, 64, 32), visible=True)
        (maps,) = seen
        assert maps.shape == (2, 192, 4, 2)
        assert (maps < 0).float().mean() > 0.2
        assert torch.allclose(z, functional.normalize(maps.double().mean((2, 3)), dim=1).float(), atol=1e-6)


# Files of weights


HELD = {
    "timm's own, with a classifier": lambda state: {**state, "head.weight": torch.ones(10, 192)},
    "DINO's": lambda state: {"student": {}, "teacher": {f"backbone.{name}": one for name, one in state.items()}},
    "MAE's, with a decoder": lambda state: {"model": {**state, "decoder_pos_embed": torch.ones(1, 197, 64)}},
    "without a class token": lambda state: {name: one for name, one in state.items() if name != "cls_token"},
}


@pytest.mark.parametrize("how", HELD)
def test_files_with_timm_s_names_load_without_the_class_token_s_position(
    how: str, weights: State, tmp_path: Path
) -> None:
    torch.save(HELD[how](weights), tmp_path / "vit.pth")
    model = network(load_initial_weights(TINY, str(tmp_path / "vit.pth")))
    for stem in (model.visible_stem, model.other_stem):
        assert torch.equal(stem.position, weights["pos_embed"][0, 1:].view(14, 14, 192))
        assert torch.equal(stem.patches.weight, weights["patch_embed.proj.weight"])  # type: ignore[union-attr]
        assert torch.equal(stem.blocks[3].mlp.fc2.bias, weights["blocks.3.mlp.fc2.bias"])  # type: ignore[index, union-attr]
    assert torch.equal(model.layer3[0].attn.qkv.weight, weights["blocks.4.attn.qkv.weight"])  # type: ignore[union-attr]
    assert torch.equal(model.layer4[3].norm1.bias, weights["blocks.11.norm1.bias"])  # type: ignore[union-attr]
    assert torch.equal(model.layer4[4].weight, weights["norm.weight"])


def test_another_size_is_refused(weights: State, tmp_path: Path) -> None:
    torch.save(weights, tmp_path / "tiny.pth")
    with refusal(WeightsError, tmp_path / "tiny.pth", "vit_small_patch16", "pos_embed"):
        load_initial_weights("vit_small_patch16", str(tmp_path / "tiny.pth"))


def test_imagenet_is_timm_s_file_from_hugging_face_s_hub(
    weights: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, asked = pytest.importorskip("safetensors.torch"), []
    library.save_file(weights, tmp_path / "model.safetensors")

    def download(repository: str, name: str) -> str:
        asked.append((repository, name))
        return str(tmp_path / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    found = load_initial_weights(TINY, "imagenet")
    assert found is not None
    assert asked == [("timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", "model.safetensors")]
    assert torch.equal(found["blocks.7.attn.proj.weight"], weights["blocks.7.attn.proj.weight"])


def test_a_file_that_cannot_be_downloaded_is_refused_with_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: str) -> str:
        raise FileNotFoundError("cannot find it on the\n hub")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with refusal(WeightsError, "vit_tiny_patch16_224.augreg_in21k_ft_in1k", "on the hub", "--model.pretrained=none"):
        load_initial_weights(TINY, "imagenet")


@pytest.mark.parametrize("name", NAMES)
def test_the_normalisation_is_that_of_the_published_weights(name: str) -> None:
    (published,) = ARCHITECTURES[name].weights.values()
    theirs, own = timm.get_pretrained_cfg(published.args[0]), NORMALISATIONS[ARCHITECTURES[name].normalisation]  # type: ignore[attr-defined]
    assert (tuple(theirs.mean), tuple(theirs.std), theirs.input_size) == (own.mean, own.deviation, (3, 224, 224))
    assert make_config(f"--model.architecture={name}").normalisation == own


# What is refused


@pytest.fixture
def _no_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vit, "find_spec", lambda _: None)


@pytest.mark.usefixtures("_no_timm")
@pytest.mark.parametrize("pretrained", ["none", "imagenet"])
def test_without_timm_it_is_said_what_to_install(pretrained: str) -> None:
    config = make_config(f"--model.architecture={TINY}", f"--model.pretrained={pretrained}")
    with refusal(ConfigError, "pip install '.[timm]'", "--model.architecture"):
        initial_network(config, 3)


@pytest.mark.usefixtures("_no_timm")
def test_without_timm_another_network_is_still_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hint tries all networks on the tensors."""
    monkeypatch.setattr(fine_tuning, "ARCHITECTURES", {name: ARCHITECTURES[name] for name in (TINY, "resnet10_half")})
    options = ModelOptions(architecture="resnet10_half")
    path = tmp_path / "trained.pt"
    torch.save(DNS(2, options, LossOptions()).state_dict(), path)
    with refusal(WeightsError, path, "--model.architecture=resnet10_half"):
        initial_network(
            make_config(f"--model.pretrained={tmp_path / 'trained.pt'}", "--model.architecture=resnet18"), 3
        )


def test_other_backbones_do_not_import_timm() -> None:
    top = ast.parse(Path(vit.__file__).read_text()).body
    names = [alias.name for node in top if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in top if isinstance(node, ast.ImportFrom)]
    assert not [name for name in names if name.startswith(("timm", "huggingface_hub"))]


@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if row.network.pooled_stem])
def test_methods_that_take_four_stages_are_refused(method: str) -> None:
    with refusal(ConfigError, "model.method", method, TINY, "baseline"):
        make_config(f"--model.architecture={TINY}", recipe=f"{method}/synthetic")


def test_images_that_are_no_whole_patches_are_refused() -> None:
    beton = Path("Beton/llcm/test.beton")
    with refusal(DataError, beton, "300 x 150", "--height-px 304 --width-px 144"):
        check_patches(TINY, beton, (300, 150))
    check_patches(TINY, beton, (288, 144))
    check_patches("resnet50", beton, (300, 150))


# Training, export, figures


def trained(steps: int = 3) -> State:
    model = network(identities=2).train()
    optimiser = make_optimiser(model, OptimOptions(name="adamw", lr=1e-3), MultiplierOptions(), fused=False)
    images = torch.randn(steps, 8, 3, 96, 48, generator=torch.Generator().manual_seed(2))
    for visible, other in (batch.chunk(2) for batch in images):
        optimiser.zero_grad()
        model.loss(model(visible, other), torch.tensor([0, 0, 1, 1] * 2))["total"].backward()
        optimiser.step()
    return model.state_dict()


@pytest.mark.numerical
def test_two_trainings_are_equal_in_every_bit_and_move_every_parameter() -> None:
    one, two = trained(), trained()
    assert all(torch.equal(one[name], two[name]) for name in one)
    before = network(identities=2)
    for name, _ in before.named_parameters():
        assert not torch.equal(one[name], before.state_dict()[name]), name


@pytest.mark.parametrize("channels_last", [False, True])
def test_it_computes_in_bf16_and_channels_last_as_in_float32(channels_last: bool) -> None:
    model, images = network(drawn()).eval(), torch.randn(2, 3, 96, 48)
    with torch.inference_mode():
        wanted = model.embed(images, visible=True)[1]
        engine = Engine(torch.device("cpu"), "bf16", channels_last=channels_last, compile=False)
        placed, given = engine.place(model), engine.arrange(images)
        with engine.autocast():
            found = placed.embed(given, visible=True)[1]
    assert functional.cosine_similarity(found, wanted).min() > 0.999


def test_it_is_traced_as_one_graph(shallow: DNS) -> None:
    images = torch.randn(2, 3, 96, 48)
    traced = torch.compile(lambda given: shallow.embed(given, visible=True)[0], backend="eager", fullgraph=True)
    with torch.no_grad():
        assert torch.allclose(traced(images), shallow.embed(images, visible=True)[0], atol=1e-6)


def test_operations_of_attention_are_counted() -> None:
    """Two products of tokens with tokens in every block, forward, and twice as many backward."""
    tokens = {size_px: size_px[0] * size_px[1] // 256 for size_px in ((96, 48), (288, 144))}
    counts = {
        size_px: throughput.count(
            ModelOptions(architecture=TINY), LossOptions(), 3, batch=8, size_px=size_px, accumulate=1
        )
        for size_px in tokens
    }
    small, large = tokens
    layers_and_losses = counts[small] - 8 * 12 * 12 * tokens[small] ** 2 * 192 / 1e12
    attention = 8 * 12 * 12 * tokens[large] ** 2 * 192 / 1e12
    assert counts[large] == pytest.approx(9 * layers_and_losses + attention, rel=0.03)
    assert attention > 0.05 * counts[large]


def test_it_is_exported_with_pytorch_s_numbers(shallow: DNS, tmp_path: Path) -> None:
    branch = ExportedBranch(shallow, "bn", NORMALISATIONS["half"], visible=False).eval()
    whole = to_onnx(branch, (96, 48))
    for content, allowed in ((whole, 1e-5), (to_float16(whole), 5e-3)):
        (tmp_path / "network.onnx").write_bytes(content)
        session = open_session(tmp_path / "network.onnx", 1)
        for batch in (1, 3):
            pixels = np.random.default_rng(batch).integers(0, 256, (batch, 96, 48, 3), dtype=np.uint8)
            with torch.inference_mode():
                wanted = branch(torch.from_numpy(pixels))[0]
            assert np.abs(run(session, pixels, "embedding")[0] - wanted.numpy()).max() < allowed


@pytest.mark.skipif(not saliency.available(), reason="captum is not installed")
@pytest.mark.parametrize("method", ["dns", "baseline"])
def test_figures_show_where_it_looks(method: str) -> None:
    row = METHODS[method]
    options: NetworkOptions = row.model(method=method, architecture=TINY)
    model = row.network(3, options, row.loss()).eval()

    def embed(images: Tensor, modality: int) -> Tensor:
        return model.embed(images, visible=bool(modality))[0]

    target = functional.normalize(torch.randn(1, 192), dim=1)
    heat = saliency._map(model, embed, torch.randn(1, 3, 96, 48), 1, target)
    assert heat.shape == (6, 3)
    assert heat.max() == 1
    assert isinstance(model.last_map, nn.Module)
