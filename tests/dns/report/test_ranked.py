"""Ranked lists and the table of queries: against naive loops."""

import numpy as np
import pytest

from dns.evaluation.trial import TestSet
from dns.report.ranked import NEAREST, chosen_queries, query_table, ranked_queries
from dns.report.study import Study, average_precision, scores
from tests.support.made_studies import CASES, SKETCHES, made_study


def excluded(protocol: str, test: TestSet, query: int, image: int) -> bool:
    if protocol.startswith("sysu"):
        return bool(test.camera_N[query] == 3 and test.camera_N[image] == 2)
    if protocol.startswith("llcm"):
        return bool(test.person_N[query] == test.person_N[image] and test.camera_N[query] == test.camera_N[image])
    return False


def naive(study: Study, test: TestSet, query: int) -> list[tuple[int, float, bool, int | None]]:
    """Row, distance, right and rank of the whole gallery, nearest first."""
    distances = study.compared.distance_QG[query].tolist()
    row, found, rank = study.query_rows[query], [], 0
    for place in sorted(range(len(distances)), key=lambda place: (distances[place], place)):
        image = int(study.trial.gallery_rows[place])
        counts = not excluded(study.protocol, test, row, image)
        rank += counts
        right = bool(test.person_N[image] == test.person_N[row])
        found.append((image, distances[place], right, rank if counts else None))
    return found


@pytest.mark.parametrize("digits", [0, 3])
@pytest.mark.parametrize(("protocol", "cameras"), CASES)
def test_ranked_lists_are_those_of_a_naive_ranking(protocol: str, cameras: list[tuple[int, int]], digits: int) -> None:
    study, test = made_study(protocol, cameras, digits=digits)
    lists = ranked_queries(study, test)
    assert len(lists) > 20
    queries = [query for _, query in chosen_queries(average_precision(study.per_query))]
    for query, shown in zip(queries, lists, strict=True):
        expected = naive(study, test, query)
        got = [(near.row, -near.similarity, near.right, near.rank) for near in shown.neighbours]
        assert got == expected[:NEAREST]
        ranks = [rank for _, _, right, rank in expected if right and rank]
        assert (shown.first, shown.matches) == (ranks[0], len(ranks))
        assert shown.precision == pytest.approx(np.mean([n / rank for n, rank in enumerate(ranks, start=1)]))
        assert (shown.row, shown.person) == (study.query_rows[query], test.person_N[study.query_rows[query]])


@pytest.mark.parametrize(("protocol", "cameras"), CASES[:2])
def test_excluded_images_are_shown_without_a_rank_and_never_count(
    protocol: str, cameras: list[tuple[int, int]]
) -> None:
    study, test = made_study(protocol, cameras)
    out = 0
    for shown in ranked_queries(study, test):
        for near in shown.neighbours:
            assert (near.rank is None) == excluded(protocol, test, shown.row, near.row)
            out += near.rank is None
    assert out
    _, lines = query_table(study, test)
    paths = {path: row for row, path in enumerate(test.path_N)}
    assert not any(excluded(protocol, test, paths[str(line[1])], paths[str(line[6])]) for line in lines)
    similarity, same = scores(study.compared)
    queries = range(len(study.query_rows))
    pairs = [(q, row, d) for q in queries for row, d, _, rank in naive(study, test, q) if rank is not None]
    assert sorted(-d for *_, d in pairs) == sorted(similarity.tolist())
    assert same.sum() == sum(test.person_N[study.query_rows[q]] == test.person_N[row] for q, row, _ in pairs)


def test_the_table_of_queries_says_what_the_cmc_counts() -> None:
    for protocol, cameras in CASES:
        study, test = made_study(protocol, cameras)
        header, lines = query_table(study, test)
        first = [line[header.index("first")] for line in lines]
        found = [rank for rank in first if rank]
        assert np.mean([rank == 1 for rank in found]) == pytest.approx(study.rankings[0].metrics.cmc[0])
        assert np.mean([rank <= 5 for rank in found]) == pytest.approx(study.rankings[0].metrics.cmc[4])
        precision = [line[header.index("AP")] for line in lines if line[header.index("AP")] != ""]
        assert np.mean([float(value) for value in precision]) == pytest.approx(study.rankings[0].metrics.mAP)


def test_queries_are_chosen_once_each_and_those_without_a_match_never() -> None:
    precision = np.random.default_rng(0).random(200)
    precision[:10] = np.nan
    chosen = chosen_queries(precision)
    groups = {group: [query for g, query in chosen if g == group] for group in ("worst", "median", "random")}
    assert [len(queries) for queries in groups.values()] == [20, 20, 10]
    assert len({query for _, query in chosen}) == 50
    order = [int(query) for query in np.argsort(precision)[:190]]
    assert groups["worst"] == order[:20]
    assert groups["median"] == order[85:105]
    assert chosen == chosen_queries(precision)
    few = chosen_queries(np.array([0.5, np.nan, 0.25]))
    assert few == [("worst", 2), ("worst", 0)]
    assert chosen_queries(np.array([np.nan])) == []


def test_a_query_that_is_a_mean_is_shown_by_its_first_image() -> None:
    study, test = made_study("mask1k-multi", SKETCHES)
    persons = study.compared.query.person.tolist()
    assert test.person_N[study.query_rows].tolist() == persons == sorted(persons)
    for row, person in zip(study.query_rows, persons, strict=True):
        assert row == next(r for r in study.trial.query_rows if test.person_N[r] == person)
    assert len(ranked_queries(study, test)) == len(persons)
