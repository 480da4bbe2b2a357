"""The sampling plan: layout, identities, modalities, replacement, purity, ranks, lengths, errors, uniformity."""

import json
from typing import Any

import numpy as np
import pytest

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from pipelines.sampler import plan_epoch, pools, scheduled_iterations
from pipelines.subset import TrainIndex
from tests.conftest import REPOSITORY
from tests.support.refusals import refusal

P, K, ITERATIONS = 3, 4, 40


def make_index(visible: list[int], other: list[int], kind: Modality = Modality.INFRARED, seed: int = 5) -> TrainIndex:
    """visible[p] and other[p] images of identity p, shuffled, so that no test depends on the file's order."""
    person_N = np.concatenate([np.repeat(np.arange(len(visible)), visible), np.repeat(np.arange(len(other)), other)])
    modality_N = np.repeat([int(Modality.VISIBLE), int(kind)], [sum(visible), sum(other)])
    order = np.random.default_rng(seed).permutation(len(person_N))
    return TrainIndex(np.arange(len(order)), person_N[order], modality_N[order])


INDEX = make_index([2, 5, 4, 9, 1, 7, 6], [4, 3, 8, 1, 6, 5, 12])


def plan(index: TrainIndex = INDEX, **changes: Any) -> np.ndarray:
    return plan_epoch(
        index, **{"persons": P, "pictures": K, "iterations": ITERATIONS, "seed": 0, "epoch": 0, **changes}
    )


def test_shape_and_type() -> None:
    indices = plan()
    assert indices.shape == (ITERATIONS, 2 * P * K)
    assert indices.dtype == np.int64


@pytest.mark.parametrize("replacement", ["always", "needed"])
def test_layout_is_visible_then_infrared_with_the_same_identities_k_images_together(replacement: str) -> None:
    indices = plan(replacement=replacement)
    person = INDEX.person_N[indices].reshape(ITERATIONS, 2, P, K)
    assert (person == person[..., :1]).all(), "an identity's images are not adjacent"
    assert np.array_equal(person[:, 0], person[:, 1]), "the halves' identities differ"
    modality = INDEX.modality_N[indices].reshape(ITERATIONS, 2, P * K)
    assert (modality[:, 0] == Modality.VISIBLE).all()
    assert (modality[:, 1] == Modality.INFRARED).all()


def test_sketches_make_the_second_half() -> None:
    index = make_index([3] * 5, [2] * 5, Modality.SKETCH)
    modality = index.modality_N[plan(index)].reshape(ITERATIONS, 2, P * K)
    assert (modality == np.array([Modality.VISIBLE, Modality.SKETCH])[:, None]).all()


def test_no_identity_occurs_twice_in_a_batch() -> None:
    for persons in (P, 7):  # 7 is all of them
        leaders = INDEX.person_N[plan(persons=persons)].reshape(ITERATIONS, 2, persons, K)[:, 0, :, 0]
        assert all(len(set(row)) == persons for row in leaders.tolist())


def count_repeats(indices: np.ndarray, index: TrainIndex = INDEX) -> dict[bool, int]:
    """Count the groups of K that repeat an image, for identities with at least K images (True) and with fewer."""
    available = {(p, m): ((index.person_N == p) & (index.modality_N == m)).sum() for p in range(7) for m in range(2)}
    repeats = {True: 0, False: 0}
    for group in indices.reshape(-1, K):
        enough = available[index.person_N[group[0]], index.modality_N[group[0]]] >= K
        repeats[bool(enough)] += len(set(group.tolist())) < K
    return repeats


def test_replacement_needed_repeats_only_where_an_identity_has_fewer_than_k() -> None:
    assert count_repeats(plan(replacement="needed"))[True] == 0
    assert count_repeats(plan(replacement="needed"))[False] > 0


def test_replacement_always_repeats_anywhere() -> None:
    assert count_repeats(plan(replacement="always"))[True] > 0


def test_an_identity_with_exactly_k_images_shows_them_all() -> None:
    index = make_index([K] * P, [K] * P)
    batches = plan(index, replacement="needed")
    assert all(sorted(row) == list(range(2 * P * K)) for row in batches.tolist())


def test_one_image_is_enough() -> None:
    index = make_index([1] * P, [1] * P)
    for replacement in ("always", "needed"):
        groups = plan(index, replacement=replacement).reshape(-1, K)
        assert (groups == groups[:, :1]).all()


def test_the_plan_is_a_function_of_seed_and_epoch() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002  the global generator must not be touched
    assert np.array_equal(plan(seed=3, epoch=4), plan(seed=3, epoch=4))
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert not np.array_equal(plan(seed=0, epoch=1), plan(seed=1, epoch=0)), (
        "seed and epoch must not merely be added, as in FFCV"
    )
    plans = {plan(seed=seed, epoch=epoch).tobytes() for seed in range(4) for epoch in range(5)}
    assert len(plans) == 20


@pytest.mark.parametrize("replacement", ["always", "needed"])
def test_two_ranks_make_up_the_world_s_plan_and_share_no_identity(replacement: str) -> None:
    index = make_index([5, 4, 9, 2, 7, 6, 8], [4, 3, 8, 2, 6, 5, 12])
    whole = plan(index, persons=2 * P, replacement=replacement).reshape(ITERATIONS, 2, 2 * P, K)
    ranks = [plan(index, replacement=replacement, rank=rank, world=2) for rank in (0, 1)]
    together = np.concatenate([rank.reshape(ITERATIONS, 2, P, K) for rank in ranks], axis=2)
    assert np.array_equal(together, whole)
    for first, second in zip(*ranks, strict=True):
        assert not set(index.person_N[first].tolist()) & set(index.person_N[second].tolist())


# identities, visible and other images: SYSU-MM01, LLCM and one trial of RegDB
@pytest.mark.parametrize(
    ("identities", "visible", "other", "iterations"),
    [(395, 22258, 11909, 927), (713, 16946, 13975, 706), (206, 2060, 2060, 85)],
)
def test_published_epoch_lengths(identities: int, visible: int, other: int, iterations: int) -> None:
    counts = [np.bincount(np.arange(total) % identities).tolist() for total in (visible, other)]
    index = make_index(*counts)
    assert scheduled_iterations(index, 6, 4) == iterations
    swapped = make_index(counts[1], counts[0])
    assert scheduled_iterations(swapped, 6, 4) == iterations
    assert scheduled_iterations(index, 6, 4, world=2) == max(visible, other) // 48


def test_pools_hold_every_sample_of_an_identity_and_modality_once() -> None:
    for pool, modality in zip(pools(INDEX), (Modality.VISIBLE, Modality.INFRARED), strict=True):
        for person in range(7):
            found = pool.samples[pool.start[person] :][: pool.count[person]]
            wanted = np.flatnonzero((INDEX.person_N == person) & (INDEX.modality_N == modality))
            assert np.array_equal(found, wanted)


def test_too_few_identities_is_an_error_that_says_what_to_set() -> None:
    plan(persons=7)
    with refusal(DataError, "data.persons to 7", "7 identities", 8):
        plan(persons=8)
    with refusal(DataError, "data.persons to 3", "7 identities", 8):
        plan(persons=4, world=2)


def test_an_identity_of_one_modality_is_an_error_that_names_it() -> None:
    with refusal(DataError, "label 2", "1 identities"):
        plan(make_index([3, 3, 3, 3], [3, 3, 0, 3]))
    with refusal(DataError, "label 0", "2 identities"):
        plan(make_index([0, 3, 3, 0], [3, 3, 3, 3]))


def test_too_few_images_for_one_batch_is_an_error() -> None:
    index = make_index([1] * 6, [3] * 5 + [8])
    assert scheduled_iterations(index, 6, 3) == 1
    with refusal(DataError, "data.persons", "6 x 4"):
        scheduled_iterations(index, 6, 4)


def chi_square(counts: np.ndarray) -> float:
    expected = counts.sum() / len(counts)
    return float(((counts - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("replacement", ["always", "needed"])
def test_identities_places_and_images_are_drawn_uniformly(replacement: str) -> None:
    """Chi-square below its 99.99 % point (seeded, so never flaky); a generator that skips an image gives hundreds."""
    index = make_index([6] * 8, [6] * 8)
    indices = plan(index, iterations=3000, pictures=3, replacement=replacement)
    leaders = index.person_N[indices].reshape(-1, 2, P, 3)[:, 0, :, 0]
    for place in range(P):
        assert chi_square(np.bincount(leaders[:, place], minlength=8)) < 29.9  # 7 degrees of freedom
    for half in np.split(indices, 2, axis=1):
        drawn = np.bincount(half.ravel(), minlength=len(index))
        assert np.count_nonzero(drawn) == 48
        for person in range(8):
            assert chi_square(drawn[(drawn > 0) & (index.person_N == person)]) < 25.7  # 5 degrees of freedom
    first, second = index.person_N[indices[:-1, 0]], index.person_N[indices[1:, 0]]
    assert chi_square(np.bincount(first * 8 + second, minlength=64)) < 112.4  # consecutive batches are independent


# Training images of each set, visible and infrared, and the batches an epoch that the methods' authors count.
SETS = {"sysu": (22_258, 11_909), "regdb": (2_060, 2_060), "llcm": (16_946, 13_975)}


@pytest.mark.parametrize("method", ["agw", "caj", "deen"])
def test_an_epoch_has_as_many_batches_as_the_authors_count(method: str) -> None:
    """With the one that `extra_iteration` adds."""
    path = REPOSITORY / "tests" / "data" / "methods" / f"{method}_augmentation.json"
    golden = json.loads(path.read_text("utf-8"))["sampler"]
    persons, pictures = golden["identities"], golden["images_per_modality"]
    assert (persons, pictures) == ((6, 4) if method == "deen" else (8, 4))
    for name, (visible, infrared) in SETS.items():
        index = make_index([visible], [infrared])
        assert scheduled_iterations(index, persons, pictures) + 1 == golden["iterations"][name]
