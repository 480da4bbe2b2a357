"""LitData: tensors in chunks of 64 MB.

As documented: StreamingDataLoader around StreamingDataset, shuffled, in the training process. Two workers, which pass
every batch through shared memory, were slower on two cores.

By hand: our thread copies samples of StreamingDataset into reused batches, two batches ahead.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peers.prefetch import Batches, made_ahead, made_once


@contextmanager
def documented(images_NHWC: np.ndarray, folder: Path) -> Iterator[Batches]:
    """As many images as planned, in the loader's own order: every epoch is shuffled."""
    from litdata import StreamingDataLoader

    dataset = _dataset(images_NHWC, folder, shuffle=True)

    @cache
    def endless(batch: int) -> Iterator[np.ndarray]:
        loader = StreamingDataLoader(dataset, batch_size=batch, num_workers=0)
        return (images.numpy() for _ in count() for images in loader)

    def ready(plan: np.ndarray) -> Iterator[np.ndarray]:
        yield from islice(endless(plan.shape[1]), len(plan))

    yield ready


@contextmanager
def by_hand(images_NHWC: np.ndarray, folder: Path) -> Iterator[Batches]:
    """The planned images, two batches ahead."""
    dataset = _dataset(images_NHWC, folder)

    def fill(rows: np.ndarray, out: np.ndarray) -> None:
        for row, target in zip(rows, out, strict=True):
            target[...] = dataset[int(row)].numpy()

    # two threads, each with its own dataset, were no faster
    with made_ahead(fill, images_NHWC.shape[1:], threads=1) as ready:
        yield ready


def _dataset(images_NHWC: np.ndarray, folder: Path, *, shuffle: bool = False) -> Any:
    from litdata import StreamingDataset
    from litdata.streaming import Cache

    def make(target: Path) -> None:
        cache = Cache(str(target), chunk_bytes="64MB")
        for row, image in enumerate(images_NHWC):
            cache[row] = torch.from_numpy(image.copy())
        cache.done()
        cache.merge()

    return StreamingDataset(str(made_once(folder, images_NHWC, make)), shuffle=shuffle)
