"""FNIR against a naive loop, image by image."""

import math

import numpy as np
import pytest
import torch

from dns.evaluation.open_set import DECIDING, Searches, detection, fnir, open_set, search
from dns.evaluation.protocols import PROTOCOLS
from dns.evaluation.ranking import compare, rank_trials
from dns.evaluation.trial import Compared
from tests.support.made_sets import random_set

LLCM = [(camera, modality) for modality in (0, 1) for camera in (1, 2, 3)]
SYSU = [(1, 0), (2, 0), (3, 1), (4, 0), (5, 0), (6, 1)]


def naive(compared: Compared, fpir: float, seed: int) -> float | None:
    query, gallery = compared.query.person.tolist(), compared.gallery.person.tolist()
    persons = sorted(set(gallery))
    order = np.random.default_rng(seed).permutation(persons).tolist()
    halves = [set(order[: len(order) // 2]), set(order[len(order) // 2 :])]
    false, scores = [], []
    for row, person in enumerate(query):
        counts = [
            image
            for image in range(len(gallery))
            if compared.excluded_QG is None or not compared.excluded_QG[row, image]
        ]
        if not any(gallery[image] == person for image in counts):
            continue
        for out in halves:
            kept = [image for image in counts if gallery[image] not in out]
            nearest = min(kept, key=lambda image: float(compared.distance_QG[row, image]), default=None)
            distance = math.inf if nearest is None else float(compared.distance_QG[row, nearest])
            if person in out:
                false.append(distance)
            else:
                scores.append(distance if nearest is not None and gallery[nearest] == person else math.inf)
    allowed = int(fpir * len(false) + 1e-9)
    if allowed < DECIDING:
        return None
    for threshold in sorted(set(false), reverse=True):  # the largest that lets through few enough
        if sum(distance < threshold for distance in false) <= allowed:
            return sum(not score < threshold for score in scores) / len(scores)
    return None


@pytest.mark.parametrize(
    ("protocol", "cameras"), [("llcm-i2v", LLCM), ("llcm-v2i-deen", LLCM), ("sysu-all-multi", SYSU)]
)
def test_fnir_is_a_naive_loop(protocol: str, cameras: list[tuple[int, int]]) -> None:
    given = 0
    for seed in range(4):
        test = random_set(cameras, seed, persons=30, most=4)
        generator = torch.Generator().manual_seed(seed)
        centres = torch.randn(40, 5, generator=generator)[torch.from_numpy(test.person_N)]
        embedding = centres + torch.randn(len(test.person_N), 5, generator=generator)
        (trial,) = PROTOCOLS[protocol].trials(test, [0])
        compared = compare(trial, test, embedding)
        for fpir in (0.01, 0.1, 0.3):
            found = fnir(search(compared, seed), fpir)
            assert found == naive(compared, fpir, seed)
            given += found is not None
    assert given >= 4


def test_the_curve_is_the_mean_of_naive_loops() -> None:
    test = random_set(LLCM, 5, persons=30, most=4)
    generator = torch.Generator().manual_seed(5)
    embedding = torch.randn(40, 5, generator=generator)[torch.from_numpy(test.person_N)]
    embedding = embedding + torch.randn(len(test.person_N), 5, generator=generator)
    trials = PROTOCOLS["llcm-i2v"].trials(test, [0, 1])
    compared = [compare(trial, test, embedding) for trial in trials]
    curve = detection([search(one) for one in compared], points=9)
    assert (len(curve.fpir), list(curve.fpir)) == (9, sorted(curve.fpir))
    assert curve.fpir[0] * len(search(compared[0]).own_Q) == pytest.approx(DECIDING, abs=0.5)
    for fpir, found in zip(curve.fpir.tolist(), curve.dir.tolist(), strict=True):
        assert found == pytest.approx(np.mean([1 - (naive(one, fpir, 0) or 0) for one in compared]))
    few = [Searches(np.arange(9.0), np.arange(9.0), 5)]
    assert len(detection(few).fpir) == 0


def test_few_errors_decide_nothing() -> None:
    searches = Searches(np.arange(999.0), np.arange(999.0), 5)
    assert fnir(searches, 0.01) is None  # nine of 999
    assert fnir(Searches(np.arange(1000.0), np.arange(1000.0) - 0.5, 5), 0.01) == pytest.approx(1 - 11 / 1000)
    assert fnir(Searches(np.zeros(1000), np.zeros(1000), 5), 0.1) == 1.0  # equal distances are no hits


def test_a_row_states_the_gallery() -> None:
    test = random_set(LLCM, 1, persons=30)
    embedding = torch.randn(len(test.person_N), 5, generator=torch.Generator().manual_seed(0))
    rankings = rank_trials(PROTOCOLS["llcm-i2v"], test, embedding, [0, 1])
    found = open_set([ranking.searches for ranking in rankings])
    assert found["gallery"] == pytest.approx(len(rankings[0].trial.gallery_rows) / 2, abs=2)
    assert found["fnir_at_0.01"] is None
    assert 0 < found["queries"] <= len(rankings[0].trial.query_rows)
    for ranking in rankings:
        own = search(compare(ranking.trial, test, embedding))
        assert all(np.allclose(*pair) for pair in zip(ranking.searches, own, strict=True))
