"""`verify` on damaged sets: a full or deep check finds the damage, and the message names the next step."""

import io
import os
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ffcv_convert import writer
from ffcv_convert.beton import Converted, open_beton
from ffcv_convert.common.errors import DataError
from ffcv_convert.convert import convert
from ffcv_convert.datasets import DATASETS
from ffcv_convert.images import Encoded, Encoding, ImageFormat
from ffcv_convert.verify import verify
from tests.support.refusals import refusal


def check(name: str, data: Path, betons: Path, *, deep: bool = False) -> list[str]:
    return list(verify(DATASETS[name], data, betons, deep=deep, workers=1))


@pytest.fixture
def copied(drawn_betons: Path, tmp_path: Path) -> Path:
    """A writable BETON_ROOT with regdb/all.beton, 24 samples."""
    shutil.copytree(drawn_betons / "regdb", tmp_path / "regdb")
    return tmp_path


def flip(path: Path, place: int) -> None:
    with open(path, "r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def never_looked_at(converted: Converted) -> list[int]:
    """Samples that opening does not check."""
    looked_at = np.linspace(0, len(converted) - 1, 16).astype(int)
    return sorted(set(range(len(converted))) - set(looked_at.tolist()))


@pytest.mark.parametrize("deep", [False, True])
def test_a_flipped_byte_of_a_image_is_found_and_named(drawn_root: Path, copied: Path, deep: bool) -> None:
    beton = copied / "regdb" / "all.beton"
    converted = open_beton(beton)
    first, second = never_looked_at(converted)[1:3]
    for damaged, sample in enumerate((second, first), start=1):
        flip(beton, int(converted.structure.allocation_N["ptr"][sample]) + 1000)
        open_beton(beton)  # a few checksums only: it does not see it
        with refusal(DataError, beton, f"sample {sample}", converted.manifest.samples[sample][0], damaged):
            check("regdb", drawn_root, copied, deep=deep)


def test_a_flipped_byte_between_the_images_is_found(drawn_root: Path, copied: Path) -> None:
    beton = copied / "regdb" / "all.beton"
    table = open_beton(beton).structure.allocation_N
    padding = int(table["ptr"][-1] + table["size"][-1]) + 5
    assert padding < beton.stat().st_size - table.nbytes
    flip(beton, padding)
    open_beton(beton)
    with refusal(DataError, beton, "between"):
        check("regdb", drawn_root, copied)


@pytest.fixture
def both(drawn_root: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A writable DATA_ROOT with PKU-Sketch and its conversion."""
    shutil.copytree(drawn_root / "PKU-Sketch", tmp_path / "data" / "PKU-Sketch")
    return tmp_path / "data", tmp_path / "beton"


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_deep_finds_a_source_that_was_changed_or_lost(both: tuple[Path, Path], encoding: Encoding) -> None:
    data, betons = both
    convert(DATASETS["pku_sketch"], data, betons, ImageFormat(64, 32, encoding), workers=1)
    lines = check("pku_sketch", data, betons, deep=True)
    assert sum("converted again" in line for line in lines) == 2
    image, other = sorted((data / "PKU-Sketch" / "photo").iterdir())[4:6]
    times = image.stat().st_atime_ns, image.stat().st_mtime_ns
    shutil.copyfile(other, image)
    os.utime(image, ns=times)
    check("pku_sketch", data, betons)
    with refusal(DataError, image, betons / "pku_sketch" / "train.beton", f"Pillow {Image.__version__}"):
        check("pku_sketch", data, betons, deep=True)
    image.unlink()
    with refusal(DataError, image, "not found"):
        check("pku_sketch", data, betons, deep=True)


@pytest.mark.parametrize(
    ("size", "cut", "told"),
    [((32, 64), 400, "decode"), ((32, 60), 0, "(32, 60)")],
)
def test_deep_finds_a_jpeg_that_was_stored_wrong(
    both: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], cut: int, told: str
) -> None:
    """Its checksums match what was stored, so only decoding finds it."""
    data, betons = both
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    stored = buffer.getvalue()[: len(buffer.getvalue()) - cut]
    encoded = Encoded(stored, zlib.crc32(stored), grey=False, constant=False, turned=False, several=False, wide=False,
                      source_crc32=0)  # fmt: skip
    monkeypatch.setattr(writer, "encode", lambda *_: encoded)
    convert(DATASETS["pku_sketch"], data, betons, ImageFormat(64, 32, "jpeg"), workers=1)
    check("pku_sketch", data, betons)
    with refusal(DataError, betons / "pku_sketch" / "train.beton", "sample 0", "sketch/1.jpg", told):
        check("pku_sketch", data, betons, deep=True)


def test_a_part_that_is_not_there_is_named(drawn_root: Path, drawn_betons: Path, tmp_path: Path) -> None:
    shutil.copytree(drawn_betons / "synthetic", tmp_path / "synthetic")
    (tmp_path / "synthetic" / "test.beton").unlink()
    with refusal(DataError, tmp_path / "synthetic" / "test.beton"):
        check("synthetic", drawn_root, tmp_path)
