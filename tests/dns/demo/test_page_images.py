"""The page's own decoder and resize give the bytes that conversion stores. Run in node."""

import base64
import hashlib
from pathlib import Path

import numpy as np
import pytest

from ffcv_convert.images import ImageFormat, load_image
from ffcv_convert.lanczos import resize
from tests.support.page_modules import in_node, needs_node
from tests.support.png_files import chunk, png, write_kinds

pytestmark = needs_node
RESIZE = """
import { createHash } from "node:crypto";
import { resize } from "./lanczos.js";
answer(given.map(({ file, high, wide, height, width }) => {
  const image = { pixels: new Uint8Array(readFileSync(file)), height: high, width: wide };
  return createHash("sha256").update(resize(image, height, width)).digest("hex");
}));
"""
READ = """
import { readImage } from "./image.js";
import { resize } from "./lanczos.js";
const read = async ({ file, height, width }) => {
  try {
    const image = await readImage(new File([readFileSync(file)], "a name"));
    return Buffer.from(resize(image, height, width)).toString("base64");
  } catch (error) {
    return error.message;
  }
};
const all = [];
for (const one of given) all.push(await read(one));
answer(all);
"""


def sizes() -> list[list[int]]:
    """Height and width, before and after: drawn ones, one side as it is, extremes, and those of the sets."""
    rng = np.random.default_rng(0)
    drawn = np.concatenate([rng.integers(1, 400, (150, 2)), rng.integers(1, 320, (150, 2))], axis=1).tolist()
    for at, size in enumerate(drawn):
        size[2:] = [size[0], size[3]] if at % 5 == 0 else [size[2], size[1]] if at % 5 == 1 else size[2:]
    odd = [[1, 1, 96, 48], [1, 300, 96, 48], [300, 1, 288, 144], [2, 2, 288, 144], [2000, 450, 288, 144]]
    return drawn + odd + [[128, 64, 288, 144], [288, 144, 384, 144], [480, 640, 96, 48], [97, 50, 96, 48]]


def test_the_resize_gives_conversion_s_bytes_at_any_size(tmp_path: Path) -> None:
    rng, given, expected = np.random.default_rng(1), [], []
    for number, (high, wide, height, width) in enumerate(sizes()):
        image = rng.integers(0, 256, (high, wide, 3), dtype=np.uint8)
        image = 255 * (image >> 7) if number % 2 else image  # edges everywhere: sums overshoot 8 bits
        (tmp_path / f"{number}.rgb").write_bytes(image.tobytes())
        given.append({"file": f"{number}.rgb", "high": high, "wide": wide, "height": height, "width": width})
        expected.append(hashlib.sha256(resize(image, height, width).tobytes()).hexdigest())
    assert in_node(tmp_path, RESIZE, given) == expected


def test_png_files_of_every_kind_give_conversion_s_bytes(tmp_path: Path) -> None:
    files = write_kinds(tmp_path)
    given = [{"file": path.name, "height": 96, "width": 48} for path in files]
    found = in_node(tmp_path, READ, given)
    expected = [load_image(path, ImageFormat(96, 48)).pixels for path in files]
    different = [
        path.name for path, one, pixels in zip(files, found, expected, strict=True)
        if one != base64.b64encode(pixels.tobytes()).decode()
    ]  # fmt: skip
    assert not different
    assert len(files) > 40


def test_every_transparency_is_laid_on_white_as_conversion_does(tmp_path: Path) -> None:
    """All 256 x 256 pairs of a grey and an alpha, without a resize."""
    grey, alpha = np.meshgrid(np.arange(256), np.arange(256))
    path = tmp_path / "all.png"
    path.write_bytes(png(np.stack([grey, alpha], axis=2), 4, 8))
    (found,) = in_node(tmp_path, READ, [{"file": path.name, "height": 256, "width": 256}])
    assert found == base64.b64encode(load_image(path, ImageFormat(256, 256)).pixels.tobytes()).decode()


WHOLE = png(np.zeros((9, 9, 3), dtype=int), 2, 8)
REFUSED = {
    "empty": (b"", "is empty"),
    "text": (b"rank,image\n", "is no PNG, JPEG or BMP"),
    "gif": (b"GIF89a" + bytes(30), "is no PNG, JPEG or BMP"),
    "cut": (WHOLE[:60], "damaged PNG"),
    "header-only": (WHOLE[:33], "cut off"),
    "flipped": (WHOLE[:50] + bytes([WHOLE[50] ^ 4]) + WHOLE[51:], "chunk IDAT"),
    "unknown": (png(np.zeros((1, 1, 3), dtype=int), 2, 8).replace(b"IDAT", b"XXXX"), "damaged PNG: chunk XXXX"),
    "deep": (WHOLE[:16] + chunk(b"IHDR", WHOLE[16:24] + bytes([16, 2, 0, 0, 0]))[8:] + WHOLE[33:], "more than 8 bits"),
    "huge": (WHOLE[:16] + chunk(b"IHDR", bytes([0, 0, 255, 255]) * 2 + WHOLE[24:29])[8:] + WHOLE[33:], "65535 x 65535"),
    "no-palette": (png(np.zeros((2, 2, 1), dtype=int), 3, 8), "no palette"),
    "outside": (png(np.full((2, 2, 1), 9), 3, 8, chunk(b"PLTE", bytes(9))), "outside the palette"),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the page says of each file of REFUSED."""
    folder = tmp_path_factory.mktemp("refused")
    for name, (content, _) in REFUSED.items():
        (folder / f"{name}.png").write_bytes(content)
    found = in_node(folder, READ, [{"file": f"{name}.png", "height": 9, "width": 9} for name in REFUSED])
    return dict(zip(REFUSED, found, strict=True))


@pytest.mark.parametrize("name", REFUSED)
def test_a_damaged_or_foreign_file_is_refused_with_a_reason_and_a_next_step(name: str, said: dict[str, str]) -> None:
    assert REFUSED[name][1] in said[name]
    assert said[name].rpartition(". ")[2].startswith(("Restore", "Convert", "Choose"))
