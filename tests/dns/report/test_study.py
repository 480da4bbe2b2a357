"""AP by pair of cameras and similarities: against naive loops. False accepts and false rejects: against scikit-learn,
and against counting."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score, roc_curve

from dns.evaluation.metrics import mean_metrics, rank_queries
from dns.report.study import TARGETS, camera_pairs, likeness, roc, shortest_between, thinned, thresholds
from tests.support.made_sets import random_set
from tests.support.made_studies import CASES, LLCM, made_study


@pytest.mark.parametrize(("protocol", "cameras"), CASES[:3])
def test_ap_by_camera_is_that_of_a_gallery_of_this_camera_alone(protocol: str, cameras: list[tuple[int, int]]) -> None:
    study, test = made_study(protocol, cameras)
    pairs = camera_pairs(study.compared)
    for line, own in enumerate(pairs.query):
        for column, other in enumerate(pairs.gallery):
            here = torch.from_numpy(test.camera_N[study.query_rows] == own)
            there = torch.from_numpy(test.camera_N[study.trial.gallery_rows] == other)
            mask = study.compared.excluded_QG
            try:
                found = rank_queries(
                    study.compared.distance_QG[here][:, there],
                    study.compared.query.person[here],
                    study.compared.gallery.person[there],
                    excluded_QG=None if mask is None else mask[here][:, there],
                )
                expected = mean_metrics(found).mAP
            except ValueError:
                assert np.isnan(pairs.mAP_QG[line, column])
            else:
                assert pairs.mAP_QG[line, column] == pytest.approx(expected)


def test_similarities_are_counted_by_identity_and_modality() -> None:
    test = random_set(LLCM, 4)
    embedding = torch.from_numpy(np.random.default_rng(4).normal(size=(len(test.person_N), 4)))
    found = likeness(test, embedding)
    values: dict[str, list[float]] = {}
    for one in range(len(test.person_N)):
        for other in range(one):
            whose = "same identity" if test.person_N[one] == test.person_N[other] else "different identities"
            where = "within a modality" if test.modality_N[one] == test.modality_N[other] else "across modalities"
            values.setdefault(f"{whose}, {where}", []).append(float(embedding[one] @ embedding[other]))
    assert found.share.keys() == values.keys()
    assert found.images == len(test.person_N)
    for name, share in found.share.items():
        assert share.sum() == pytest.approx(100)
        mean = (found.centre * share).sum() / 100
        assert mean == pytest.approx(np.mean(values[name]), abs=found.centre[1] - found.centre[0])


def pairs(seed: int, count: int, digits: int) -> tuple[np.ndarray, np.ndarray]:
    """Similarities, rounded so that some are equal, and whether they are of one identity."""
    rng = np.random.default_rng(seed)
    same = rng.random(count) < 0.2
    return np.round(rng.normal(same * 1.0, 1.0), digits), same


@pytest.mark.parametrize("digits", [1, 2, 12])
@pytest.mark.parametrize("seed", range(3))
def test_roc_is_that_of_scikit_learn(seed: int, digits: int) -> None:
    similarity, same = pairs(seed, 500, digits)
    false, true, value = roc_curve(same, similarity, drop_intermediate=False)
    curve = roc(similarity, same)
    np.testing.assert_allclose(curve.false_accept, false, atol=1e-15)
    np.testing.assert_allclose(1 - curve.false_reject, true, atol=1e-15)
    np.testing.assert_array_equal(curve.threshold, value)
    assert curve.area == pytest.approx(roc_auc_score(same, similarity), abs=1e-12)


@pytest.mark.parametrize("digits", [1, 2, 12])
def test_thresholds_reproduce_their_shares(digits: int) -> None:
    similarity, same = pairs(5, 5000, digits)
    found = thresholds(roc(similarity, same))
    assert [threshold.reason for threshold in found][-1] == "equal shares"
    assert len(found) > 2
    for threshold in found:
        accepted = similarity >= threshold.value
        assert (accepted & ~same).sum() / (~same).sum() == pytest.approx(threshold.false_accept, abs=1e-15)
        assert (~accepted & same).sum() / same.sum() == pytest.approx(threshold.false_reject, abs=1e-15)
    for threshold, target in zip(found, TARGETS, strict=False):
        if threshold.reason.startswith("false"):
            assert threshold.false_accept <= target


def test_a_target_that_too_few_pairs_could_tell_is_left_out() -> None:
    curve = roc(np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False]))
    assert [threshold.reason for threshold in thresholds(curve)] == ["equal shares"]


def test_the_equal_error_is_where_both_shares_are_nearest() -> None:
    similarity = np.array([4.0, 3.0, 2.0, 1.0])
    curve = roc(similarity, np.array([True, False, True, False]))
    place = curve.equal_error
    assert (curve.false_accept[place], curve.false_reject[place]) == (0.5, 0.5)


@pytest.mark.parametrize("same", [[True, True], [False, False]])
def test_a_roc_needs_both_kinds_of_pairs(same: list[bool]) -> None:
    with pytest.raises(ValueError, match="pairs of one identity and pairs of two"):
        roc(np.array([0.5, 0.25]), np.array(same))


@pytest.mark.parametrize(
    ("low", "high", "value"), [(0.123, 0.4567, 0.45), (0.4566, 0.4567, 0.4567), (-0.5, -0.2, -0.2)]
)
def test_a_threshold_has_as_few_digits_as_tell_it_from_its_neighbour(low: float, high: float, value: float) -> None:
    assert shortest_between(low, high) == pytest.approx(value)
    near = np.nextafter(0.3, 1)
    assert shortest_between(0.3, near) == near


def test_a_thinned_curve_keeps_its_ends_and_small_shares() -> None:
    similarity, same = pairs(6, 20_000, 12)
    curve = roc(similarity, same)
    place = thinned(curve)
    assert len(place) <= 200
    assert place[0] == 0
    assert curve.false_accept[place[-1]] == 1
    assert curve.false_accept[place[1]] < 1e-3
