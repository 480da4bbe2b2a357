"""One image of a data set: read, decode, resize (Lanczos), and encode for storage.

Images from an archive may be damaged or hostile, so sizes are checked before memory is allocated.
"""

import io
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from ffcv_convert.beton.layout import PAGE_BYTES
from ffcv_convert.common.errors import DataError
from ffcv_convert.lanczos import resize

MAX_PIXELS = 25_000_000  # a pedestrian crop has 0.05 million; more is a decompression bomb or a mistake
MAX_FILE_BYTES = 1 << 27  # somewhat more than MAX_PIXELS uncompressed
MAX_SIDE_PX = 16_384  # of the source and of the stored image; .beton allows up to 65,535
JPEG_QUALITY = 95
# A progressive JPEG has about ten. Ten bytes of file can hold a scan, and each scan costs a pass over the whole image.
MAX_SCANS = 100
MARKER = re.compile(rb"\xff+([\x02-\xcf\xd8-\xfe])")  # not the stuffed 0xff and restart markers of coded data
FORMATS = ("JPEG", "PNG", "BMP")  # used by the data sets; Pillow would run Ghostscript for a PostScript file


Encoding = Literal["raw", "jpeg"]


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
    stored: bytes
    crc32: int
    grey: bool


def load_image(path: Path, image_format: ImageFormat) -> np.ndarray:
    """Decode and resize one image to uint8 RGB (H, W, 3). Raises DataError naming the file."""
    try:
        size = path.stat().st_size
        if size == 0:
            raise DataError(f"{path}: empty file. Restore it, or replace it")
        if size > MAX_FILE_BYTES:
            raise DataError(f"{path}: {size} bytes is no pedestrian image. Replace it")
        # Read the file first: a damaged length field would make Pillow allocate gigabytes.
        content = path.read_bytes()
        if content.startswith(b"\xff\xd8") and (scans := _scans(content)) > MAX_SCANS:
            raise DataError(f"{path}: a JPEG with {scans} scans is no pedestrian image. Replace it")
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE_PX:
                raise DataError(f"{path}: {image.width} x {image.height} pixels is no pedestrian image. Replace it")
            if image.mode.startswith(("I", "F")):  # conversion to RGB would make them white
                raise DataError(f"{path}: has more than 8 bits per channel. Replace it with an 8-bit image")
            rgb = np.asarray(image.convert("RGB"))
    except FileNotFoundError:
        raise DataError(f"{path}: listed, but not found. Restore it, or replace it") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        why = f"not a {' or '.join(FORMATS)}" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{path}: cannot be decoded ({why}). Restore it, or replace it") from None
    return resize(rgb, image_format.height_px, image_format.width_px)


def _scans(jpeg: bytes) -> int:
    """Number of scans before the end marker. Segments, such as thumbnails, are skipped as a decoder does."""
    scans, at = 0, 2
    while (marker := MARKER.search(jpeg, at)) and marker[1] != b"\xd9":
        scans += marker[1] == b"\xda"
        at = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
    return scans


def encode(path: Path, image_format: ImageFormat) -> Encoded:
    pixels = load_image(path, image_format)
    grey = bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())
    if image_format.encoding == "raw":
        stored = pixels.tobytes()
    else:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        stored = buffer.getvalue()
    return Encoded(stored, zlib.crc32(stored), grey)


def in_order(work: Callable[[Path], Encoded], paths: Sequence[Path], workers: int) -> Iterator[Encoded]:
    """Yield the results of `work` in the order of `paths`; `workers` threads work ahead until the first error."""
    with ThreadPoolExecutor(workers, thread_name_prefix="convert") as pool:
        waiting: deque[Future[Encoded]] = deque()
        try:
            for path in paths:
                waiting.append(pool.submit(work, path))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
