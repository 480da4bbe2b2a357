"""How many strangers are expected, and when "nobody" is said: against naive loops, and on people drawn again."""

import json
import math
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
    direction, pairs = calibrate(labelled, "here").directions[INFRARED, VISIBLE], strangers(labelled)
    assert direction.identities == (30, 30)
    for similarity, share in zip(direction.similarity, direction.share, strict=True):
        near = (pairs >= similarity - 1e-6).mean(), (pairs >= similarity + 1e-6).mean()
        assert near[1] - 1e-12 <= share <= near[0] + 1e-12
    for similarity in np.linspace(-0.5, direction.similarity[0], 9):
        expected, at_most = direction.expected(float(similarity), 1000)
        exact = 1000 * (pairs >= similarity).mean()
        assert not at_most
        assert exact - 1e-6 <= expected <= 1.25 * exact + 1000 / len(pairs), similarity


def test_beyond_what_ten_pairs_of_identities_reach_it_is_a_limit() -> None:
    labelled = drawn(1, 30)
    direction = calibrate(labelled, "here").directions[INFRARED, VISIBLE]
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
    assert direction.expected(last + 0.01, 50) == (50 * direction.share[0], True)


@pytest.mark.parametrize("rows", [16, 96, 1000])
def test_absent_people_are_found_as_often_as_promised(rows: int) -> None:
    """People drawn again, none of them labelled: with one row each, "somebody" at the FPIR and not far below it."""
    direction = calibrate(drawn(2, 400), "here").directions[INFRARED, VISIBLE]
    found = []
    for seed in range(20):
        there, asked = drawn(100 + seed, rows, 1), drawn(500 + seed, 100, 1)
        best_Q = (
            asked.embedding_ND[asked.modality_N == INFRARED] @ there.embedding_ND[there.modality_N == VISIBLE].T
        ).max(1)
        found += [decide(float(best), rows, 0.1, direction)[0] == "somebody" for best in best_Q]
    assert 0.05 < np.mean(found) < 0.14, np.mean(found)


def test_too_few_people_say_so() -> None:
    direction = calibrate(drawn(3, 20), "here").directions[INFRARED, VISIBLE]
    decision, threshold, reason = decide(0.99, 1_000_000, 0.01, direction)
    assert (decision, threshold) == ("unknown", None)
    known = direction.share[0] * 1_000_000 / 0.01
    assert f"20, and about {math.ceil(20 * known**0.5):,} are needed" in reason
    assert decide(0.99, 2, 0.5, direction)[0] == "somebody"
    assert decide(-0.5, 1_000_000, 0.01, direction)[0] == "nobody"  # half of all strangers are more similar than that
    with pytest.raises(DataError, match="has 3 identities, too few to calibrate on"):
        calibrate(drawn(4, 3), "here")


def test_decisions_at_the_threshold() -> None:
    direction = Direction(np.array([0.8, 0.5, 0.2]), np.array([0.001, 0.01, 0.5]), (50, 60))
    assert direction.threshold(10, 0.1) == 0.5
    assert decide(0.5, 10, 0.1, direction)[:2] == ("somebody", 0.5)
    assert decide(0.49, 10, 0.1, direction)[:2] == ("nobody", 0.5)
    assert direction.expected(0.1, 10) == (10.0, False)  # less similar than any pair that was kept
    assert decide(None, 0, 0.1, direction)[:2] == ("nobody", None)
    assert decide(0.9, 10, 0.1, None)[:2] == ("unknown", None)


def test_a_stored_calibration_is_the_same(tmp_path: Path) -> None:
    made = calibrate(drawn(5, 20), "the people of labelled.csv")
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
        np.testing.assert_array_equal(one.similarity, other.similarity)
        np.testing.assert_array_equal(one.share, other.share)


DAMAGES = {
    "cut": lambda text: text[: len(text) // 2],
    "no object": lambda text: "[1]",
    "another version": lambda text: text.replace('"version": 1', '"version": 2'),
    "another network": lambda text: text.replace('"ab"', '"cd"'),
    "rising": lambda text: json.dumps({**json.loads(text), "directions": [
        {**json.loads(text)["directions"][0], "similarity": [0.1, 0.2], "share": [0.1, 0.2]}]}),
    "no modality": lambda text: text.replace('"infrared"', '"radar"'),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_calibration_is_refused(tmp_path: Path, damage: str) -> None:
    calibration.save(tmp_path, calibrate(drawn(6, 10), "here"), NETWORK)
    path = tmp_path / calibration.FILE
    path.write_text(DAMAGES[damage](path.read_text()))
    with pytest.raises(DataError, match=r"calibration.json: .*Calibrate again"):
        calibration.load(tmp_path, NETWORK)
    path.unlink()
    assert calibration.load(tmp_path, NETWORK) is None
