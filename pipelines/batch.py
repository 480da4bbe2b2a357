"""Defines the batch that a loader hands to the training step and to the evaluation."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One batch, visible half first: in training, B = 2PK.

    images: uint8 pixels (B, H, W, 3), augmented floats (rows, 3, H, W) or row numbers (B,): what the loader's `augment`
    expects. person_B, index_B (row in the manifest): int64. augmentation: the parameters from draw, (rows, COLUMNS),
    empty in testing. rows are B, or 3PK where the recipe has two views of each visible image: see recipes.blocks.
    count: images to use; those after them only fill up the last batch.
    """

    images: Tensor
    person_B: Tensor
    index_B: Tensor
    augmentation: Tensor
    count: int


def padded(sample_N: np.ndarray, batch_size: int) -> np.ndarray:
    """Arrange samples in batches of equal size, (batches, batch_size); repeats of the last sample fill the last
    batch."""
    missing = -len(sample_N) % batch_size
    return np.concatenate([sample_N, np.repeat(sample_N[-1:], missing)]).reshape(-1, batch_size)
