"""WebDataset: raw pixels in tar shards, streamed and shuffled.

As documented: WebLoader around WebDataset(...).shuffle.map.batched, in the training process. One or two workers, which
pass every batch through shared memory, were slower on two cores, and so were the decoders for .npy and tenbin. Only the
shuffle buffer is filled ahead.

By hand: our thread streams the samples into reused batches, two batches ahead.

A tar stream cannot return chosen rows, so the images come in its own order: the shards are shuffled in every pass, then
the images in a buffer. Two threads with half of the shards each were slower: reading tar holds the interpreter lock.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.prefetch import Batches, made_ahead, made_once

SHARDS = 8
BUFFER = 200  # size of the shuffle buffer, in images


@contextmanager
def documented(images_NHWC: np.ndarray, folder: Path) -> Iterator[Batches]:
    """As many images as planned, in the stream's order, on request."""
    import webdataset

    shards, shape_HWC = _shards(images_NHWC, folder), images_NHWC.shape[1:]

    def pixels(sample: dict[str, Any]) -> np.ndarray:
        return np.frombuffer(sample["rgb"], np.uint8).reshape(shape_HWC)

    @cache
    def endless(batch: int) -> Iterator[np.ndarray]:
        samples = webdataset.WebDataset(shards, shardshuffle=len(shards)).shuffle(BUFFER, initial=BUFFER).map(pixels)
        loader = webdataset.WebLoader(samples.batched(batch, collation_fn=np.stack), batch_size=None, num_workers=0)
        return (images.numpy() for _ in count() for images in loader)

    def ready(plan: np.ndarray) -> Iterator[np.ndarray]:
        yield from islice(endless(plan.shape[1]), len(plan))

    yield ready


@contextmanager
def by_hand(images_NHWC: np.ndarray, folder: Path) -> Iterator[Batches]:
    """As many images as planned, in the stream's order, two batches ahead."""
    import webdataset

    shards, shape_HWC = _shards(images_NHWC, folder), images_NHWC.shape[1:]

    def endless() -> Iterator[dict[str, Any]]:
        pipeline = webdataset.DataPipeline(
            webdataset.SimpleShardList(shards),
            webdataset.shuffle(len(shards)),
            webdataset.tarfile_to_samples(),
            webdataset.shuffle(BUFFER, initial=BUFFER),
        )
        while True:
            yield from pipeline

    def fill(rows: np.ndarray, out: np.ndarray) -> None:
        for target in out:
            target[...] = np.frombuffer(next(stream)["rgb"], np.uint8).reshape(shape_HWC)

    stream = endless()
    with made_ahead(fill, shape_HWC, threads=1) as ready:
        yield ready


def _shards(images_NHWC: np.ndarray, folder: Path) -> list[str]:
    import webdataset

    def make(target: Path) -> None:
        rows = np.random.default_rng(0).permutation(len(images_NHWC))
        for shard, share in enumerate(np.array_split(rows, SHARDS)):
            with webdataset.TarWriter(str(target / f"{shard:04d}.tar"), encoder=False) as tar:
                for row in share:
                    tar.write({"__key__": f"{row:08d}", "rgb": images_NHWC[row].tobytes()})

    return sorted(map(str, made_once(folder, images_NHWC, make).glob("*.tar")))
