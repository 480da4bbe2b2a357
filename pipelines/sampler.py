"""Chooses the samples of every batch, P identities x K images of each modality, in pure NumPy.

Every batch is laid out [visible..., infrared...] with the same identities in the same order in both halves; the K
images of an identity are adjacent. No identity occurs twice in a batch. All ranks draw the same plan of P x world
identities and each takes its slice, so no identity is on two ranks at once.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from pipelines.subset import TrainIndex

Replacement = Literal["always", "needed"]
RANDOM_STREAM = 1  # keeps these random numbers apart from augment/draw.py's, which uses the same seed


@dataclass(frozen=True)
class Pool:
    """One modality's samples, sorted by identity: those of identity p are samples[start[p] : start[p] + count[p]]."""

    samples: np.ndarray
    start: np.ndarray
    count: np.ndarray


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


def scheduled_iterations(index: TrainIndex, persons: int, pictures: int, world: int = 1) -> int:
    """Return floor(max(visible, infrared) / (P K world)): one epoch shows the larger modality about once."""
    visible = int((index.modality_N == Modality.VISIBLE).sum())
    iterations = max(visible, len(index) - visible) // (persons * pictures * world)
    if iterations == 0:
        raise DataError(
            f"the set has fewer than {persons * world} x {pictures} images of each modality. Lower data.persons"
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
    rank: int = 0,
    world: int = 1,
) -> np.ndarray:
    """Draw sample numbers, int64 (iterations, 2 P K), for persons = P, pictures = K.

    replacement: "always" draws an identity's images with replacement, as the published code does; "needed" only if it
    has fewer than K. Raises DataError if the set has fewer than P x world identities.
    """
    visible, other = pools(index)
    identities = len(visible.count)
    if identities < persons * world:
        raise DataError(
            f"the set has {identities} identities, a batch needs {persons * world}. "
            f"Lower data.persons to {identities // world}"
        )
    rng = np.random.default_rng([RANDOM_STREAM, seed, epoch])
    chosen = np.stack([rng.choice(identities, persons * world, replace=False) for _ in range(iterations)])
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
