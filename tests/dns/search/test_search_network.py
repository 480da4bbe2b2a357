"""The network of the search gives the evaluator's vectors, and refuses what it does not know."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from dns.search.network import SearchNetwork, open_search_network
from dns.training.setup import Opened, open_checkpoint
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import CheckpointError, ConfigError
from tests.support.configs import small_set
from tests.support.refusals import refusal
from tests.support.search_commands import CPU

ROWS = np.array([0, 3, 44, 45, 60, 84])  # of the test set: visible images, then infrared ones


def compared(opened: Opened) -> torch.Tensor:
    embeddings = opened.evaluator.embed(opened.model)
    return functional.normalize(embeddings.compared(opened.config.method.feature), dim=1)[torch.from_numpy(ROWS)]


def embedded(network: SearchNetwork, opened: Opened) -> torch.Tensor:
    """The same images, as the search embeds them, one modality after another."""
    images = opened.evaluator.images
    modalities = [Modality(number) for number in images.modality_N[ROWS].tolist()]
    assert modalities == sorted(modalities)
    found = []
    for modality in (Modality.VISIBLE, Modality.INFRARED):
        rows = ROWS[[one == modality for one in modalities]]
        found.append(network.embed(np.stack(images.pixels(rows)), modality))
    return torch.from_numpy(np.concatenate(found))


@pytest.mark.parametrize("flip", ["off", "published"])
@pytest.mark.parametrize("exported", [False, True])
def test_vectors_are_the_evaluator_s(
    exported: bool, flip: str, small_run: Path, export: Path, beton_root: Path
) -> None:
    path, options = export if exported else small_run / "last.pt", [*CPU, f"--eval.flip={flip}"]
    network = open_search_network(path, options)
    opened = open_checkpoint(path, *small_set(beton_root), *options)
    found, wanted = embedded(network, opened), compared(opened)
    assert found.dtype == torch.float32
    assert found.shape == (6, network.width)
    assert torch.allclose(found, wanted, atol=1e-5)
    assert torch.allclose(torch.linalg.vector_norm(found, dim=1), torch.ones(6), atol=1e-6)
    assert not torch.allclose(found, wanted.flip(0), atol=1e-3), "all images look alike to it"
    assert network.size_px == (96, 48)
    assert (network.about["flip"], network.about["file"], network.about["dataset"]) == (flip, "last.pt", "synthetic")


def test_an_infrared_network_refuses_sketches(small_run: Path) -> None:
    path = small_run / "last.pt"
    network = open_search_network(path, CPU)
    network.check(Modality.INFRARED)
    for ask in (network.check, lambda one: network.embed(np.zeros((1, 96, 48, 3), np.uint8), one)):
        with refusal(ConfigError, path, "visible and infrared", "sketch"):
            ask(Modality.SKETCH)


def test_another_network_is_refused_and_an_export_of_the_same_checkpoint_is_taken(
    small_run: Path, export: Path, other_network: Path, tmp_path: Path
) -> None:
    path, other = small_run / "last.pt", other_network
    network = open_search_network(path, CPU)
    exported = open_search_network(export, CPU)
    exported.check_made(tmp_path, network.about)
    network.check_made(tmp_path, exported.about)
    with refusal(CheckpointError, other, "last.pt", tmp_path, "--checkpoint=FILE"):
        open_search_network(other, CPU).check_made(tmp_path, network.about)
    with refusal(CheckpointError, path, "last.pt"):
        network.check_made(tmp_path, {**network.about, "feature": "z"})
    with refusal(CheckpointError, path, "luperson"):
        network.check_made(tmp_path, {**network.about, "normalisation": "luperson"})
    network.check_made(tmp_path, {name: value for name, value in network.about.items() if name != "normalisation"})
    with refusal(CheckpointError, path, "theirs.npz", "embedded elsewhere"):
        network.check_made(tmp_path, {"path": None, "file": "theirs.npz", "sha256": "", "feature": "embeddings"})


def test_a_network_that_gives_no_vectors_is_refused(small_run: Path, tmp_path: Path) -> None:
    content = torch.load(small_run / "last.pt", weights_only=False)
    content["model"] = {
        name: torch.full_like(value, torch.nan) if name.endswith("neck.weight") else value
        for name, value in content["model"].items()
    }
    torch.save(content, tmp_path / "nan.pt")
    network = open_search_network(tmp_path / "nan.pt", CPU)
    with refusal(CheckpointError, tmp_path / "nan.pt", "cannot be compared"):
        network.embed(np.zeros((2, 96, 48, 3), np.uint8), Modality.VISIBLE)
