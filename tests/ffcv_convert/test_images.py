"""Loading one image: every mode becomes RGB, and false sizes cost neither memory nor time."""

import io
import resource
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ffcv_convert.common.errors import DataError
from ffcv_convert.decoding import MAX_SCANS, decode
from ffcv_convert.images import Encoding, ImageFormat, load_image
from tests.support.refusals import refusal


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(17).integers(0, 256, (40, 20, 3), dtype=np.uint8))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
def test_other_kinds_of_images_become_rgb(tmp_path: Path, mode: str) -> None:
    grey = np.zeros((4, 4), np.uint8)
    grey[:, 2:] = 255
    Image.fromarray(grey).convert(mode).save(tmp_path / "a.png")
    assert np.array_equal(load_image(tmp_path / "a.png", ImageFormat(4, 4)).pixels, np.stack([grey] * 3, axis=2))


def test_an_image_can_be_decoded_in_its_own_size(tmp_path: Path) -> None:
    noise().save(tmp_path / "a.png")
    found = decode(tmp_path / "a.png")
    assert np.array_equal(found.pixels, np.asarray(noise()))
    assert (found.turned, found.several) == (False, False)


@pytest.mark.parametrize("size", [(2000, 400), (16_385, 9), (9, 70_000), (10**9, 10**9)])
@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_sizes_that_do_not_fit_a_page_are_refused_at_once(size: tuple[int, int], encoding: Encoding) -> None:
    with refusal(DataError, f"{size[0]} x {size[1]}"):
        ImageFormat(*size, encoding)


@contextmanager
def memory_bounded(more_bytes: int) -> Iterator[None]:
    """Allocating more than this inside the block raises MemoryError."""
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    bound = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (bound, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, limits)


def test_a_length_that_is_wrong_takes_no_memory(tmp_path: Path) -> None:
    """A chunk claims two billion bytes; Pillow has the pixels already and ignores it."""
    file = io.BytesIO()
    noise().save(file, "PNG")
    png = bytearray(file.getvalue())
    at = png.index(b"IDAT") - 4
    png[at : at + 4] = struct.pack(">I", (1 << 31) + struct.unpack(">I", png[at : at + 4])[0])
    (tmp_path / "a.png").write_bytes(png)
    with memory_bounded(1 << 28):
        assert load_image(tmp_path / "a.png", ImageFormat(24, 12)).pixels.shape == (24, 12, 3)


def with_scans(more: int, comment: bytes = b"", behind: bytes = b"") -> bytes:
    """A progressive JPEG of ten scans, with the last scan repeated `more` times."""
    file = io.BytesIO()
    noise().save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content[content.rindex(b"\xff\xda") : -2]
    segment = b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment
    return content[:2] + segment + content[2:-2] + more * last + content[-2:] + behind


def test_the_scans_of_a_jpeg_are_limited(tmp_path: Path) -> None:
    """Each scan costs a pass over the image. Markers inside thumbnails or after the image do not count."""
    path = tmp_path / "a.jpg"
    path.write_bytes(with_scans(MAX_SCANS - 10, b"\xff\xda" * 500, b"\xff\xda" * 500))
    assert load_image(path, ImageFormat(32, 16)).pixels.shape == (32, 16, 3)
    path.write_bytes(with_scans(MAX_SCANS - 9))
    with refusal(DataError, path, 101):
        load_image(path, ImageFormat(32, 16))
