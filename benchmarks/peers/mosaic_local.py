"""Mosaic Streaming: raw arrays in MDS shards of 64 MB, indexed through LocalDataset by threads.

LocalDataset reads the shards that StreamingDataset does, without what that needs for remote ones and several nodes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.peers.ahead import Batches, made_ahead, made_once


@contextmanager
def batches(images_NHWC: np.ndarray, folder: Path) -> Iterator[Batches]:
    """The planned pictures."""
    from streaming import LocalDataset, MDSWriter

    picture = images_NHWC.shape[1:]

    def make(target: Path) -> None:
        target.rmdir()  # the writer warns of a folder that is there
        with MDSWriter(out=str(target), columns={"image": f"ndarray:uint8:{','.join(map(str, picture))}"}) as writer:
            for image in images_NHWC:
                writer.write({"image": np.ascontiguousarray(image)})

    dataset = LocalDataset(str(made_once(folder, images_NHWC, make)))

    def fill(rows: np.ndarray, out: np.ndarray) -> None:
        for row, target in zip(rows, out, strict=True):
            target[...] = dataset[int(row)]["image"]

    with made_ahead(fill, picture) as ready:
        yield ready
