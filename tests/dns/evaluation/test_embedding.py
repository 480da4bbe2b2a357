"""Embedding: rows, padding and the three flips for both features; the file of features."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dns.engine import Engine
from dns.evaluation.embedding import COUNTERPART, FEATURES, Embedder, Embeddings, Flip, compared_width, save_features
from dns.losses import LossOptions
from dns.model import DNS, ModelOptions
from tests.support.made_sets import make_set

pytestmark = pytest.mark.numerical

ENGINE = Engine(torch.device("cpu"), "fp32", channels_last=False, compile=False)
ROWS = 7  # of the embeddings


@pytest.fixture(scope="module")
def model() -> DNS:
    torch.manual_seed(0)
    return DNS(3, ModelOptions(architecture="resnet18"), LossOptions()).eval()


@pytest.fixture(scope="module")
def batches() -> list[tuple[Tensor, Tensor]]:
    """Three images, then one and two of padding, for rows in disorder."""
    images = torch.randint(0, 256, (6, 64, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return [(images[:3], torch.tensor([5, 0, 3])), (images[3:], torch.tensor([2]))]


def prepare(images_BHWC: Tensor) -> Tensor:
    return (images_BHWC.float() / 255).permute(0, 3, 1, 2)


def empty(width: int = 512) -> Embeddings:
    return Embeddings(*(torch.full((ROWS, width), float("nan")) for _ in Embeddings._fields))


@torch.inference_mode()
def embed_images(
    model: DNS, batches: list[tuple[Tensor, Tensor]], found: Embeddings, *, visible: bool, flip: Flip, engine: Engine
) -> None:
    """Fill the rows that the batches name."""
    embedder = Embedder(model, prepare, engine, flip=flip)
    for images, rows in batches:
        for target, feature in zip(found, embedder(images, visible=visible), strict=True):
            target[rows] = feature[: len(rows)]


@pytest.mark.parametrize("visible", [True, False])
@pytest.mark.parametrize("flip", ["published", "normalised", "off"])
def test_both_features_are_those_of_the_image_and_its_mirror(
    model: DNS, batches: list[tuple[Tensor, Tensor]], flip: Flip, visible: bool
) -> None:
    found = empty()
    embed_images(model, batches, found, visible=visible, flip=flip, engine=ENGINE)
    for images, rows in batches:
        for image, row in zip(images, rows.tolist(), strict=False):
            with torch.inference_mode():
                z, bn = (feature[0] for feature in model.embed(prepare(image[None]), visible=visible))
                mirror = np.ascontiguousarray(image.numpy()[:, ::-1])
                mirrored = model.embed(prepare(torch.from_numpy(mirror)[None]), visible=visible)
            for name, plain, other in (("z", z, mirrored[0][0]), ("bn", bn, mirrored[1][0])):
                assert not torch.allclose(plain, other, atol=1e-4)
                total = plain if flip == "off" else plain + other
                expected = total / total.norm() if flip == "normalised" else total
                assert torch.allclose(getattr(found, name)[row], expected, atol=1e-5), (name, row)
    for feature in found:
        assert feature[[1, 4, 6]].isnan().all()


@pytest.mark.parametrize("feature", FEATURES)
def test_what_is_compared_has_the_similarity_of_its_name(feature: str) -> None:
    """Six parts as DEEN has them, three before the neck and three after it: naive sums of their products."""
    torch.manual_seed(0)
    bn, z = (functional.normalize(torch.randn(4, 3, 5, dtype=torch.float64), dim=2) for _ in range(2))
    compared = Embeddings(bn.flatten(1), z.flatten(1)).compared(feature)
    assert compared.shape[1] == compared_width(15, feature)
    of_z, of_bn = {"bn": (0, 1), "z": (1, 0), "sum": (1, 1), "weighted": (0.1, 0.9)}[feature]
    for one in range(4):
        for other in range(4):
            parts = [(of_z, z[one, k] @ z[other, k]) for k in range(3)] + [
                (of_bn, bn[one, k] @ bn[other, k]) for k in range(3)
            ]
            expected = sum(weight * float(product) for weight, product in parts)
            assert float(compared[one] @ compared[other]) == pytest.approx(expected)


def test_features_have_names_of_their_own() -> None:
    assert set(Embeddings._fields) <= set(FEATURES) == set(COUNTERPART)
    assert len(set(FEATURES.values())) == len(FEATURES)


def test_the_sum_with_the_mirror_is_normalised_part_by_part(
    model: DNS, batches: list[tuple[Tensor, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "parts", 2)
    with torch.inference_mode():
        found = Embedder(model, prepare, ENGINE, flip="normalised")(batches[0][0], visible=True)
        summed = Embedder(model, prepare, ENGINE, flip="published")(batches[0][0], visible=True)
    for normalised, plain in zip(found, summed, strict=True):
        for half, expected in zip(normalised.chunk(2, dim=1), plain.chunk(2, dim=1), strict=True):
            assert torch.allclose(half, expected / expected.norm(dim=1, keepdim=True), atol=1e-6)


def test_low_precision_gives_float32_of_unit_length(model: DNS, batches: list[tuple[Tensor, Tensor]]) -> None:
    found, exact = empty(), empty()
    engine = Engine(torch.device("cpu"), "bf16", channels_last=True, compile=False)
    embed_images(model, batches, found, visible=True, flip="normalised", engine=engine)
    embed_images(model, batches, exact, visible=True, flip="normalised", engine=ENGINE)
    for low, high in zip(found, exact, strict=True):
        assert low.dtype == torch.float32
        assert torch.allclose(low[[0, 2, 3, 5]].norm(dim=1), torch.ones(4), atol=1e-5)
        assert (functional.cosine_similarity(low, high)[[0, 2, 3, 5]] > 0.98).all()


def test_float64_gives_float32_to_its_rounding(model: DNS, batches: list[tuple[Tensor, Tensor]]) -> None:
    found, expected = empty(), empty()
    engine = replace(ENGINE, precision="fp64")
    doubled = engine.place(copy.deepcopy(model))
    embed_images(doubled, batches, found, visible=True, flip="published", engine=engine)
    embed_images(model, batches, expected, visible=True, flip="published", engine=ENGINE)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5, equal_nan=True)


def test_compiled_whole_and_once_a_modality(
    model: DNS, batches: list[tuple[Tensor, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled, real = [], torch.compile

    def backend(graph: torch.fx.GraphModule, inputs: list) -> object:
        """Runs the captured graph as it is: what is captured, and how often, is what is tested here."""
        compiled.append(graph)
        return graph

    monkeypatch.setattr(
        torch, "compile", lambda function, **how: real(function, **how, fullgraph=True, backend=backend)
    )
    engine = Engine(torch.device("cpu"), "fp32", channels_last=False, compile=True)
    for _ in range(2):
        for visible in (True, False):
            found, expected = empty(), empty()
            embed_images(model, batches, found, visible=visible, flip="published", engine=engine)
            embed_images(model, batches, expected, visible=visible, flip="published", engine=ENGINE)
            for one, other in zip(found, expected, strict=True):
                assert torch.allclose(one, other, atol=1e-5, equal_nan=True)
    assert len(compiled) == 2


def test_the_file_of_features_opens_without_pickle(tmp_path: Path) -> None:
    test = make_set([(4, 1, 0, "vis/ä.jpg"), (2, 3, 1, "nir/long/name.jpg")])
    embeddings = Embeddings(bn=torch.tensor([[1.0, 2], [3, 4]]), z=torch.tensor([[5.0, 6], [7, 8]]))
    path = tmp_path / "new" / "features.npz"
    for _ in range(2):  # a second time over the first
        save_features(path, embeddings, test, ["bn", "z"])
    with np.load(path, allow_pickle=False) as stored:
        content = dict(stored)
    assert {name: column.tolist() for name, column in content.items()} == {
        "embeddings": [[1, 2], [3, 4]], "before_neck": [[5, 6], [7, 8]],
        "persons": [4, 2], "cameras": [1, 3], "modality": [0, 1], "paths": ["vis/ä.jpg", "nir/long/name.jpg"],
        "compared": ["bn", "z"],
    }  # fmt: skip
    assert {content[name].dtype for name in ("embeddings", "before_neck")} == {np.dtype("float32")}
    assert {content[name].dtype for name in ("persons", "cameras", "modality")} == {np.dtype("int64")}
    assert [file.name for file in path.parent.iterdir()] == ["features.npz"]
