"""Chooses the samples of every batch, P identities x K images of each modality, in pure NumPy.

Of a set of video the K images are frames of tracklets: K / F tracklets of the identity are drawn, and F frames of each,
one from each of F equal parts ("restricted random sampling"). With F = 1 and replacement
"needed" no two of the K frames are of one tracklet, as far as the identity has as many.

Every batch is laid out [visible..., infrared...] with the same identities in the same order in both halves; the K
images of an identity are adjacent. No identity occurs twice in a batch. All ranks draw the same plan of P x world
identities and each takes its slice, so no identity is on two ranks at once.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from pipelines.subset import Subset, TrainIndex

Replacement = Literal["always", "needed"]
Samples = Literal["auto", "images", "tracklets"]
RANDOM_STREAM = 1  # keeps these random numbers apart from augment/draw.py's, which uses the same seed


@dataclass(frozen=True)
class Pool:
    """One modality's samples, sorted by identity: those of identity p are samples[start[p] : start[p] + count[p]]."""

    samples: np.ndarray
    start: np.ndarray
    count: np.ndarray


@dataclass(frozen=True)
class DrawnTracklets:
    """The T tracklets that frames are drawn from. index: their labels and modalities, numbered from 0; sample_T,
    samples_T: the first sample of each and how many it has; frames: F, how many are drawn of each."""

    index: TrainIndex
    sample_T: np.ndarray
    samples_T: np.ndarray
    frames: int


def drawn_tracklets(subset: Subset, index: TrainIndex, samples: Samples, frames: int) -> DrawnTracklets | None:
    """Return the tracklets to draw from, None to draw single images. index: that of the subset; samples: "auto" takes
    tracklets where the set has some. Raises DataError where it has none and should."""
    found = subset.tracklets
    if samples == "images" or (samples == "auto" and not found and frames == 1):
        return None
    if not found:
        raise DataError(
            f"{subset.converted.path}: holds still images. data.samples = 'tracklets' and data.tracklet_frames need a "
            "set of video: leave both out"
        )
    first_T = subset.row_of_sample[found.sample_T]
    tracklets = TrainIndex(np.arange(len(found)), index.person_N[first_T], index.modality_N[first_T])
    return DrawnTracklets(tracklets, found.sample_T, found.samples_T, frames)


def pools(index: TrainIndex) -> tuple[Pool, Pool]:
    """Return the pools of visible and infrared or sketch images. Raises DataError if an identity lacks a modality."""
    visible = index.modality_N == Modality.VISIBLE
    identities = int(index.person_N.max()) + 1
    both = []
    for chosen in (visible, ~visible):
        samples = np.flatnonzero(chosen)
        samples = samples[np.argsort(index.person_N[samples], kind="stable")]
        count = np.bincount(index.person_N[samples], minlength=identities)
        both.append(Pool(index.sample_N[samples], np.cumsum(count) - count, count))
    lonely = np.flatnonzero((both[0].count == 0) | (both[1].count == 0))
    if lonely.size:
        raise DataError(
            f"training label {lonely[0]} has images of one modality only ({lonely.size} identities in all). "
            "Complete the data set and convert it again: make convert-datasets"
        )
    return both[0], both[1]


def scheduled_iterations(
    index: TrainIndex, persons: int, pictures: int, world: int = 1, tracklets: DrawnTracklets | None = None
) -> int:
    """Return floor(max(visible, infrared) / (P K world)): one epoch shows the larger modality about once. Of video the
    tracklets are counted, K / F for an identity: an epoch shows F frames of each."""
    counted = "images"
    if tracklets:
        counted, index, pictures = "tracklets", tracklets.index, pictures // tracklets.frames
    visible = int((index.modality_N == Modality.VISIBLE).sum())
    iterations = max(visible, len(index) - visible) // (persons * pictures * world)
    if iterations == 0:
        raise DataError(
            f"the set has fewer than {persons * world} x {pictures} {counted} of each modality. Lower data.persons"
        )
    return iterations


def plan_epoch(
    index: TrainIndex,
    *,
    persons: int,
    pictures: int,
    iterations: int,
    seed: int,
    epoch: int,
    replacement: Replacement = "always",
    tracklets: DrawnTracklets | None = None,
    rank: int = 0,
    world: int = 1,
) -> np.ndarray:
    """Draw sample numbers, int64 (iterations, 2 P K), for persons = P, pictures = K.

    replacement: "always" draws an identity's images with replacement, as the published code does; "needed" only if it
    has fewer than K. The same holds for its `tracklets`, where frames of these are drawn; where it has too few, each
    comes in turn. Raises DataError if the set has fewer than P x world identities.
    """
    visible, other = pools(tracklets.index if tracklets else index)
    identities = len(visible.count)
    if identities < persons * world:
        raise DataError(
            f"the set has {identities} identities, a batch needs {persons * world}. "
            f"Lower data.persons to {identities // world}"
        )
    rng = np.random.default_rng([RANDOM_STREAM, seed, epoch])
    chosen = np.stack([rng.choice(identities, persons * world, replace=False) for _ in range(iterations)])
    if tracklets:
        halves = [_draw_frames(pool, chosen, pictures, replacement, rng, tracklets) for pool in (visible, other)]
    else:
        halves = [_draw_images(pool, chosen, pictures, replacement, rng) for pool in (visible, other)]
    own = slice(rank * persons, (rank + 1) * persons)
    return np.concatenate([half[:, own].reshape(iterations, -1) for half in halves], axis=1)


def _draw_images(
    pool: Pool, chosen: np.ndarray, pictures: int, replacement: Replacement, rng: np.random.Generator
) -> np.ndarray:
    """Draw K samples of each chosen identity: int64 (iterations, identities in a batch, K)."""
    count = pool.count[chosen][..., None]
    offset = (rng.random((*chosen.shape, pictures)) * count).astype(np.int64)
    if replacement == "needed":
        for place in zip(*np.nonzero(count[..., 0] >= pictures), strict=True):
            offset[place] = rng.choice(count[place][0], pictures, replace=False)
    return pool.samples[pool.start[chosen][..., None] + offset]


def _draw_frames(
    pool: Pool, chosen: np.ndarray, pictures: int, replacement: Replacement, rng: np.random.Generator,
    tracklets: DrawnTracklets,
) -> np.ndarray:  # fmt: skip
    """Draw K frames of each chosen identity: int64 (iterations, identities in a batch, K), those of a tracklet next to
    each other and in their order. pool: of tracklets."""
    frames, count = tracklets.frames, pool.count[chosen][..., None]
    shape = (*chosen.shape, pictures // frames)
    always = replacement == "always"
    place = (rng.random(shape) * count).astype(np.int64) if always else _in_turn(count, shape[-1], rng)
    number = pool.samples[pool.start[chosen][..., None] + place][..., None]
    length, part = tracklets.samples_T[number], np.arange(frames)
    begin, end = part * length // frames, (part + 1) * length // frames
    frame = rng.integers(begin, np.maximum(end, begin + 1))  # a part without a frame takes the next one
    return (tracklets.sample_T[number] + frame).reshape(*chosen.shape, pictures)


def _in_turn(count: np.ndarray, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Put the numbers below each count into random order, and return the first `wanted`: int64 (..., wanted). Where
    there are too few, the order begins again. count: (..., 1)."""
    numbers = np.arange(count.max())
    key = np.where(numbers < count, rng.random((*count.shape[:-1], len(numbers))), 1.0)  # random() is below 1
    return np.take_along_axis(key.argsort(axis=-1), np.arange(wanted) % count, axis=-1)
