"""Mosaic Streaming: raw arrays in MDS shards of 64 MB.

As documented: torch's DataLoader around StreamingDataset, shuffled, in the training process.

By hand: our threads copy samples of LocalDataset into reused batches, two batches ahead. LocalDataset reads the same
shards as StreamingDataset, without the code for remote shards and several nodes.
"""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from benchmarks.peers.prefetch import Batches, made_ahead, made_once


@contextmanager
def documented(images_NHWC: np.ndarray, folder: Path) -> Iterator[Batches]:
    """As many images as planned, in the dataset's own order: every epoch is shuffled."""
    from streaming import StreamingDataset

    made = _shards(images_NHWC, folder)
    datasets: list[Any] = []

    @cache
    def endless(batch: int) -> Iterator[np.ndarray]:
        datasets.append(StreamingDataset(local=str(made), shuffle=True, batch_size=batch))
        loader = DataLoader(datasets[-1], batch_size=batch)
        return (images["image"].numpy() for _ in count() for images in loader)

    def ready(plan: np.ndarray) -> Iterator[np.ndarray]:
        yield from islice(endless(plan.shape[1]), len(plan))

    try:
        yield ready
    finally:
        blocks = [block for dataset in datasets for block in _shared_memory(dataset)]
        endless.cache_clear()
        datasets.clear()
        gc.collect()
        for block in blocks:
            block.cleanup()
            atexit.unregister(block.cleanup)


@contextmanager
def by_hand(images_NHWC: np.ndarray, folder: Path) -> Iterator[Batches]:
    """The planned images, two batches ahead."""
    from streaming import LocalDataset

    dataset = LocalDataset(str(_shards(images_NHWC, folder)))

    def fill(rows: np.ndarray, out: np.ndarray) -> None:
        for row, target in zip(rows, out, strict=True):
            target[...] = dataset[int(row)]["image"]

    with made_ahead(fill, images_NHWC.shape[1:]) as ready:
        yield ready


def _shards(images_NHWC: np.ndarray, folder: Path) -> Path:
    from streaming import MDSWriter

    shape = ",".join(map(str, images_NHWC.shape[1:]))

    def make(target: Path) -> None:
        target.rmdir()  # the writer warns if the folder exists
        with MDSWriter(out=str(target), columns={"image": f"ndarray:uint8:{shape}"}) as writer:
            for image in images_NHWC:
                writer.write({"image": np.ascontiguousarray(image)})

    return made_once(folder, images_NHWC, make)


def _shared_memory(dataset: Any) -> list[Any]:
    """The shared memory of a StreamingDataset, which it would free only when the process ends."""
    from streaming.base.shared import SharedMemory

    held = list(vars(dataset).values())
    for _ in range(2):  # a scalar holds an array, which holds its memory
        held += [inner for outer in held if hasattr(outer, "__dict__") for inner in vars(outer).values()]
    return list({id(block): block for block in held if isinstance(block, SharedMemory)}.values())
