"""Distances against a naive sort, and claims against rounding."""

from decimal import Decimal

import numpy as np
import pytest
import torch

from dns.evaluation.protocols import PROTOCOLS
from dns.evaluation.ranking import rank_trials
from dns.evaluation.trial import TestSet
from dns.judge.claims import agrees, read_claim, verdict
from dns.judge.conventions import COSINE, DOT, EUCLIDEAN, measures
from ffcv_convert.common.errors import ConfigError
from tests.support.made_sets import random_set
from tests.support.refusals import refusal

SEEN = {
    "llcm-i2v": [(camera, modality) for modality in (0, 1) for camera in (1, 2, 3)],
    "llcm-v2i-transposed": [(camera, modality) for modality in (0, 1) for camera in (1, 2, 3)],
    "regdb-v2t": [(0, 0), (0, 1)],
    "mask1k-multi": [(1, 2), (2, 2), (0, 0)],
}
NAIVE = {
    DOT: lambda query, image: -(query @ image),
    COSINE: lambda query, image: -(query @ image) / np.linalg.norm(query) / np.linalg.norm(image),
    EUCLIDEAN: lambda query, image: np.linalg.norm(query - image),
}


def naive_rank1_and_map(test: TestSet, matrix: np.ndarray, protocol: str, measure: str) -> tuple[float, float]:
    """Trial 0, image by image."""
    (trial,) = PROTOCOLS[protocol].trials(test, [0])
    hits, precisions = [], []
    queries = {(row,): matrix[row] for row in trial.query_rows.tolist()}
    if trial.mean_query:
        queries = {}
        for person in sorted(set(test.person_N[trial.query_rows].tolist())):
            rows = tuple(row for row in trial.query_rows.tolist() if test.person_N[row] == person)
            vectors = [matrix[row] / (np.linalg.norm(matrix[row]) if measure == COSINE else 1) for row in rows]
            queries[rows] = np.mean(vectors, axis=0)
    for rows, vector in queries.items():
        person, camera = test.person_N[rows[0]], test.camera_N[rows[0]]
        kept = [
            row
            for row in trial.gallery_rows.tolist()
            if not (trial.excluded and test.person_N[row] == person and test.camera_N[row] == camera)
        ]
        ranked = sorted(kept, key=lambda row: NAIVE[measure](vector, matrix[row]))
        places = [place for place, row in enumerate(ranked, start=1) if test.person_N[row] == person]
        if places:
            hits.append(places[0] == 1)
            precisions.append(np.mean([number / place for number, place in enumerate(places, start=1)]))
    return float(np.mean(hits)), float(np.mean(precisions))


@pytest.mark.parametrize("protocol", SEEN)
def test_distances_rank_as_a_naive_sort(protocol: str) -> None:
    for seed in range(5):
        test = random_set(SEEN[protocol], seed)
        matrix = np.random.default_rng(seed).normal(size=(len(test.person_N), 4)) + 0.5
        found = dict(measures(torch.from_numpy(matrix), PROTOCOLS[protocol], test))
        assert list(found) == [DOT, COSINE, EUCLIDEAN]
        different = set()
        for measure, embedding_ND in found.items():
            (ranking,) = rank_trials(PROTOCOLS[protocol], test, embedding_ND, [0])
            wanted = naive_rank1_and_map(test, matrix, protocol, measure)
            assert (ranking.metrics.cmc[0], ranking.metrics.mAP) == pytest.approx(wanted, abs=1e-9), (seed, measure)
            different.add(wanted)
        assert len(different) > 1


def test_features_of_one_length_share_a_row() -> None:
    test = random_set(SEEN["llcm-i2v"], 0)
    matrix = np.random.default_rng(0).normal(size=(len(test.person_N), 4))
    matrix *= np.sqrt(6) / np.linalg.norm(matrix, axis=1, keepdims=True)
    given = torch.from_numpy(matrix.astype(np.float32))
    ((name, embedding_ND),) = measures(given, PROTOCOLS["llcm-i2v"], test)
    assert name == f"{COSINE}, {EUCLIDEAN}"
    assert embedding_ND is given


def row_of(rank1: float, mean: float, name: str = "llcm-i2v") -> dict:
    how = {"feature": "features; cosine", "re_ranking": "off", "checkpoint": "a.npy"}
    return {"protocol": name, "rank1": rank1, "mAP": mean, **how}


@pytest.mark.parametrize(
    ("claim", "agreeing"),
    [
        ("rank1=57.45,mAP=64.11", True), ("rank1=57.5", True), ("rank1=57.4", False), ("rank1=57.46", False),
        ("rank1=57", True), ("RANK-1=57.45, map = 64.1", True), ("rank1=57.45,mAP=64.12", False),
    ],
)  # fmt: skip
def test_a_claim_counts_to_its_digits(claim: str, agreeing: bool) -> None:
    assert agrees(row_of(0.574512, 0.641149), read_claim(claim)) is agreeing


def test_the_nearest_row_is_named() -> None:
    rows = [row_of(0.5, 0.7, "llcm-v2i"), row_of(0.56, 0.63)]
    said = verdict(rows, {"rank1": Decimal("57.45"), "mAP": Decimal("64.11")})
    assert "agrees with no row" in said
    assert "llcm-i2v" in said
    assert "llcm-v2i" not in said


@pytest.mark.parametrize("claim", ["rank2=3", "57.45", "rank1=574.5", "rank1=-1", "", "rank1=nan"])
def test_a_mistyped_claim_is_refused(claim: str) -> None:
    with refusal(ConfigError, "--claim", "rank1, rank5, rank10, rank20, mAP, mINP"):
        read_claim(claim)
