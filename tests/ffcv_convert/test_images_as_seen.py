"""Images are stored as a viewer shows them: upright, transparent parts white, of any usual kind; others are refused."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ffcv_convert.common.errors import DataError
from ffcv_convert.images import ImageFormat, encode, load_image
from tests.support.refusals import refusal

SIZE = ImageFormat(96, 48)


def drawing() -> Image.Image:
    """A black stroke on transparent paper, whose colour below is black as well."""
    image = Image.new("RGBA", (48, 96), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (10, 10, 20, 80))
    return image


def ink() -> Image.Image:
    """255 where the stroke is."""
    return drawing().getchannel("A")


def keyed(mode: str) -> Image.Image:
    """The stroke in black, the paper in a colour that a file can name as the transparent one."""
    return ink().point(lambda value: 255 - value).convert(mode)


TRANSPARENT: dict[str, Callable[[Path], None]] = {
    "rgba.png": lambda path: drawing().save(path),
    "la.png": lambda path: drawing().convert("LA").save(path),
    "palette.png": lambda path: drawing().quantize(4).save(path),
    "palette-key.png": lambda path: (
        keyed("L").quantize(2).save(path, transparency=keyed("L").quantize(2).getpixel((0, 0)))
    ),
    "grey-key.png": lambda path: keyed("L").save(path, transparency=255),
    "rgb-key.png": lambda path: keyed("RGB").save(path, transparency=(255, 255, 255)),
    "bit-key.png": lambda path: keyed("1").save(path, transparency=1),
    "rgba.webp": lambda path: drawing().save(path, lossless=True),
    "rgba.tif": lambda path: drawing().save(path),
    "la.tiff": lambda path: drawing().convert("LA").save(path),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparent_paper_is_white(tmp_path: Path, name: str) -> None:
    TRANSPARENT[name](tmp_path / name)
    pixels = load_image(tmp_path / name, SIZE).pixels
    expected = 255 - np.asarray(ink())
    assert np.array_equal(pixels, np.stack([expected] * 3, axis=2))


def test_half_transparent_ink_is_half_grey(tmp_path: Path) -> None:
    Image.new("RGBA", (48, 96), (0, 0, 0, 128)).save(tmp_path / "a.png")
    assert np.abs(load_image(tmp_path / "a.png", SIZE).pixels.astype(int) - 127).max() <= 1


def test_an_opaque_alpha_channel_changes_no_pixel(tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (96, 48, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(load_image(tmp_path / "a.png", SIZE).pixels, pixels[..., :3])


# EXIF's orientation -> how a camera that was held so stores an upright scene.
HELD = {1: None, 2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90",
        7: "TRANSVERSE", 8: "ROTATE_270"}  # fmt: skip


def scene() -> Image.Image:
    """No two of its eight turns and mirrors are alike."""
    image = Image.new("RGB", (48, 96), (20, 20, 20))
    image.paste((250, 250, 250), (0, 0, 48, 30))
    image.paste((250, 0, 0), (0, 0, 10, 96))
    return image


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", HELD)
def test_every_orientation_is_shown_upright(tmp_path: Path, orientation: int, ending: str) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    held = HELD[orientation]
    stored = scene().transpose(Image.Transpose[held]) if held else scene()
    how = {".jpg": {"quality": 98, "subsampling": 0}, ".webp": {"lossless": True}}.get(ending, {})
    stored.save(tmp_path / f"a{ending}", exif=exif, **how)
    pixels, turned, *_ = load_image(tmp_path / f"a{ending}", SIZE)
    assert np.abs(pixels.astype(int) - np.asarray(scene())).mean() < 1
    if ending != ".tif":  # which Pillow turns by itself
        assert turned == (orientation != 1)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # the filter of images.py, which pytest takes away
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"]
)
def test_damaged_exif_turns_nothing(tmp_path: Path, exif: bytes) -> None:
    scene().save(tmp_path / "a.jpg", exif=b"Exif\0\0" + exif, quality=98, subsampling=0)
    pixels, turned, *_ = load_image(tmp_path / "a.jpg", SIZE)
    assert not turned
    assert np.abs(pixels.astype(int) - np.asarray(scene())).mean() < 1


def write_deep(path: Path, channels: int) -> None:
    cv2.imwrite(str(path), np.full((96, 48, channels), 40_000, np.uint16))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("ending", [".png", ".tif", ".ppm"])
def test_sixteen_bits_are_refused(tmp_path: Path, ending: str, channels: int) -> None:
    path = tmp_path / f"a{'.pgm' if (ending, channels) == ('.ppm', 1) else ending}"
    write_deep(path, channels)
    with refusal(DataError, path, "8 bits"):
        load_image(path, SIZE)


def test_other_kinds_are_refused_with_what_to_do(tmp_path: Path) -> None:
    write_deep(tmp_path / "alpha.png", 4)
    Image.new("LAB", (48, 96)).save(tmp_path / "lab.tif")
    Image.new("F", (48, 96)).save(tmp_path / "float.tif")
    scene().save(tmp_path / "gif.jpg", format="GIF")
    (tmp_path / "phone.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    for path in tmp_path.iterdir():
        with refusal(DataError, path, "8-bit PNG"):
            load_image(path, SIZE)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (9, 80, 7)])
def test_one_colour_alone_is_constant(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    image = Image.new("RGB", (48, 96), colour)
    image.save(tmp_path / "a.png")
    assert encode(tmp_path / "a.png", SIZE).constant
    image.putpixel((47, 95), (1, 2, 3))
    image.save(tmp_path / "a.png")
    assert not encode(tmp_path / "a.png", SIZE).constant
