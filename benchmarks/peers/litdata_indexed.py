"""LitData: tensors in chunks of 64 MB, memory-mapped and indexed through StreamingDataset by a thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from benchmarks.peers.ahead import Batches, made_ahead, made_once


@contextmanager
def batches(images_NHWC: np.ndarray, folder: Path) -> Iterator[Batches]:
    """The planned pictures."""
    from litdata import StreamingDataset
    from litdata.streaming import Cache

    def make(target: Path) -> None:
        cache = Cache(str(target), chunk_bytes="64MB")
        for row, image in enumerate(images_NHWC):
            cache[row] = torch.from_numpy(image.copy())
        cache.done()
        cache.merge()

    dataset = StreamingDataset(str(made_once(folder, images_NHWC, make)))

    def fill(rows: np.ndarray, out: np.ndarray) -> None:
        for row, target in zip(rows, out, strict=True):
            target[...] = dataset[int(row)].numpy()

    with made_ahead(
        fill, images_NHWC.shape[1:], threads=1
    ) as ready:  # two, each with a dataset of its own, gained nothing
        yield ready
