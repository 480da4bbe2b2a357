"""Decodes one image as a viewer shows it: in its own size, 8-bit RGB.

Transparent parts become white, like paper under a drawing, and EXIF's orientation is applied. Images from an archive
may be damaged or hostile, so sizes are checked before memory is allocated.
"""

import io
import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, PpmImagePlugin, TiffImagePlugin, UnidentifiedImageError
from zlib_ng.zlib_ng import crc32

from ffcv_convert.common.errors import DataError

MAX_PIXELS = 25_000_000  # a pedestrian crop has 0.05 million; more is a decompression bomb or a mistake
MAX_FILE_BYTES = 1 << 27  # somewhat more than MAX_PIXELS uncompressed
MAX_SIDE_PX = 16_384  # limit for the source and for the stored image; .beton allows up to 65,535
# A progressive JPEG has about ten. Ten bytes of file can hold a scan, and each scan costs a pass over the whole image.
MAX_SCANS = 100
SCAN = b"\xff\xda"  # begins a scan; in a thumbnail as well
MARKER = re.compile(rb"\xff+([\x02-\xcf\xd8-\xfe])")  # skips the stuffed 0xff and the restart markers of coded data
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM")  # no others: Pillow would run Ghostscript for PostScript
RESTORE = "Restore it, or replace it"
CONVERT = "Convert it to 8-bit PNG"
MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
UPRIGHT = {  # EXIF's orientation -> the step that turns the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
PNG_DEPTH = 24  # position of the byte that holds the bits per channel
TIFF_DEPTHS = 258
# Pillow's warnings of damaged metadata name a line of Pillow and not the image's file.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class Decoded(NamedTuple):
    """An image as a viewer shows it. pixels: uint8 RGB (H, W, 3); turned: EXIF's orientation was applied; several: its
    file holds further images (pages, frames), which are not read; source_crc32: the CRC-32 of the file."""

    pixels: np.ndarray
    turned: bool
    several: bool
    source_crc32: int


def decode(path: Path) -> Decoded:
    """Decode one image in its own size, upright and on white. Raises DataError naming the file."""
    try:
        size = path.stat().st_size
        if size == 0:  # before it is read: a pipe would be waited for
            raise DataError(f"{path}: empty file. {RESTORE}")
        if size > MAX_FILE_BYTES:
            raise DataError(f"{path}: {size} bytes is no pedestrian image. Replace it")
        # Read the file first: a damaged length field would make Pillow allocate gigabytes.
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: listed, but not found. {RESTORE}") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise DataError(f"{path}: cannot be decoded ({error}). {RESTORE}") from None
    return decode_bytes(content, str(path))


def decode_bytes(content: bytes, path: str) -> Decoded:
    """Decode an image file that is in memory. path: its name, for messages. Raises DataError naming it."""
    if not content:
        raise DataError(f"{path}: empty file. {RESTORE}")
    try:
        # Counting the bytes that may begin a scan is 30 times as fast as following the markers.
        may_have = content.count(SCAN) if content.startswith(b"\xff\xd8") else 0
        if may_have > MAX_SCANS and (scans := _scans(content)) > MAX_SCANS:
            raise DataError(f"{path}: a JPEG with {scans} scans is no pedestrian image. Replace it")
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE_PX:
                raise DataError(f"{path}: {image.width} x {image.height} pixels is no pedestrian image. Replace it")
            if _is_deep(image, content):  # Pillow would turn some white, and drop the lower bits of others
                raise DataError(f"{path}: has more than 8 bits per channel. {CONVERT}")
            if image.mode not in MODES:
                raise DataError(f"{path}: stores its colours as {image.mode}. {CONVERT}")
            several = getattr(image, "is_animated", False)  # Pillow's word, for pages as well; it looks no further
            image.load()
            upright = _upright(image)
            rgb = np.asarray(_on_white(upright or image))
    except UnidentifiedImageError:
        raise DataError(
            f"{path}: cannot be decoded (not a {', '.join(FORMATS)}). Restore it, or convert it to 8-bit PNG"
        ) from None
    except DataError:
        raise
    except Exception as error:  # Pillow raises errors of any kind
        raise DataError(f"{path}: cannot be decoded ({error}). {RESTORE}") from None
    return Decoded(rgb, upright is not None, several, crc32(content))


def _is_deep(image: Image.Image, content: bytes) -> bool:
    """Whether a channel has more than 8 bits. Pillow's mode shows it only for grey images: colours are cut to 8."""
    if image.format == "PNG":
        return content[PNG_DEPTH] > 8
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(image.tag_v2.get(TIFF_DEPTHS, (1,))) > 8
    if isinstance(image, PpmImagePlugin.PpmImageFile) and image.mode == "RGB":
        return any(isinstance(value, int) and value > 255 for value in image.tile[0].args or ())
    return image.mode.startswith(("I", "F"))


def _upright(image: Image.Image) -> Image.Image | None:
    """Return the image turned upright as EXIF says; None if it is upright already, or if EXIF is damaged."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Pillow raises errors of any kind; viewers show such an image as it is stored
        return None
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else None


def _on_white(image: Image.Image) -> Image.Image:
    """Return the image in RGB, with its transparent parts laid on white."""
    if image.has_transparency_data:
        image = image.convert("LA") if image.mode == "La" else image
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")  # convert always copies


def _scans(jpeg: bytes) -> int:
    """Count the scans before the end marker. Segments, such as thumbnails, are skipped as a decoder does."""
    scans, at = 0, 2
    while (marker := MARKER.search(jpeg, at)) and marker[1] != b"\xd9":
        scans += marker[1] == b"\xda"
        at = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
    return scans
