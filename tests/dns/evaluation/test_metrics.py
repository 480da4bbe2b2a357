"""Metrics against the published code's values, naive loops, and rankings worked out by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor

from dns.evaluation.metrics import RANKS
from tests.support import goldens
from tests.support.goldens import tensor
from tests.support.metrics_of import rank_metrics

pytestmark = pytest.mark.numerical

RULES = {"sysu": "identities", "llcm": "identities", "regdb": "images"}


def excluded(protocol: str, query: tuple[Tensor, Tensor], gallery: tuple[Tensor, Tensor]) -> Tensor | None:
    (query_person, query_camera), (gallery_person, gallery_camera) = query, gallery
    if protocol == "sysu":
        return (query_camera == 3)[:, None] & (gallery_camera == 2)[None, :]
    if protocol == "llcm":
        return (query_person[:, None] == gallery_person) & (query_camera[:, None] == gallery_camera)
    return None


@pytest.mark.parametrize("protocol", RULES)
@pytest.mark.parametrize("case", [0, 1, 2])
def test_metrics_are_the_published_ones(protocol: str, case: int) -> None:
    golden = {
        k.partition("_")[2]: v for k, v in goldens.arrays("metrics.npz").items() if k.startswith(f"{protocol}{case}_")
    }
    person = tensor(golden["query_pids"]), tensor(golden["gallery_pids"])
    left_out = None
    if protocol != "regdb":
        camera = tensor(golden["query_camids"]), tensor(golden["gallery_camids"])
        left_out = excluded(protocol, (person[0], camera[0]), (person[1], camera[1]))
    found = rank_metrics(tensor(golden["distance"]), *person, excluded_QG=left_out, cmc=RULES[protocol])
    assert found.cmc == pytest.approx(golden["cmc"].tolist(), abs=1e-6)
    assert found.mAP == pytest.approx(float(golden["mAP"]), abs=1e-6)
    assert found.mINP == pytest.approx(float(golden["mINP"]), abs=1e-6)


def naive(distance: np.ndarray, query: list[int], gallery: list[int], left_out: np.ndarray, cmc: str) -> tuple:
    """One query and one image at a time."""
    curves, precisions, inverse = [], [], []
    for row, person in enumerate(query):
        ranking = [g for g in sorted(range(len(gallery)), key=lambda g: (distance[row, g], g)) if not left_out[row, g]]
        hits = [place for place, g in enumerate(ranking, start=1) if gallery[g] == person]
        if not hits:
            continue
        precisions.append(np.mean([(number + 1) / place for number, place in enumerate(hits)]))
        inverse.append(len(hits) / hits[-1])
        if cmc == "identities":
            order = list(dict.fromkeys(gallery[g] for g in ranking))
            first = order.index(person)
        else:
            first = hits[0] - 1
        curves.append([first <= rank for rank in range(RANKS)])
    return np.mean(curves, axis=0), np.mean(precisions), np.mean(inverse)


@pytest.mark.parametrize("cmc", ["identities", "images"])
@pytest.mark.parametrize("seed", range(8))
def test_metrics_equal_the_naive_loop(cmc: str, seed: int) -> None:
    """Ties, queries without a match, galleries smaller than 20, identities with everything left out."""
    rng = np.random.default_rng(seed)
    queries, images = int(rng.integers(1, 30)), int(rng.integers(3, 60))
    query, gallery = rng.integers(0, 9, queries).tolist(), rng.integers(0, 7, images).tolist()
    query[0] = gallery[0]
    distance = rng.integers(0, 6, (queries, images)).astype(np.float32)
    left_out = rng.random((queries, images)) < 0.3
    left_out[0, 0] = False
    expected = naive(distance, query, gallery, left_out, cmc)
    found = rank_metrics(
        tensor(distance), torch.tensor(query), torch.tensor(gallery), excluded_QG=tensor(left_out), cmc=cmc
    )
    assert found.cmc == pytest.approx(expected[0].tolist(), abs=1e-9)
    assert found.mAP == pytest.approx(expected[1], abs=1e-6)
    assert found.mINP == pytest.approx(expected[2], abs=1e-9)


def test_a_ranking_worked_out_by_hand() -> None:
    """Gallery by distance: 7 7 5 5 7; query 5: images rank 3, identities rank 2, AP (1/3 + 2/4) / 2, INP 2/4."""
    distance, gallery = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]]), torch.tensor([7, 7, 5, 5, 7])
    by_image = rank_metrics(distance, torch.tensor([5]), gallery)
    by_identity = rank_metrics(distance, torch.tensor([5]), gallery, cmc="identities")
    assert by_image.cmc[:3] == [0, 0, 1]
    assert by_identity.cmc[:3] == [0, 1, 1]
    assert by_image.mAP == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert by_image.mINP == pytest.approx(2 / 4)
    assert by_image.chance == pytest.approx(2 / 5)


def test_chance_is_the_mean_of_random_rankings() -> None:
    generator = torch.Generator().manual_seed(0)
    query, gallery = torch.arange(4).repeat(500), torch.tensor([0, 0, 0, 1, 1, 2, 3, 3])
    left_out = torch.rand(len(query), len(gallery), generator=generator) < 0.2
    distance = torch.rand(len(query), len(gallery), generator=generator)
    found = rank_metrics(distance, query, gallery, excluded_QG=left_out, cmc="identities")
    assert found.cmc[0] == pytest.approx(found.chance, abs=0.03)


def test_unusable_rankings_are_refused() -> None:
    one = torch.tensor([1])
    with pytest.raises(ValueError, match="NaN or inf"):
        rank_metrics(torch.tensor([[float("nan")]]), one, one)
    with pytest.raises(ValueError, match="no query"):
        rank_metrics(torch.tensor([[1.0]]), one, torch.tensor([2]))
