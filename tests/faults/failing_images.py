"""A small custom set in folders, images that claim huge sizes, and an image whose drawing fails."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ffcv_convert.beton import Modality
from ffcv_convert.synthetic import Options, draw, synthesise
from ffcv_convert.synthetic.options import PlannedImage


def draw_custom_set(root: Path, *, identities: int) -> Path:
    """Write two noise images per identity: training identities 1, 2, ... and two test identities. Returns `root`."""
    rng = np.random.default_rng(identities)
    for split, persons in (("train", range(1, identities + 1)), ("test", range(1, 3))):
        for modality in ("visible", "infrared"):
            for person in persons:
                folder = root / split / modality / str(person)
                folder.mkdir(parents=True)
                Image.fromarray(rng.integers(0, 256, (24, 12, 3), dtype=np.uint8)).save(folder / "a.png")
    return root


def draw_a_picture_that_fails(root: Path, path: str = "a.jpg", person: int = -1) -> None:
    """In a drawing process, like every image of a set: identity -1 raises ValueError."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draw, "plan", lambda options: ([PlannedImage(path, person, 1, 0, Modality.VISIBLE)], {}))
        synthesise(root, Options(height_px=64), workers=1)


def bombs() -> dict[str, bytes]:
    """Small files that declare 60000 x 60000 pixels, one that truly holds 8100 x 8000, one that is 16 million long,
    one with a text of 64 MB, one whose 2,000 scans would each go over 25 million pixels."""
    huge = struct.pack("<ii", 60_000, 60_000)
    bmp, jpeg = _stored("BMP"), _stored("JPEG")
    frame = jpeg.index(b"\xff\xc0") + 5  # where the start of a frame has height and width
    return {
        "declared.png": _png(60_000, 60_000, b""),
        "true.png": _png(8100, 8000, zlib.compress(bytes(8000 * (1 + 3 * 8100)))),
        "text.png": _png(4, 8, zlib.compress(bytes(8 * 13)), b"zTXtComment\0\0" + zlib.compress(bytes(1 << 26))),
        "long.bmp": bmp[:18] + struct.pack("<ii", 16_000_000, 2) + bmp[26:],
        "declared.bmp": bmp[:18] + huge + bmp[26:],
        "upside_down.bmp": bmp[:18] + struct.pack("<ii", 60_000, -60_000) + bmp[26:],
        "scans.jpg": _scans(5000, 5000, 2000),
        "declared.jpg": jpeg[:frame] + struct.pack(">HH", 60_000, 60_000) + jpeg[frame + 4 :],
    }


def _stored(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 8)).save(file, kind)
    return file.getvalue()


def _scans(width: int, height: int, more: int) -> bytes:
    """A progressive JPEG, its last scan `more` times again."""
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, "JPEG", progressive=True)
    jpeg = file.getvalue()
    last = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return jpeg[:-2] + more * last + jpeg[-2:]


def _png(width: int, height: int, pixels: bytes, *more: bytes) -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [head, *more, b"IDAT" + pixels, b"IEND"]
    sealed = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(sealed)
