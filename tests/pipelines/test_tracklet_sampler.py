"""Frames by tracklet: which tracklets, which frame of each part, ranks, lengths; still images are drawn as before."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dns.training.config import read_config
from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import ConfigError, DataError
from ffcv_convert.common.world import World
from pipelines.augment.recipes import RECIPES
from pipelines.epoch_plan import EpochPlan, PlanOptions
from pipelines.sampler import DrawnTracklets, plan_epoch, scheduled_iterations
from pipelines.subset import Subset, TrainIndex, open_subset
from tests.conftest import REPOSITORY
from tests.support.refusals import refusal

P, K, ITERATIONS = 3, 4, 300
GOLDEN = "ea386d33a5e36bed6e00a3102ede2eed59f36278c786080aa2921a6d639282dc"
# Identity -> the lengths of its visible and of its infrared tracklets.
LENGTHS = [
    ([9, 4, 1], [24, 24, 24, 24, 24]),
    ([1], [2]),
    ([7, 7, 7, 7], [3, 8]),
    ([5, 6], [1, 1, 1]),
    ([30], [12, 12, 12, 2, 1, 9]),
]


def make(frames: int) -> tuple[TrainIndex, DrawnTracklets]:
    """The images and the tracklets of LENGTHS, in shuffled order; samples are numbered from 1000."""
    each = [(who, kind, n) for who, both in enumerate(LENGTHS) for kind in (0, 1) for n in both[kind]]
    each = [each[n] for n in np.random.default_rng(4).permutation(len(each))]
    person_T, modality_T, samples_T = np.array(each).T
    sample_T = 1000 + np.cumsum(samples_T) - samples_T
    images = TrainIndex(
        1000 + np.arange(samples_T.sum()), np.repeat(person_T, samples_T), np.repeat(modality_T, samples_T)
    )
    return images, DrawnTracklets(TrainIndex(np.arange(len(each)), person_T, modality_T), sample_T, samples_T, frames)


def plan(frames: int, **changes: Any) -> np.ndarray:
    images, tracklets = make(frames)
    options = {"persons": P, "pictures": K, "iterations": ITERATIONS, "seed": 0, "epoch": 0, "replacement": "needed"}
    return plan_epoch(images, tracklets=tracklets, **{**options, **changes})


def tracklet_of(tracklets: DrawnTracklets) -> dict[int, tuple[int, int]]:
    """Sample -> its tracklet and its place in it."""
    return {
        sample + frame: (number, frame)
        for number, (sample, count) in enumerate(zip(tracklets.sample_T, tracklets.samples_T, strict=True))
        for frame in range(count)
    }


@pytest.mark.parametrize("replacement", ["always", "needed"])
@pytest.mark.parametrize("frames", [1, 2, 4])
def test_frames_come_from_equal_parts_of_the_identitys_tracklets(frames: int, replacement: str) -> None:
    _, tracklets = make(frames)
    where = tracklet_of(tracklets)
    repeats = 0
    for batch in plan(frames, replacement=replacement).reshape(ITERATIONS, 2, P, K).tolist():
        persons = []
        for kind, half in enumerate(batch):
            for group in half:
                drawn = [where[sample] for sample in group]
                numbers = [number for number, _ in drawn[::frames]]
                persons.append(tracklets.index.person_N[numbers[0]])
                for place, (number, frame) in enumerate(drawn):
                    assert number == numbers[place // frames], "frames of a tracklet are not together"
                    assert tracklets.index.person_N[number] == persons[-1]
                    assert tracklets.index.modality_N[number] == kind
                    count, part = tracklets.samples_T[number], place % frames
                    begin, end = part * count // frames, (part + 1) * count // frames
                    assert begin <= frame < max(end, begin + 1)
                there = len(LENGTHS[persons[-1]][kind])
                repeats += len(set(numbers)) < min(len(numbers), there)
        assert persons[:P] == persons[P:]
        assert len(set(persons)) == P
    assert (repeats > 0) == (replacement == "always" and frames < K)


def test_too_few_tracklets_come_in_turn() -> None:
    """Identity 4 has one visible tracklet, 3 has two: four frames are two of each."""
    _, tracklets = make(1)
    where = tracklet_of(tracklets)
    for group in plan(1).reshape(-1, K).tolist():
        counts = Counter(where[sample][0] for sample in group)
        person, kind = (column[where[group[0]][0]] for column in (tracklets.index.person_N, tracklets.index.modality_N))
        there = min(K, len(LENGTHS[person][kind]))
        assert len(counts) == there
        assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize(("frames", "replacement"), [(1, "needed"), (2, "needed"), (2, "always")])
def test_tracklets_and_frames_of_a_part_are_drawn_uniformly(frames: int, replacement: str) -> None:
    """Within five standard deviations: seeded, so never flaky."""
    _, tracklets = make(frames)
    where = tracklet_of(tracklets)
    drawn = plan(frames, replacement=replacement, iterations=4000).reshape(-1, K)
    counts: Counter[tuple[int, int]] = Counter(where[sample] for sample in drawn.ravel().tolist())
    by_tracklet: Counter[int] = Counter()
    for (number, _), count in counts.items():
        by_tracklet[number] += count
    groups: dict[tuple[int, int], list[int]] = {}
    for number in range(len(tracklets.samples_T)):
        key = (int(tracklets.index.person_N[number]), int(tracklets.index.modality_N[number]))
        groups.setdefault(key, []).append(number)
    for numbers in groups.values():
        mean = np.mean([by_tracklet[number] for number in numbers])
        assert all(abs(by_tracklet[number] - mean) < 5 * mean**0.5 for number in numbers)
    for number, length in enumerate(tracklets.samples_T.tolist()):
        for part in range(frames) if length >= frames else ():
            inside = [counts[number, n] for n in range(part * length // frames, (part + 1) * length // frames)]
            assert min(inside) > 0
            assert max(abs(count - np.mean(inside)) for count in inside) < 5 * np.mean(inside) ** 0.5


def test_the_plan_is_a_function_of_seed_and_epoch_and_ranks_share_it() -> None:
    assert np.array_equal(plan(2, seed=3, epoch=4), plan(2, seed=3, epoch=4))
    plans = {plan(frames, seed=seed, epoch=epoch).tobytes() for frames in (1, 2) for seed in (0, 1) for epoch in (0, 1)}
    assert len(plans) == 8
    whole = plan(2, persons=4).reshape(ITERATIONS, 2, 4, K)
    ranks = [plan(2, persons=2, rank=rank, world=2).reshape(ITERATIONS, 2, 2, K) for rank in (0, 1)]
    assert np.array_equal(np.concatenate(ranks, axis=2), whole)


def test_an_epoch_counts_tracklets() -> None:
    images, tracklets = make(2)
    visible, infrared = (sum(len(both[kind]) for both in LENGTHS) for kind in (0, 1))
    assert scheduled_iterations(images, 2, 4, tracklets=tracklets) == max(visible, infrared) // (2 * 2) == 4
    assert scheduled_iterations(images, 2, 4, 2, replace(tracklets, frames=4)) == max(visible, infrared) // (2 * 2)
    with refusal(DataError, "data.persons", "tracklets", "6 x 4"):
        scheduled_iterations(images, 6, 4, tracklets=replace(tracklets, frames=1))


def test_still_images_are_drawn_as_before_there_were_tracklets() -> None:
    """The SHA-256 of plans that the commit before drew."""
    images, _ = make(1)
    found = hashlib.sha256()
    for kind in ("always", "needed"):
        found.update(
            plan_epoch(images, persons=3, pictures=4, iterations=50, seed=7, epoch=2, replacement=kind).tobytes()  # type: ignore[arg-type]
        )
    assert found.hexdigest() == GOLDEN


@pytest.fixture(scope="module")
def video(converted_layout: Callable[[str], Path]) -> Subset:
    return open_subset(converted_layout("hitsz_vcm"), "train")


def epoch_plan(subset: Subset, rank: int = 0, ranks: int = 1, **more: Any) -> EpochPlan:
    options = PlanOptions(persons=4 // ranks, pictures=2, recipe=RECIPES["sysu"], seed=3, **more)
    return EpochPlan(subset, options, world=World(torch.device("cpu"), rank, ranks))


def test_a_set_of_video_is_drawn_by_tracklet_unless_images_are_asked_for(
    video: Subset, converted_layout: Callable[[str], Path]
) -> None:
    assert video.tracklets is not None
    visible = (video.tracklets.modality_T == Modality.VISIBLE).sum()
    by_tracklet = epoch_plan(video, tracklet_frames=2, replacement="needed")
    assert by_tracklet.iterations == max(visible, len(video.tracklets) - visible) // 4
    tracklet_N = np.repeat(np.arange(len(video.tracklets)), video.tracklets.samples_T)
    for batch in by_tracklet.plan(0):
        pairs = tracklet_N[batch].reshape(-1, 2)
        assert (pairs[:, 0] == pairs[:, 1]).all()
    images = epoch_plan(video, samples="images")
    assert images.iterations == (video.modality_N == Modality.VISIBLE).sum() // 8
    still = open_subset(converted_layout("sysu"), "train")
    assert np.array_equal(epoch_plan(still).plan(1), epoch_plan(still, samples="images", tracklet_frames=2).plan(1))
    for asked in ({"samples": "tracklets"}, {"tracklet_frames": 2}):
        with refusal(DataError, still.converted.path, "data.samples", "data.tracklet_frames"):
            epoch_plan(still, **asked)


def test_two_ranks_halve_a_plan_of_video(video: Subset) -> None:
    whole = np.split(epoch_plan(video).plan(0), 2, axis=1)
    parts = [np.split(epoch_plan(video, rank, 2).plan(0), 2, axis=1) for rank in (0, 1)]
    for half in (0, 1):
        assert np.array_equal(np.concatenate([part[half] for part in parts], axis=1), whole[half])


def test_pictures_are_a_multiple_of_the_frames_of_a_tracklet() -> None:
    recipe = ["-C", str(REPOSITORY / "configs" / "synthetic.yaml"), "--data.pictures=3"]
    assert read_config([*recipe, "--data.tracklet_frames=3"], description="").data.tracklet_frames == 3
    with refusal(ConfigError, "data.pictures", 3, "data.tracklet_frames", 2):
        read_config([*recipe, "--data.tracklet_frames=2"], description="")


def test_the_digest_covers_the_bounds_and_the_roles_of_tracklets(video: Subset) -> None:
    manifest = video.converted.manifest
    rows = manifest.tracklets
    joined = [[rows[0][0] + rows[1][0], *rows[0][1:3], rows[0][3] + rows[1][3], *rows[0][4:]], *rows[2:]]
    query = [[row[0], 1, *row[2:]] for row in rows]
    found = {video.digest()}
    for changed in (joined, query, []):
        converted = replace(video.converted, manifest=replace(manifest, tracklets=changed))
        found.add(replace(video, converted=converted).digest())
    assert len(found) == 4
