"""Intervals against naive loops, and on drawn scores whose true value is known."""

from collections import defaultdict

import numpy as np
import pytest
import torch

from dns.evaluation.intervals import DRAWS, STATISTICS, Sums, add_up, bounds, interval, paired, sums_of
from dns.evaluation.protocols import PROTOCOLS
from dns.evaluation.ranking import Ranking, rank_trials
from dns.evaluation.tables import make_row
from dns.evaluation.trial import TestSet
from tests.support.made_sets import random_set

LLCM = [(camera, modality) for modality in (0, 1) for camera in (1, 2, 3)]
SKETCHES = [(1, 2), (2, 2), (0, 0)]
CASES = [
    ("llcm-i2v", LLCM), ("llcm-v2i-deen", LLCM), ("llcm-v2i-transposed", LLCM), ("mask1k-multi", SKETCHES),
    ("mask1k", SKETCHES),
]  # fmt: skip


def ranked(protocol: str, cameras: list[tuple[int, int]], seed: int) -> tuple[TestSet, list[Ranking]]:
    test = random_set(cameras, seed)
    generator = torch.Generator().manual_seed(seed)
    return test, rank_trials(PROTOCOLS[protocol], test, torch.randn(len(test.person_N), 4, generator=generator))


@pytest.mark.parametrize(("protocol", "cameras"), CASES)
@pytest.mark.parametrize("by", ["identities", "queries"])
def test_each_once_gives_the_table_s_figures(protocol: str, cameras: list[tuple[int, int]], by: str) -> None:
    """Also where the queries differ between trials, and where some have no match in some trials."""
    for seed in range(4):
        _, rankings = ranked(protocol, cameras, seed)
        sums = sums_of(rankings, by)  # type: ignore[arg-type]
        row = make_row(protocol, [ranking.metrics for ranking in rankings])
        assert sums.weight_I.sum() == pytest.approx(1)
        assert sums.value_IS.sum(axis=0) == pytest.approx([row[name] for name in STATISTICS])


def test_sums_are_a_naive_loop() -> None:
    _, rankings = ranked("llcm-v2i-deen", LLCM, 1)
    weight, first = defaultdict(float), defaultdict(float)
    for ranking in rankings:
        matched = [n for n, relevant in enumerate(ranking.per_query.relevant.tolist()) if relevant]
        for query in matched:
            person = int(ranking.query_person_Q[query])
            weight[person] += 1 / len(rankings) / len(matched)
            first[person] += (int(ranking.per_query.rank0[query]) == 0) / len(rankings) / len(matched)
    sums = sums_of(rankings)
    assert sums.name_I.tolist() == sorted(weight)
    assert sums.weight_I == pytest.approx([weight[person] for person in sorted(weight)])
    assert sums.value_IS[:, 0] == pytest.approx([first[person] for person in sorted(weight)])


def test_a_query_is_one_over_its_trials() -> None:
    test, rankings = ranked("llcm-i2v", LLCM, 2)
    assert len(sums_of(rankings, "queries").name_I) == int((rankings[0].per_query.relevant > 0).sum())
    person_of = dict(zip(test.path_N, test.person_N.tolist(), strict=True))
    persons = {person_of[path] for path in sums_of(rankings, "queries").name_I.tolist()}
    assert persons == set(sums_of(rankings).name_I.tolist())


def test_bounds_are_percentiles_of_a_naive_bootstrap() -> None:
    rng = np.random.default_rng(0)
    weight, value = rng.random(7), rng.random((7, 2))
    generator = np.random.default_rng(5)
    drawn = generator.integers(0, 7, size=(40, 7))
    naive = [
        [sum(value[i, s] for i in draw) / sum(weight[i] for i in draw) for s in range(2)] for draw in drawn.tolist()
    ]
    found = bounds(weight, value, draws=40, seed=5)
    assert found == pytest.approx(np.percentile(np.array(naive), [2.5, 97.5], axis=0))


def test_a_row_states_draws_seed_and_counts() -> None:
    _, rankings = ranked("llcm-i2v", LLCM, 3)
    found = interval(rankings)
    assert (found["draws"], found["seed"], found["level"]) == (DRAWS, 0, 0.95)
    assert found["queries"]["count"] > found["identities"]["count"]
    for name in STATISTICS:
        low, high = found["identities"][name]
        assert 0 <= low <= high <= 1
    assert interval(rankings) == found


def test_pairs_of_different_queries_are_refused() -> None:
    one, two = (sums_of(ranked("llcm-i2v", LLCM, seed)[1]) for seed in (1, 2))
    with pytest.raises(ValueError, match="different queries"):
        paired(one, two)


def test_a_method_beside_itself() -> None:
    sums = sums_of(ranked("llcm-i2v", LLCM, 1)[1])
    for found in paired(sums, sums).values():
        assert found == (0, 0, 0, 1)


def drawn_scores(rng: np.random.Generator, identities: int = 96, queries: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Names and hits of queries whose identities differ in how often they are found; true mean 0.6."""
    chance = rng.beta(1.8, 1.2, size=identities)
    hits = rng.random((identities, queries)) < chance[:, None]
    return np.repeat(np.arange(identities), queries), hits.reshape(-1, 1).astype(float)


def of(name: np.ndarray, value: np.ndarray) -> Sums:
    return add_up(name, np.full(len(name), 1 / len(name)), value / len(name))


@pytest.mark.slow
def test_intervals_hold_the_true_value() -> None:
    """2,000 repetitions of 96 identities with ten queries each; every tenth by queries too, which takes longer."""
    rng, held, tried = np.random.default_rng(0), np.zeros(2), np.zeros(2)
    for seed in range(2000):
        name, value = drawn_scores(rng)
        for place, names in enumerate((name, np.arange(len(name)))[: 1 + (seed % 10 == 0)]):
            sums = of(names, value)
            low, high = bounds(sums.weight_I, sums.value_IS, seed=seed)
            held[place] += low[0] <= 0.6 <= high[0]
            tried[place] += 1
    by_identities, by_queries = held / tried
    print(f"held: {by_identities:.4f} by identities, {by_queries:.4f} by queries")
    assert 0.92 <= by_identities <= 0.97
    assert by_queries < 0.8


@pytest.mark.slow
def test_the_permutation_test_raises_few_false_alarms() -> None:
    """Two methods that are equally good, each of them better at some identities: hits, and scores as AP is one."""
    rng, alarms = np.random.default_rng(1), np.zeros(2)
    for seed in range(2000):
        chance = rng.beta(1.8, 1.2, size=96)
        sums = []
        for _ in range(2):
            own = np.clip(chance + rng.normal(0, 0.1, size=96), 0, 1)[:, None]
            hits, scores = rng.random((96, 10)) < own, rng.beta(1 + 4 * own, 5 - 4 * own, size=(96, 10))
            value = np.stack([hits.ravel(), scores.ravel(), scores.ravel()], axis=1)
            sums.append(of(np.repeat(np.arange(96), 10), value))
        found = paired(*sums, seed=seed)
        alarms += [found["rank1"].p <= 0.05, found["mAP"].p <= 0.05]
    of_hits, of_scores = alarms / 2000
    print(f"false alarms: {of_hits:.4f} of hits, {of_scores:.4f} of scores")
    assert 0.04 <= of_scores <= 0.06
    assert of_hits <= 0.06  # cautious: many flips give the very same number of hits
