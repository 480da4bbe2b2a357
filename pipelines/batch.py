"""What a loader hands to the training step and to the evaluation."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """images: uint8 (B, H, W, 3), visible half first, or what the loader's `augment` takes in their place (augmented
    floats, or row numbers); person_B, index_B (row in the manifest): int64; augmentation: the table of draw, empty in
    testing. Rows from `count` on fill up an odd last batch and are to be ignored."""

    images: Tensor
    person_B: Tensor
    index_B: Tensor
    augmentation: Tensor
    count: int


def padded(sample_N: np.ndarray, batch_size: int) -> np.ndarray:
    """Samples in batches of one size, (batches, batch_size): the last one is filled up with its last sample."""
    missing = -len(sample_N) % batch_size
    return np.concatenate([sample_N, np.repeat(sample_N[-1:], missing)]).reshape(-1, batch_size)
