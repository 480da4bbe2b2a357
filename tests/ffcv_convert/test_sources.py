"""Whether a conversion is up to date: other images with the same sizes and times, copies of the same images, and what
an earlier version left."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ffcv_convert import __main__ as cli
from ffcv_convert import sources
from ffcv_convert.beton import manifest_path, open_beton
from ffcv_convert.convert import convert
from ffcv_convert.datasets import custom
from ffcv_convert.images import ImageFormat
from ffcv_convert.sources import sources_path
from tests.support.refusals import assert_tells

FOLDERS = [f"{split}/{modality}" for split in ("train", "test") for modality in ("visible", "infrared")]


def make(root: Path, seed: int) -> None:
    """Images of a size and time that depend on nothing, at other inodes than before."""
    rng = np.random.default_rng(seed)
    shutil.rmtree(root, ignore_errors=True)
    for folder in FOLDERS:
        for person in (1, 2):
            path = root / folder / str(person) / "a.bmp"
            path.parent.mkdir(parents=True)
            Image.fromarray(rng.integers(0, 256, (16, 8, 3), dtype=np.uint8)).save(path)
            os.utime(path, (1, 1))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    make(tmp_path / "data/custom", 1)
    written(tmp_path / "data")
    return tmp_path / "data"


def written(data: Path, *, force: bool = False) -> list[bool]:
    """Whether the train and the test part were written."""
    betons = data.parent / "betons"
    made = convert(custom.DATASET, data, betons, ImageFormat(16, 8), workers=1, force=force, say=lambda line: None)
    return list(made.values())


def test_other_images_of_the_same_sizes_and_times_are_converted(data: Path) -> None:
    beton = data.parent / "betons/custom/test.beton"
    before = open_beton(beton).manifest
    make(data / "custom", 2)
    assert written(data) == [True, True]
    after = open_beton(beton).manifest
    assert after.source_fingerprint == before.source_fingerprint
    assert after.column("crc32") != before.column("crc32")
    assert written(data) == [False, False]


def test_one_image_changed_in_its_place_is_enough(data: Path) -> None:
    image = data / "custom/test/infrared/2/a.bmp"
    with open(image, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    os.utime(image, (1, 1))
    assert written(data) == [False, True]


def copied(data: Path) -> None:
    shutil.copytree(data / "custom", data / "copy")
    shutil.rmtree(data / "custom")
    (data / "copy").rename(data / "custom")


def modes_changed(data: Path) -> None:
    for path in data.rglob("*.bmp"):
        path.chmod(0o600)


def converted_by_an_earlier_version(data: Path) -> None:
    for path in data.parent.rglob("*.sources"):
        path.unlink()


def of_another_conversion(data: Path) -> None:
    for path in data.parent.rglob("*.sources"):
        path.write_text(path.read_text().replace('"beton": "', '"beton": "0'))


def damaged(data: Path) -> None:
    for text, path in zip(("[]", '{"beton": 1}'), sorted(data.parent.rglob("*.sources")), strict=True):
        path.write_text(text)


@pytest.mark.parametrize(
    "what", [copied, modes_changed, converted_by_an_earlier_version, of_another_conversion, damaged]
)
def test_the_same_images_are_read_once_and_not_converted_again(
    data: Path, what: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    betons = sorted((data.parent / "betons").rglob("*.beton"))
    before = [(beton.read_bytes(), manifest_path(beton).read_bytes()) for beton in betons]
    what(data)
    assert written(data) == [False, False]
    assert [(beton.read_bytes(), manifest_path(beton).read_bytes()) for beton in betons] == before
    monkeypatch.setattr(sources, "_contents", None)  # reading them again would fail
    assert written(data) == [False, False]


def test_a_set_in_a_folder_that_may_not_be_written_is_up_to_date(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied(data)
    before = [path.read_bytes() for path in sorted(data.parent.rglob("*.sources"))]

    def refused(path: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(sources, "replacing", refused)
    assert written(data) == [False, False]
    assert [path.read_bytes() for path in sorted(data.parent.rglob("*.sources"))] == before


def test_force_converts_to_the_same_bytes(data: Path) -> None:
    beton = data.parent / "betons/custom/train.beton"
    before = beton.read_bytes(), manifest_path(beton).read_bytes(), sources_path(beton).read_bytes()
    assert written(data, force=True) == [True, True]
    assert (beton.read_bytes(), manifest_path(beton).read_bytes(), sources_path(beton).read_bytes()) == before


def test_the_advice_of_a_deep_verification_helps(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the files say nothing: their times and inodes are as they were, as with a file system that has neither."""
    make(data / "custom", 2)
    for path in data.parent.rglob("*.sources"):
        path.unlink()
    roots = ["--data-root", str(data), "--beton-root", str(data.parent / "betons"), "--dataset", "custom"]
    assert cli.main(["convert", *roots]) == 0
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main(["verify", "--deep", *roots])
    assert_tells(capsys.readouterr().err, data / "custom/train/visible/1/a.bmp", "DATASET=custom ARGS=--force")
    assert cli.main(["convert", "--force", *roots]) == 0
    assert cli.main(["verify", "--deep", *roots]) == 0


def test_a_name_tells_sets_of_ones_own_apart(data: Path) -> None:
    """A new name is a reason to write the parts again: every row takes it from there."""
    name = data / "custom/name.txt"
    name.write_text("  site b \nof 2026\n")
    assert [written(data), written(data)] == [[True, True], [False, False]]
    assert open_beton(data.parent / "betons/custom/test.beton").manifest.dataset == "custom (site b)"
    name.unlink()
    assert written(data) == [True, True]
    assert open_beton(data.parent / "betons/custom/test.beton").manifest.dataset == "custom"
