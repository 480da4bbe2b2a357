"""WebDataset: raw pixels in tar shards, streamed and shuffled by a thread.

A tar stream cannot be asked for rows. The pictures come in its own order: shards in an order drawn anew each time they
run out, then a shuffle buffer. Two threads with half of the shards each were slower: reading tar holds the interpreter.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.ahead import Batches, made_ahead, made_once

SHARDS = 8
BUFFER = 200  # pictures that the next one is drawn from


@contextmanager
def batches(images_NHWC: np.ndarray, folder: Path) -> Iterator[Batches]:
    """As many pictures as are planned, in the stream's order."""
    import webdataset

    picture = images_NHWC.shape[1:]

    def make(target: Path) -> None:
        rows = np.random.default_rng(0).permutation(len(images_NHWC))
        for shard, share in enumerate(np.array_split(rows, SHARDS)):
            with webdataset.TarWriter(str(target / f"{shard:04d}.tar"), encoder=False) as tar:
                for row in share:
                    tar.write({"__key__": f"{row:08d}", "rgb": images_NHWC[row].tobytes()})

    def endless() -> Iterator[dict[str, Any]]:
        shards = sorted(map(str, made.glob("*.tar")))
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
            target[...] = np.frombuffer(next(stream)["rgb"], np.uint8).reshape(picture)

    made = made_once(folder, images_NHWC, make)
    stream = endless()
    with made_ahead(fill, picture, threads=1) as ready:
        yield ready
