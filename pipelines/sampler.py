"""P identities x K pictures of each modality: which samples make up which batch. Pure NumPy.

Every batch is laid out [visible..., infrared...] with the same identities in the same order in both halves; one
identity's K pictures stand together. Identities do not repeat inside a batch. Several ranks draw one plan of
P x world identities and take their slice of it, so no identity is on two ranks at once.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from pipelines.subset import TrainIndex

Replacement = Literal["always", "needed"]
RANDOM_STREAM = 1  # numbers of its own beside those of augment.py, for the same seed


@dataclass(frozen=True)
class Pool:
    """One modality's samples, sorted by person: those of person p are samples[start[p] : start[p] + count[p]]."""

    samples: np.ndarray
    start: np.ndarray
    count: np.ndarray


def pools(index: TrainIndex) -> tuple[Pool, Pool]:
    """The visible pool and the other modality's (infrared or sketch). Raises DataError for a one-sided identity."""
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
            f"training label {lonely[0]} has pictures of one modality only ({lonely.size} identities are like that). "
            "Complete the data set and convert it again: make convert-datasets"
        )
    return both[0], both[1]


def scheduled_iterations(index: TrainIndex, persons: int, pictures: int, world: int = 1) -> int:
    """floor(max(visible, infrared) / (P K world)): one epoch shows the larger modality about once."""
    visible = int((index.modality_N == Modality.VISIBLE).sum())
    iterations = max(visible, len(index) - visible) // (persons * pictures * world)
    if iterations == 0:
        raise DataError(f"the set has fewer than {persons} x {pictures} pictures a modality. Lower data.persons")
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
    """Sample numbers, int64 (iterations, 2 P K), for persons = P, pictures = K.

    replacement: "always" draws an identity's pictures with replacement, as the published code; "needed" only where it
    has fewer than K. Raises DataError where the set has fewer than P x world identities.
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
    halves = [_pictures(pool, chosen, pictures, replacement, rng) for pool in (visible, other)]
    mine = slice(rank * persons, (rank + 1) * persons)
    return np.concatenate([half[:, mine].reshape(iterations, -1) for half in halves], axis=1)


def _pictures(
    pool: Pool, chosen: np.ndarray, pictures: int, replacement: Replacement, rng: np.random.Generator
) -> np.ndarray:
    """int64 (iterations, identities of a batch, K)."""
    count = pool.count[chosen][..., None]
    offset = (rng.random((*chosen.shape, pictures)) * count).astype(np.int64)
    if replacement == "needed":
        for place in zip(*np.nonzero(count[..., 0] >= pictures), strict=True):
            offset[place] = rng.choice(count[place][0], pictures, replace=False)
    return pool.samples[pool.start[chosen][..., None] + offset]
