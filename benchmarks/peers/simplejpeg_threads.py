"""simplejpeg (libjpeg-turbo): JPEG files of the stored size.

As documented: decode_jpeg makes a new array of each file. simplejpeg has no loader, so this is the simple one that a
user would write: Executor.map over a batch's files and np.stack, without prefetching.

By hand: threads decode directly into reused batches, two batches ahead.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.peers.prefetch import CORES, Batches, made_ahead, made_once


@contextmanager
def documented(images_NHWC: np.ndarray, folder: Path) -> Iterator[Batches]:
    """The planned images, apart from JPEG's loss, decoded on request."""
    import simplejpeg

    made = _files(images_NHWC, folder)

    def decode(row: int) -> np.ndarray:
        return simplejpeg.decode_jpeg((made / f"{row}.jpg").read_bytes(), fastdct=True, fastupsample=True)

    def ready(plan: np.ndarray) -> Iterator[np.ndarray]:
        for rows in plan:
            yield np.stack(list(pool.map(decode, rows)))

    with ThreadPoolExecutor(CORES) as pool:
        yield ready


@contextmanager
def by_hand(images_NHWC: np.ndarray, folder: Path) -> Iterator[Batches]:
    """The planned images, apart from JPEG's loss, two batches ahead."""
    import simplejpeg

    made = _files(images_NHWC, folder)

    def fill(rows: np.ndarray, out: np.ndarray) -> None:
        for row, target in zip(rows, out, strict=True):
            encoded = (made / f"{row}.jpg").read_bytes()
            simplejpeg.decode_jpeg(encoded, fastdct=True, fastupsample=True, buffer=target)

    with made_ahead(fill, images_NHWC.shape[1:]) as ready:
        yield ready


def _files(images_NHWC: np.ndarray, folder: Path) -> Path:
    """The folder of JPEG files: quality 95, colour at half the resolution, as Pillow would write them."""
    import simplejpeg

    def make(target: Path) -> None:
        for row, image in enumerate(images_NHWC):
            encoded = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=95, colorsubsampling="420")
            (target / f"{row}.jpg").write_bytes(encoded)

    return made_once(folder, images_NHWC, make)
