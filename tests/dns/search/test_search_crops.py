"""Boxes cut out of their images: the pixels that conversion makes of a file with the crop alone."""

import math
import random
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from dns.search import crops as module
from dns.search.crops import crops
from dns.search.sightings import Box, LeftOut, Sighting
from ffcv_convert.beton.labels import Modality
from ffcv_convert.decoding import Decoded
from ffcv_convert.images import ImageFormat, load_image

SIZE_PX = (24, 12)
WIDE, HIGH = 70, 50


def sighting(image: str, box: tuple[float, ...] | None, source: str = "") -> Sighting:
    return Sighting(image, box and Box(*box), None, "c", Modality.VISIBLE, source=source)


def noise(mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(3).integers(0, 256, (HIGH, WIDE, 4), dtype=np.uint8)
    return Image.fromarray(pixels if mode == "RGBA" else pixels[..., :3]).convert(mode)


def held_sideways(path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    noise().save(path, quality=90, exif=exif)


IMAGES: dict[str, Callable[[Path], None]] = {
    "rgb.png": lambda path: noise().save(path),
    "transparent.png": lambda path: noise("RGBA").save(path),
    "grey.pgm": lambda path: noise("L").save(path),
    "palette.bmp": lambda path: noise("P").save(path),
    "phone.jpg": held_sideways,
    "a-png.dat": lambda path: noise().save(path, "PNG"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_a_crop_is_what_conversion_makes_of_a_file_that_holds_it(tmp_path: Path, name: str) -> None:
    """Pillow turns the image upright and cuts it; conversion reads the file. Boxes reach beyond the image."""
    IMAGES[name](tmp_path / name)
    draw = random.Random(name)
    spans = (-20, 45), (-20, 45), (1, 90), (21, 90)
    listed = [sighting(name, tuple(draw.uniform(*span) for span in spans)) for _ in range(30)] + [sighting(name, None)]
    left_out = LeftOut()
    made = {id(one): pixels for one, pixels in crops(tmp_path, listed, SIZE_PX, left_out, workers=2)}
    with Image.open(tmp_path / name) as image:
        upright = ImageOps.exif_transpose(image)
    wide, high = upright.size
    assert (wide, high) == ((HIGH, WIDE) if name == "phone.jpg" else (WIDE, HIGH))
    used = cut = 0
    for one in listed:
        box = one.box or Box(0, 0, wide, high)
        left, top = math.floor(box.x + 0.5), math.floor(box.y + 0.5)
        right, bottom = math.floor(box.x + box.width + 0.5), math.floor(box.y + box.height + 0.5)
        inside = max(left, 0), max(top, 0), min(right, wide), min(bottom, high)
        if inside[0] >= inside[2] or inside[1] >= inside[3]:
            assert id(one) not in made
            continue
        used, cut = used + 1, cut + (inside != (left, top, right, bottom))
        upright.crop(inside).save(tmp_path / "crop.png")
        wanted = load_image(tmp_path / "crop.png", ImageFormat(*SIZE_PX)).pixels
        assert made[id(one)].dtype == np.uint8
        assert np.array_equal(made[id(one)], wanted)
    assert used == len(made) > cut > 0
    assert left_out.counts[module.CUT] == cut
    assert left_out.counts.total() == cut + len(listed) - used


@pytest.mark.parametrize(
    ("box", "edges"),
    [
        ((2, 3, 4, 5), (2, 3, 6, 8)),
        ((1.5, 2.4, 2, 3), (2, 2, 4, 5)),  # 1.5 -> 2, 3.5 -> 4; 2.4 -> 2, 5.4 -> 5
        ((2.5, 4.5, 1, 2), (3, 5, 4, 7)),
        ((-0.6, 0, 3, 1), (0, 0, 2, 1)),
        ((65.2, 48, 1e300, 5), (65, 48, 70, 50)),
        ((0.2, 0.2, 0.2, 9), (0, 0, 0, 9)),
    ],
)
def test_edges_are_rounded_and_cut_by_hand(tmp_path: Path, box: tuple[float, ...], edges: tuple[int, ...]) -> None:
    """Each pixel tells its place, and a crop of the right size is not resized."""
    place = np.zeros((HIGH, WIDE, 3), dtype=np.uint8)
    place[..., 0], place[..., 1] = np.arange(WIDE), np.arange(HIGH)[:, None]
    Image.fromarray(place).save(tmp_path / "a.png")
    left, top, right, bottom = edges
    size_px = max(bottom - top, 1), max(right - left, 1)
    found = [pixels for _, pixels in crops(tmp_path, [sighting("a.png", box)], size_px, LeftOut(), workers=1)]
    if left == right or top == bottom:
        assert not found
    else:
        assert np.array_equal(found[0], place[top:bottom, left:right])
        assert found[0].base is None  # no view, which would keep the whole image in memory


def test_what_cannot_be_used_is_counted_by_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    noise().save(tmp_path / "a.png")
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "broken.png").write_bytes((tmp_path / "a.png").read_bytes()[:500])
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "folder").mkdir()
    nan, box = float("nan"), (1, 1, 9, 9)
    rows = [
        ("a.png", (1, 1, 9, 9)), ("a.png", (70, 0, 9, 9)), ("a.png", (0, 50, 9, 9)), ("a.png", (-9, 0, 9, 9)),
        ("a.png", (0, -9, 9, 9)), ("a.png", (0, 0, 0.4, 9)), ("a.png", (5, 5, -2, 9)), ("a.png", (nan, 0, 9, 9)),
        ("a.png", (1e308, 0, 1e308, 9)), ("a.png", (-1, 0, 9, 9)), ("empty.png", box), ("text.png", box),
        ("broken.png", None), ("gone.png", box), ("link.png", box), ("folder", box), (f"{'x' * 300}.png", box),
        ("a.png/b.png", box), ("a.png", None),
    ]  # fmt: skip
    listed = [sighting(image, of, f"line {at}") for at, (image, of) in enumerate(rows)]
    left_out = LeftOut()
    used = [one.source for one, _ in crops(tmp_path, listed, SIZE_PX, left_out, workers=2)]
    assert used == ["line 0", "line 9", "line 18"]
    lines = {reason: [int(name.split()[1]) for name in names] for reason, names in left_out.names.items()}
    assert lines == {
        module.OUTSIDE: [1, 2, 3, 4], module.NO_PIXEL: [5, 6], module.NOT_FINITE: [7, 8], module.CUT: [9],
        module.UNREADABLE: [10, 11, 12, 15], module.MISSING: [13, 14, 16, 17],
    }  # fmt: skip
    assert left_out.counts == {reason: len(of) for reason, of in lines.items()}
    assert left_out.names[module.UNREADABLE][0] == "line 10 (empty.png: empty file)"
    assert left_out.names[module.OUTSIDE][0] == "line 1 (a.png)"
    assert not list(crops(tmp_path, [sighting("gone.png", None)], SIZE_PX, left_out, workers=1))  # has no source
    assert left_out.names[module.MISSING][-1] == "gone.png"


def test_images_come_in_the_order_of_the_list_and_each_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []

    def counted(path: Path) -> Decoded:
        decoded.append(path.name)
        return actual(path)

    actual = module.decode
    monkeypatch.setattr(module, "decode", counted)
    for number in range(20):
        noise().save(tmp_path / f"{number}.png")
    draw = random.Random(1)
    listed = [sighting(f"{draw.randrange(20)}.png", (0, 0, 9, 9), f"{at}") for at in range(200)]
    found = [one for one, _ in crops(tmp_path, listed, SIZE_PX, LeftOut(), workers=3)]
    first = {one.image: at for at, one in reversed(list(enumerate(listed)))}
    assert found == sorted(listed, key=lambda one: (first[one.image], int(one.source)))
    assert sorted(decoded) == sorted(first)


def test_many_boxes_of_one_image_are_cut_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list may name a million boxes in an image: their crops would fill the memory."""
    cut: list[tuple[int, ...]] = []

    def counted(image_HWC: np.ndarray, *size_px: int) -> np.ndarray:
        cut.append(size_px)
        return actual(image_HWC, *size_px)

    actual = module.resize
    monkeypatch.setattr(module, "resize", counted)
    noise().save(tmp_path / "a.png")
    listed = [sighting("a.png", (0, 0, 9, 9))] * 10
    monkeypatch.setattr(module, "AHEAD_BYTES", 10 * 3 * 24 * 12)
    next(crops(tmp_path, listed, SIZE_PX, LeftOut(), workers=1))
    assert cut == [SIZE_PX] * 10
    cut.clear()
    monkeypatch.setattr(module, "AHEAD_BYTES", 10 * 3 * 24 * 12 - 1)
    found = crops(tmp_path, listed, SIZE_PX, LeftOut(), workers=1)
    next(found)
    assert cut == [SIZE_PX]
    assert len(list(found)) == 9


def test_links_to_images_are_followed(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    noise().save(tmp_path / "store" / "17", "PNG")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").symlink_to(tmp_path / "store" / "17")
    ((_, pixels),) = crops(tmp_path / "images", [sighting("a.jpg", None)], (HIGH, WIDE), LeftOut(), workers=1)
    assert np.array_equal(pixels, np.asarray(noise()))


def test_whoever_stops_early_leaves_no_thread_behind(tmp_path: Path) -> None:
    before = threading.active_count()
    noise().save(tmp_path / "a.png")
    found = crops(tmp_path, [sighting("a.png", None)], SIZE_PX, LeftOut(), workers=2)
    next(found)
    assert threading.active_count() > before
    found.close()
    assert threading.active_count() == before
