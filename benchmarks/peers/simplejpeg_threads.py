"""simplejpeg (libjpeg-turbo): JPEG files of the stored size, read and decoded by threads into the batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.peers.ahead import Batches, made_ahead, made_once


@contextmanager
def batches(images_NHWC: np.ndarray, folder: Path) -> Iterator[Batches]:
    """The planned pictures but for JPEG's loss (quality 95, colour at half the size, as Pillow would write them)."""
    import simplejpeg

    def make(target: Path) -> None:
        for row, image in enumerate(images_NHWC):
            encoded = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=95, colorsubsampling="420")
            (target / f"{row}.jpg").write_bytes(encoded)

    def fill(rows: np.ndarray, out: np.ndarray) -> None:
        for row, target in zip(rows, out, strict=True):
            encoded = (made / f"{row}.jpg").read_bytes()
            simplejpeg.decode_jpeg(encoded, fastdct=True, fastupsample=True, buffer=target)

    made = made_once(folder, images_NHWC, make)
    with made_ahead(fill, images_NHWC.shape[1:]) as ready:
        yield ready
