"""One image of a data set: read, decode, resize (Lanczos), and encode as it is stored.

What comes from an archive may be damaged or hostile: sizes are checked before memory is asked for.
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

MAX_PIXELS = 25_000_000  # a camera's; a pedestrian crop has 0.05 million, more is a decompression bomb or a mistake
MAX_FILE_BYTES = 1 << 27  # as many pixels uncompressed, and then some
MAX_SIDE_PX = 16_384  # a picture's own and the stored one's, which .beton counts to 65,535
JPEG_QUALITY = 95
# A progressive JPEG has ten or so. The whole picture is gone over for each, which needs no more than ten bytes of file.
MAX_SCANS = 100
MARKER = re.compile(rb"\xff+([\x02-\xcf\xd8-\xfe])")  # neither a stuffed 0xff of coded data nor a restart within it
FORMATS = ("JPEG", "PNG", "BMP")  # the data sets' own; Pillow would run Ghostscript for a PostScript file


Encoding = Literal["raw", "jpeg"]


@dataclass(frozen=True)
class ImageFormat:
    """How pictures are stored: one size in pixels for the whole file, as raw uint8 RGB or as JPEG of quality 95."""

    height_px: int = 288
    width_px: int = 144
    encoding: Encoding = "raw"
    filter: str = "lanczos"

    def __post_init__(self) -> None:
        high, wide = self.height_px, self.width_px
        if high * wide * 3 > PAGE_BYTES or max(high, wide) > MAX_SIDE_PX:
            raise DataError(f"{high} x {wide} pixels do not fit a page of {PAGE_BYTES} bytes. Use less")


@dataclass(frozen=True)
class Encoded:
    stored: bytes
    crc32: int
    grey: bool


def load_image(path: Path, image_format: ImageFormat) -> np.ndarray:
    """Decode and resize one picture to uint8 RGB (H, W, 3). Raises DataError naming the file."""
    try:
        size = path.stat().st_size
        if size == 0:
            raise DataError(f"{path}: empty file. Restore it from the data set's archive")
        if size > MAX_FILE_BYTES:
            raise DataError(f"{path}: {size} bytes is no pedestrian picture. Replace it")
        # Read before: Pillow asks for as many bytes as a damaged length says, for which a file makes room at once.
        content = path.read_bytes()
        if content.startswith(b"\xff\xd8") and (scans := _scans(content)) > MAX_SCANS:
            raise DataError(f"{path}: a JPEG of {scans} scans is no pedestrian picture. Replace it")
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE_PX:
                raise DataError(f"{path}: {image.width} x {image.height} pixels is no pedestrian picture. Replace it")
            if image.mode.startswith(("I", "F")):  # converted to RGB they would come out white
                raise DataError(f"{path}: has more than 8 bits a channel. Replace it by an 8-bit picture")
            rgb = np.asarray(image.convert("RGB"))
    except FileNotFoundError:
        raise DataError(f"{path}: listed, but not there. Restore it from the data set's archive") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        why = f"no {', '.join(FORMATS)}" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{path}: cannot be decoded ({why}). Restore it from the data set's archive") from None
    return resize(rgb, image_format.height_px, image_format.width_px)


def _scans(jpeg: bytes) -> int:
    """Starts of scans up to the picture's end, found as a decoder finds them: a segment, as a thumbnail, is skipped."""
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
    """Results of `work` in the order of `paths`, `workers` at a time, a few kept ready; the first error ends it."""
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
