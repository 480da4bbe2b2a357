"""k-reciprocal re-ranking against loops over images and sets, written from Zhong et al., CVPR 2017."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from dns.evaluation import ranking
from dns.evaluation import rerank as rerank_module
from dns.evaluation.protocols import INFRARED, PROTOCOLS, VISIBLE
from dns.evaluation.rerank import rerank
from dns.evaluation.trial import TestSet
from tests.support.made_sets import Sample, make_set
from tests.support.metrics_of import rank_metrics, run_protocol

pytestmark = pytest.mark.numerical


def naive(query: np.ndarray, gallery: np.ndarray, k1: int = 20, k2: int = 6, weight: float = 0.3) -> np.ndarray:
    """Distances (Q, G). N(p, k): p's k nearest, beside p itself. R(p, k): those of N(p, k) that have p in theirs."""
    images = [row.astype(np.float64) for row in (*query, *gallery)]
    count = range(len(images))
    distance = [[float(((images[p] - images[g]) ** 2).sum()) for g in count] for p in count]
    distance = [[value / max(row) for value in row] for row in distance]
    near = [sorted(count, key=lambda g, p=p: (distance[p][g], g)) for p in count]

    def reciprocal(p: int, k: int) -> set[int]:
        return {g for g in near[p][: k + 1] if p in near[g][: k + 1]}

    vectors = []
    for p in count:
        strict = reciprocal(p, k1)
        expanded = set(strict)
        for q in strict:
            others = reciprocal(q, round(k1 / 2))
            if 3 * len(strict & others) > 2 * len(others):
                expanded |= others
        total = sum(np.exp(-distance[p][g]) for g in expanded)
        vectors.append([np.exp(-distance[p][g]) / total if g in expanded else 0.0 for g in count])
    vectors = [[np.mean([vectors[n][g] for n in near[p][:k2]]) for g in count] for p in count]

    def jaccard(p: int, g: int) -> float:
        smaller = sum(min(pair) for pair in zip(vectors[p], vectors[g], strict=True))
        return 1 - smaller / sum(max(pair) for pair in zip(vectors[p], vectors[g], strict=True))

    blended = [[(1 - weight) * jaccard(p, g) + weight * distance[p][g] for g in count] for p in count[: len(query)]]
    return np.array(blended)[:, len(query) :]


def clustered(seed: int, clusters: int, each: int, noise: float, dimensions: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Rows (N, D), L2-normalised, and the cluster of each."""
    rng = np.random.default_rng(seed)
    label = np.arange(clusters).repeat(each)
    rows = rng.standard_normal((clusters, dimensions))[label] + noise * rng.standard_normal((len(label), dimensions))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), label


def check(query: np.ndarray, gallery: np.ndarray, **options: float) -> None:
    found = rerank(*(torch.from_numpy(rows).float() for rows in (query, gallery)), **options)
    assert found.shape == (len(query), len(gallery))
    assert np.abs(found.numpy() - naive(query, gallery, **options)).max() < 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_clustered_features_are_re_ranked_as_by_the_naive_loops(seed: int) -> None:
    rows, _ = clustered(seed, clusters=4 + seed, each=9 + 2 * seed, noise=0.5)
    order = np.random.default_rng(seed).permutation(len(rows))
    queries = len(rows) // 3
    check(rows[order[:queries]], rows[order[queries:]])


@pytest.mark.parametrize("options", [{"k1": 5, "k2": 3}, {"k1": 7, "k2": 1}, {"weight": 0.0}, {"weight": 1.0}])
def test_other_parameters(options: dict[str, float]) -> None:
    rows, _ = clustered(9, clusters=5, each=8, noise=0.4)
    check(rows[::3], np.delete(rows, np.s_[::3], axis=0), **options)


@pytest.mark.parametrize("seed", range(3))
def test_equal_distances_are_ranked_by_position(seed: int) -> None:
    """Corners of a cube of length 1 from the centre: many distances are equal, and exact in float32."""
    rows = np.random.default_rng(seed).choice([-0.5, 0.5], (60, 4))
    check(rows[:20], rows[20:])


@pytest.mark.parametrize(("queries", "images"), [(1, 1), (1, 2), (2, 1), (3, 5), (1, 20), (4, 17)])
def test_fewer_images_than_neighbours(queries: int, images: int) -> None:
    rows, _ = clustered(1, clusters=1, each=queries + images, noise=1.0)
    check(rows[:queries], rows[queries:])


@pytest.mark.parametrize("count", [2, 21, 22, 60])
def test_identical_embeddings_give_finite_distances(count: int) -> None:
    same = torch.nn.functional.normalize(torch.ones(count, 5), dim=1)
    assert torch.isfinite(rerank(same[: count // 2], same[count // 2 :])).all()
    zero = torch.zeros(count, 5)
    assert torch.isfinite(rerank(zero[: count // 2], zero[count // 2 :])).all()


@pytest.mark.parametrize("size", [10, 40_000, 150_000])
def test_blocks_of_any_size_give_the_same_bits(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, _ = clustered(3, clusters=11, each=13, noise=0.5)
    query, gallery = torch.from_numpy(rows[::3]).float(), torch.from_numpy(np.delete(rows, np.s_[::3], axis=0)).float()
    whole = rerank(query, gallery)
    monkeypatch.setattr(rerank_module, "BLOCK_BYTES", size)
    assert torch.equal(rerank(query, gallery), whole)


def scattered(seed: int) -> tuple[TestSet, Tensor]:
    """12 identities of 8 + 8 images in one camera, the infrared ones moved off the visible ones."""
    rows, label = clustered(seed, clusters=12, each=16, noise=0.75, dimensions=16)
    samples: list[Sample] = [(int(p) + 1, 0, (VISIBLE, INFRARED)[n % 2], f"{n:03d}") for n, p in enumerate(label)]
    rows[1::2] += 0.1 * np.random.default_rng(seed).standard_normal(16)
    return make_set(samples), torch.nn.functional.normalize(torch.from_numpy(rows).float(), dim=1)


@pytest.mark.parametrize("seed", range(3))
def test_clusters_are_found_better(seed: int) -> None:
    test, embedding = scattered(seed)
    (plain,), (better,) = (
        run_protocol(PROTOCOLS["regdb-t2v"], test, embedding, re_ranking=re_ranking) for re_ranking in (False, True)
    )
    assert 0.3 < plain.mAP < 0.95
    assert better.mAP > plain.mAP + 0.03


def test_protocols_rank_by_it_when_asked_and_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    test, embedding = scattered(0)
    seen: list[Sequence[Tensor]] = []

    def watched(query_QD: Tensor, gallery_GD: Tensor) -> Tensor:
        seen.append((query_QD, gallery_GD))
        return rerank(query_QD, gallery_GD)

    monkeypatch.setattr(ranking, "rerank", watched)
    for name in ("regdb-t2v", "regdb-v2t", "llcm-v2i", "llcm-v2i-transposed"):
        protocol = PROTOCOLS[name]
        moved = TestSet(test.person_N, test.modality_N, test.modality_N, test.path_N)  # a camera for each modality
        query, gallery = protocol.queries(moved), protocol.galleries(moved)[0]
        if protocol.transposed:
            query, gallery = gallery, query
        run_protocol(protocol, moved, embedding, trials=[0])
        assert not seen
        (found,) = run_protocol(protocol, moved, embedding, trials=[0], re_ranking=True)
        sides = seen.pop()
        assert torch.equal(sides[0], embedding[query])
        assert torch.equal(sides[1], embedding[gallery])
        person = torch.from_numpy(moved.person_N)
        assert found == rank_metrics(rerank(*sides), person[query], person[gallery], cmc=protocol.cmc)
