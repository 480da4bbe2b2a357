"""How many strangers are expected, and when "nobody" is said: against naive loops, and on people drawn again."""

import math
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from dns.evaluation.open_set import DECIDING
from dns.search import calibration
from dns.search.calibration import Direction, Labelled, calibrate, decide
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import DataError

VISIBLE, INFRARED = Modality.VISIBLE, Modality.INFRARED
NETWORK = {"sha256": "ab", "feature": "bn"}
WIDTH = 32


def drawn(seed: int, identities: int, images: int = 3) -> Labelled:
    """People of 40 kinds that look alike, each with images of two modalities."""
    kinds = np.random.default_rng(99).normal(size=(40, WIDTH))
    rng = np.random.default_rng(seed)
    own = kinds[rng.integers(len(kinds), size=identities)] + 0.9 * rng.normal(size=(identities, WIDTH))
    person = np.tile(np.repeat(np.arange(identities), images), 2)
    vectors = own[person] + 0.8 * rng.normal(size=(len(person), WIDTH))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Labelled(vectors.astype(np.float32), person, np.repeat([VISIBLE, INFRARED], len(person) // 2))


def calibrated(labelled: Labelled, source: str) -> calibration.Calibration:
    return calibrate(labelled, labelled, source)


def strangers(labelled: Labelled) -> np.ndarray:
    """The similarities of all pairs of an infrared query and a visible row of another identity, by a loop."""
    visible = [n for n, modality in enumerate(labelled.modality_N) if modality == VISIBLE]
    infrared = [n for n, modality in enumerate(labelled.modality_N) if modality == INFRARED]
    return np.array([
        labelled.embedding_ND[query] @ labelled.embedding_ND[row]
        for query in infrared for row in visible if labelled.person_N[query] != labelled.person_N[row]
    ])  # fmt: skip


def test_share_of_strangers_equals_a_loop_over_all_pairs() -> None:
    labelled = drawn(0, 30)
    direction, pairs = calibrated(labelled, "here").directions[INFRARED, VISIBLE], strangers(labelled)
    assert direction.identities == (30, 30)
    shares = direction.images_QP.sum(axis=0) / direction.rows_Q.sum()
    for similarity, share in zip(direction.similarity, shares, strict=True):
        near = (pairs >= similarity - 1e-6).mean(), (pairs >= similarity + 1e-6).mean()
        assert near[1] - 1e-12 <= share <= near[0] + 1e-12
    for similarity in np.linspace(-0.5, direction.similarity[0], 9):
        expected, at_most = direction.expected(float(similarity), 1000)
        exact = 1000 * (pairs >= similarity).mean()
        assert not at_most
        assert exact - 1e-6 <= expected <= 1.25 * exact + 1000 / len(pairs), similarity


def test_beyond_what_ten_pairs_of_identities_reach_it_is_a_limit() -> None:
    labelled = drawn(1, 30)
    direction = calibrated(labelled, "here").directions[INFRARED, VISIBLE]
    best = {}
    visible, infrared = (np.flatnonzero(labelled.modality_N == one) for one in (VISIBLE, INFRARED))
    for query in infrared:
        for row in visible:
            pair = labelled.person_N[query], labelled.person_N[row]
            if pair[0] != pair[1]:
                similarity = float(labelled.embedding_ND[query] @ labelled.embedding_ND[row])
                best[pair] = max(best.get(pair, -1), similarity)
    last = sorted(best.values(), reverse=True)[DECIDING - 1]
    assert direction.similarity[0] == pytest.approx(last, abs=1e-6)
    expected, at_most = direction.expected(last + 0.01, 50)
    assert at_most
    assert expected == direction.expected(last, 50).strangers > 0


@pytest.mark.parametrize("rows", [16, 96, 1000])
def test_absent_people_are_found_as_often_as_promised(rows: int) -> None:
    """People drawn again, none of them labelled: with one row each, "somebody" at the FPIR and not far below it."""
    direction = calibrated(drawn(2, 400), "here").directions[INFRARED, VISIBLE]
    found = []
    for seed in range(10):
        there, asked = drawn(100 + seed, rows, 1), drawn(500 + seed, 100, 1)
        best_Q = (
            asked.embedding_ND[asked.modality_N == INFRARED] @ there.embedding_ND[there.modality_N == VISIBLE].T
        ).max(1)
        found += [decide(float(best), rows, 0.1, direction)[0] == "somebody" for best in best_Q]
    assert 0.05 < np.mean(found) < 0.125, np.mean(found)


def test_too_few_people_say_so() -> None:
    direction = calibrated(drawn(3, 20), "here").directions[INFRARED, VISIBLE]
    decision, threshold, reason = decide(0.99, 1_000_000, 0.01, direction)
    assert (decision, threshold) == ("unknown", None)
    alarms = direction.alarms(0.99, 1_000_000)
    assert f"About {math.ceil(20 * (alarms / 0.01) ** 0.5):,} would do" in reason
    assert decide(0.99, 2, 0.5, direction)[0] == "somebody"
    assert decide(-0.5, 1_000_000, 0.01, direction)[0] == "nobody"  # half of all strangers are more similar than that
    with pytest.raises(DataError, match="has 3 identities, too few to calibrate on"):
        calibrated(drawn(4, 3), "here")


# Two queries. The first meets 4 people in 8 rows, the second 5 in 5; all of them have a row as similar as 0.2.
SMALL = Direction(
    np.array([0.8, 0.5, 0.2]), np.array([[0, 1, 4], [1, 1, 5]]), np.array([[0, 1, 8], [1, 1, 5]]), np.array([4, 5]),
    np.array([8, 5]), (50, 60),
)  # fmt: skip


def drawn_alarms(shares: list[float], drawn: int) -> float:
    """The chance that a row of some people is similar, over all ways to draw people and a row of each. shares: of each
    person's rows that are similar."""
    ways = [math.prod(1 - share for share in way) for way in combinations(shares, drawn)]
    return 1 - sum(ways) / len(ways)


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_alarms_are_those_of_all_ways_to_draw_people(rows: int) -> None:
    expected = [(0, drawn_alarms([1, 0, 0, 0, 0], rows)), (drawn_alarms([0.5, 0, 0, 0], rows),) * 2]
    assert SMALL.alarms(0.8, rows) == pytest.approx(np.mean(expected[0]))
    second = drawn_alarms([0.5, 0, 0, 0], rows), drawn_alarms([1, 0, 0, 0, 0], rows)
    assert SMALL.alarms(0.5, rows) == pytest.approx(np.mean(second))


@pytest.mark.parametrize(("similar", "share"), [(1, 1.0), (2, 0.5), (3, 0.25)])
def test_alarms_of_several_similar_people_are_close_to_those_of_all_ways(similar: int, share: float) -> None:
    """Drawing one of them changes the chance of another; among 20 people hardly."""
    people, images, others = np.array([[similar]]), np.array([[round(4 * similar * share)]]), np.array([20])
    direction = Direction(np.array([0.8]), people, images, others, 4 * others, (1, 20))
    for rows in (1, 3, 6):
        exact = drawn_alarms([share] * similar + [0.0] * (20 - similar), rows)
        assert exact - 1e-12 <= direction.alarms(0.8, rows) <= 1.06 * exact


def test_alarms_among_more_rows_than_people_are_a_limit() -> None:
    assert SMALL.alarms(0.8, 10) == pytest.approx((0 + 10 / 5) / 2)  # all 5 people hold the second query's similar one
    assert SMALL.alarms(0.8, 11) == 1
    people = np.zeros((200, 1), dtype=np.int64)
    people[:2] = 3
    direction = Direction(np.array([0.8]), people, people, np.full(200, 100), np.full(200, 900), (9, 101))
    among_100 = 1 - math.prod(1 - (100 / 9) / (100 - other) for other in range(3))  # a row of nine of three people
    assert direction.alarms(0.8, 300) == pytest.approx(3 * among_100 * 2 / 200)
    assert direction.alarms(0.8, 300) >= (1 - (1 - 3 / 900) ** 300) * 2 / 200  # were the rows independent


@pytest.mark.parametrize("rows", [50, 99, 110])
def test_people_with_many_rows_each_do_not_hide_the_alarms_of_as_many_people(rows: int) -> None:
    """Calibrated on 100 people in 9 rows each, which resemble each other; searched among people in one row each."""
    kinds = np.random.default_rng(5).normal(size=(40, WIDTH))

    def people(seed: int, count: int, images: int) -> Labelled:
        rng = np.random.default_rng(seed)
        own = kinds[rng.integers(len(kinds), size=count)] + 0.9 * rng.normal(size=(count, WIDTH))
        person = np.repeat(np.arange(count), images)
        vectors = own[person] + 0.2 * rng.normal(size=(len(person), WIDTH))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return Labelled(vectors.astype(np.float32), person, np.full(len(person), VISIBLE))

    found = []
    for seed in range(12):
        direction = calibrated(people(seed, 100, 9), "here").directions[VISIBLE, VISIBLE]
        threshold = direction.threshold(rows, 0.1)
        there, asked = people(100 + seed, rows, 1), people(200 + seed, 300, 1)
        found.append(((asked.embedding_ND @ there.embedding_ND.T).max(axis=1) >= threshold).mean())
    assert 0.05 < np.mean(found) < 0.115, np.mean(found)


def test_a_decision_follows_the_threshold() -> None:
    direction = calibrated(drawn(7, 40), "here").directions[INFRARED, VISIBLE]
    top = direction.similarity[0]
    for rows, fpir in ((5, 0.1), (50, 0.1), (500, 0.3), (5000, 0.01)):
        threshold = direction.threshold(rows, fpir)
        for best in np.linspace(-0.2, top + 0.1, 25):
            somebody = threshold is not None and best >= threshold
            expected = "somebody" if somebody else "unknown" if best > top else "nobody"
            assert decide(float(best), rows, fpir, direction)[:2] == (expected, threshold)


def test_decisions_at_the_threshold() -> None:
    alarms = [SMALL.alarms(similarity, 1) for similarity in (0.8, 0.5, 0.2)]
    assert alarms == pytest.approx([(0 + 0.2) / 2, (0.125 + 0.2) / 2, 1])
    assert SMALL.threshold(1, 0.3) == 0.5
    assert decide(0.5, 1, 0.3, SMALL)[:2] == ("somebody", 0.5)
    assert decide(0.49, 1, 0.3, SMALL)[:2] == ("nobody", 0.5)
    assert (SMALL.threshold(1, 0.05), SMALL.threshold(1, 0.9)) == (None, 0.5)
    assert decide(0.9, 1, 0.05, SMALL)[0] == "unknown"  # beyond what was measured
    assert decide(0.8, 1, 0.05, SMALL)[0] == "nobody"
    assert SMALL.expected(0.1, 10) == (10.0, False)  # less similar than any pair that was kept
    assert SMALL.alarms(0.1, 10) == 1
    assert decide(None, 0, 0.1, SMALL)[:2] == ("nobody", None)
    assert decide(0.9, 10, 0.1, None)[:2] == ("unknown", None)


def test_a_stored_calibration_is_the_same(tmp_path: Path) -> None:
    made = calibrated(drawn(5, 20), "the people of labelled.csv")
    calibration.save(tmp_path, made, {**NETWORK, "file": "best.pt"})
    found = calibration.load(tmp_path, NETWORK)
    assert found is not None
    assert found.source == made.source
    assert (
        found.directions.keys()
        == made.directions.keys()
        == {(a, b) for a in (VISIBLE, INFRARED) for b in (VISIBLE, INFRARED)}
    )
    for key, one in made.directions.items():
        other = found.directions[key]
        assert one.identities == other.identities
        for name in ("similarity", "people_QP", "images_QP", "others_Q", "rows_Q"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


Arrays = dict[str, np.ndarray]


def about(text: str, other: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {**arrays, "about": np.array(str(arrays["about"]).replace(text, other))}


def array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {**arrays, f"VISIBLE.INFRARED.{name}": change(arrays[f"VISIBLE.INFRARED.{name}"])}


DAMAGES = {
    "no object": lambda arrays: {**arrays, "about": np.array("[1]")},
    "another version": about('"version": 1', '"version": 2'),
    "another network": about('"ab"', '"cd"'),
    "rising": array("similarity", lambda values: values[::-1]),
    "not finite": array("similarity", lambda values: values * np.nan),
    "fewer queries": array("rows", lambda values: values[1:]),
    "more strangers than rows": array("images", lambda values: values + 1000),
    "no identities": lambda arrays: {name: one for name, one in arrays.items() if not name.endswith("identities")},
    "no modality": lambda arrays: {name.replace("VISIBLE", "RADAR"): values for name, values in arrays.items()},
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_calibration_is_refused(tmp_path: Path, damage: str) -> None:
    calibration.save(tmp_path, calibrated(drawn(6, 10), "here"), NETWORK)
    path = tmp_path / calibration.FILE
    with np.load(path) as file:
        arrays = DAMAGES[damage](dict(file))
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=r"calibration.npz: .*Calibrate again"):
        calibration.load(tmp_path, NETWORK)


def test_a_calibration_that_is_cut_short_is_refused_and_one_that_is_missing_is_none(tmp_path: Path) -> None:
    calibration.save(tmp_path, calibrated(drawn(6, 10), "here"), NETWORK)
    path = tmp_path / calibration.FILE
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"calibration.npz: cannot be read"):
            calibration.load(tmp_path, NETWORK)
    path.unlink()
    assert calibration.load(tmp_path, NETWORK) is None
