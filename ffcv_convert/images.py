"""Reads one image of a data set, resizes it (Lanczos), and encodes it for storage."""

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from PIL import Image
from zlib_ng.zlib_ng import crc32

from ffcv_convert.beton.layout import PAGE_BYTES
from ffcv_convert.common.errors import DataError
from ffcv_convert.decoding import MAX_SIDE_PX, decode
from ffcv_convert.lanczos import resize

JPEG_QUALITY = 95

Encoding = Literal["raw", "jpeg"]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class ImageFormat:
    """How images are stored: all in one size in pixels, as raw uint8 RGB or as JPEG of quality 95."""

    height_px: int = 288
    width_px: int = 144
    encoding: Encoding = "raw"
    filter: str = "lanczos"

    def __post_init__(self) -> None:
        high, wide = self.height_px, self.width_px
        if high * wide * 3 > PAGE_BYTES or max(high, wide) > MAX_SIDE_PX:
            raise DataError(f"{high} x {wide} pixels do not fit into a page of {PAGE_BYTES} bytes. Use a smaller size")


@dataclass(frozen=True)
class Encoded:
    """An image as it is stored. grey: R = G = B everywhere; constant: it has only one colour; the rest: see
    Loaded."""

    stored: bytes
    crc32: int
    grey: bool
    constant: bool
    turned: bool
    several: bool
    wide: bool
    source_crc32: int


class Loaded(NamedTuple):
    """A decoded image in the size that is stored. wide: before that, it was wider than high; the rest: see Decoded."""

    pixels: np.ndarray
    turned: bool
    several: bool
    wide: bool
    source_crc32: int


def load_image(path: Path, image_format: ImageFormat) -> Loaded:
    """Decode and resize one image. Raises DataError naming the file."""
    rgb, turned, several, source_crc32 = decode(path)
    wide = rgb.shape[1] > rgb.shape[0]
    return Loaded(resize(rgb, image_format.height_px, image_format.width_px), turned, several, wide, source_crc32)


def encode(path: Path, image_format: ImageFormat) -> Encoded:
    pixels, turned, several, wide, source_crc32 = load_image(path, image_format)
    constant = _is_constant(pixels[0]) and _is_constant(pixels)
    grey = _is_grey(pixels[0]) and _is_grey(pixels)
    if image_format.encoding == "raw":
        stored = pixels.tobytes()
    else:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        stored = buffer.getvalue()
    return Encoded(stored, crc32(stored), grey, constant, turned, several, wide, source_crc32)


def _is_constant(pixels: np.ndarray) -> bool:
    return bool((pixels == pixels.reshape(-1, 3)[0]).all())


def _is_grey(pixels: np.ndarray) -> bool:
    return bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())


def in_order(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Yield the results of `work` in the order of `items`; `workers` threads work ahead until the first error."""
    with ThreadPoolExecutor(workers, thread_name_prefix="convert") as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
