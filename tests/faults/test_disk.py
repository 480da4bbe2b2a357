"""Conversion to a full or unwritable disk, and of images that vanish or change meanwhile."""

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest

from ffcv_convert import convert as convert_module
from ffcv_convert.__main__ import main
from ffcv_convert.beton import open_beton
from ffcv_convert.common.errors import DataError
from ffcv_convert.convert import convert
from ffcv_convert.datasets import custom
from ffcv_convert.images import ImageFormat
from tests.conftest import REPOSITORY
from tests.faults.conftest import Tally
from tests.faults.failing_images import draw_custom_set
from tests.support.refusals import assert_tells

DISK_BYTES = 1 << 25
PAGE = os.sysconf("SC_PAGE_SIZE")
OLDER, NEWER = ImageFormat(24, 12), ImageFormat(192, 96)
NEWER_SIZE = ["--height-px", "192", "--width-px", "96"]
NEWER_BYTES = 24 * 192 * 96 * 3  # of train.beton's images
SPACE = "space left\n"


class Disk:
    """A small disk or, if none can be mounted, a folder with a limit on file sizes."""

    def __init__(self, path: Path):
        self.path = path
        path.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path)]
        self.mounted = subprocess.run(mount, capture_output=True).returncode == 0

    def leave(self, free: int) -> list[str]:
        """Fill the disk except for `free` bytes. Returns a prefix for commands."""
        if not self.mounted:
            return limited_to(free // 1024)
        (self.path / "filler").unlink(missing_ok=True)
        there = os.statvfs(self.path)
        with open(self.path / "filler", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, there.f_bavail * there.f_frsize - free)
        return []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "disk")
    yield disk
    if disk.mounted:
        subprocess.run(["umount", str(disk.path)], check=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DATA_ROOT with `custom`: 24 training images, 4 to test on. Read only."""
    root = tmp_path_factory.mktemp("data")
    draw_custom_set(root / "custom", identities=12)
    return root


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "filler"}


def call(*arguments: object, before: list[str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run the converter's command line, in this process if nothing stands before it: another takes a second to
    start."""
    command = [sys.executable, "-m", "ffcv_convert", *map(str, arguments)]
    if before:
        return subprocess.run([*before, *command], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    code, output, errors = 0, io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        try:
            main(list(map(str, arguments)))
        except SystemExit as end:
            code = end.code
    return subprocess.CompletedProcess(command, code, output.getvalue(), errors.getvalue())


def command(data: Path, betons: Path) -> list[object]:
    return ["convert", "--dataset", "custom", "--data-root", data, "--beton-root", betons, *NEWER_SIZE, "--workers", 2]


def test_a_full_disk_is_said_and_the_older_file_stays(
    data: Path, disk: Disk, tally: Tally, times: Callable[[int, int], int]
) -> None:
    convert(custom.DATASET, data, disk.path, OLDER, workers=1)
    folder = disk.path / "custom"
    older = files_in(folder)
    random = np.random.default_rng(5).integers(0, NEWER_BYTES, 40).tolist()
    for free in [0, *random][: times(3, 40)]:
        done = call(*command(data, disk.path), before=disk.leave(free))
        if done.returncode != 2 or f"error: {folder}/train.beton: " not in done.stderr or SPACE not in done.stderr:
            tally.wrong("crashed", f"{free} bytes free: {done.returncode}, {done.stderr}")
        if files_in(folder) != older:
            tally.wrong("lost", f"{free} bytes free: left {sorted(files_in(folder))}")
    (disk.path / "filler").unlink(missing_ok=True)
    assert call(*command(data, disk.path)).returncode == 0
    assert open_beton(folder / "train.beton").manifest.height_px == NEWER.height_px


def test_a_disk_that_lacks_a_page_for_the_last_manifest_keeps_the_older_files(
    data: Path, disk: Disk, tally: Tally
) -> None:
    """Another process has the older .beton open, so replacing it frees no space. Each of the last four takes a page."""
    if not disk.mounted:
        pytest.skip(
            "no disk can be mounted here; it takes root. See test_nothing_gets_its_name_before_all_is_on_the_disk"
        )
    convert(custom.DATASET, data, disk.path / "new", NEWER, workers=1)
    new = (disk.path / "new" / "custom").iterdir()
    pages = sum(path.stat().st_blocks for path in new) * 512 // PAGE  # fewer than the size: a .beton begins with a hole
    shutil.rmtree(disk.path / "new")
    convert(custom.DATASET, data, disk.path, OLDER, workers=1)
    folder = disk.path / "custom"
    older = files_in(folder)
    with open(folder / "train.beton", "rb"):
        for lacking, last in enumerate(("test.sources", "train.sources", "test.json", "train.json"), start=1):
            done = call(*command(data, disk.path), before=disk.leave((pages - lacking) * PAGE))
            tally.did("damages")
            assert done.returncode == 2
            assert_tells(done.stderr, folder / last, "No space left")
            if files_in(folder) != older:
                tally.wrong("lost", f"{lacking} pages lacking: left {sorted(files_in(folder))}")
        disk.leave(pages * PAGE)
        call(*command(data, disk.path))
    assert open_beton(folder / "train.beton").manifest.height_px == NEWER.height_px


SMALL = ["--train-identities=2", "--test-identities=1", "--train-images=4", "--height-px=96", "--workers=1"]


def limited_to(kilobytes: int) -> list[str]:
    """A prefix for commands that may not write larger files."""
    return ["bash", "-c", f'ulimit -f {kilobytes}; exec "$@"', "bash"]


def test_drawing_on_a_full_disk_leaves_nothing(disk: Disk, tally: Tally, times: Callable[[int, int], int]) -> None:
    for free in [1 << 14, *np.random.default_rng(6).integers(0, 1 << 15, 20).tolist()][: times(1, 10)]:
        before = disk.leave(free if disk.mounted else 1024)
        done = call("synthesise", "--root", disk.path / "set", *SMALL, before=before)
        if done.returncode != 2 or not done.stderr.endswith(SPACE) or f"error: {disk.path}/set" not in done.stderr:
            tally.wrong("crashed", f"{free} bytes free: {done.returncode}, {done.stderr}")
        if files_in(disk.path):
            tally.wrong("lost", f"{free} bytes free: left {sorted(files_in(disk.path))}")


def test_a_bmp_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """OpenCV would leave it empty and report success. The lists are small enough to be written here."""
    done = call("synthesise", "--layout", "regdb", "--root", tmp_path / "set", *SMALL, before=limited_to(4))
    assert done.returncode == 2
    _, folder, message = done.stderr.partition(f"error: {tmp_path}/set.dns-ffcv.partial/")
    assert folder
    assert ".bmp: File too large" in message
    assert os.listdir(tmp_path) == []


@pytest.fixture
def without_root(tmp_path: Path) -> list[str]:
    """A prefix that makes permissions count for root, who otherwise bypasses them."""
    (tmp_path / "locked").mkdir(mode=0o555)
    return ["setpriv", "--bounding-set", "-dac_override"] if os.access(tmp_path / "locked", os.W_OK) else []


@pytest.mark.parametrize("older", [True, False])
def test_a_folder_that_may_not_be_written(data: Path, tmp_path: Path, without_root: list[str], older: bool) -> None:
    folder = tmp_path / "custom"
    folder.mkdir()
    if older:
        convert(custom.DATASET, data, tmp_path, OLDER, workers=1)
    before = files_in(folder)
    folder.chmod(0o555)
    done = call(*command(data, tmp_path), before=without_root)
    same_size = call(*command(data, tmp_path)[:7], before=without_root)
    folder.chmod(0o755)
    assert done.returncode == 2
    assert_tells(done.stderr, folder / "train.beton.partial", "Permission denied")
    assert files_in(folder) == before
    assert same_size.returncode == (0 if older else 2)  # what is up to date asks for no writing
    assert ("up to date" in same_size.stdout) == older


def test_a_folder_in_the_place_of_a_file(data: Path, tmp_path: Path) -> None:
    (tmp_path / "custom" / "train.beton" / "mine").mkdir(parents=True)
    done = call(*command(data, tmp_path))
    assert done.returncode == 2
    assert_tells(done.stderr, tmp_path / "custom" / "train.beton", "Is a directory")
    assert os.listdir(tmp_path / "custom") == ["train.beton"]
    assert os.listdir(tmp_path / "custom" / "train.beton") == ["mine"]


@pytest.mark.parametrize("after", ["check_records", "source_fingerprint", "up_to_date"])
def test_a_image_that_vanishes_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str) -> None:
    root = draw_custom_set(tmp_path / "data" / "custom", identities=4)
    convert(custom.DATASET, root.parent, tmp_path, OLDER, workers=1)
    older = files_in(tmp_path / "custom")
    image = root / "train/infrared/3/a.png"
    step: Callable[..., object] = getattr(convert_module, after)

    def vanishing(*arguments: object) -> object:
        result = step(*arguments)
        image.unlink(missing_ok=True)
        return result

    monkeypatch.setattr(convert_module, after, vanishing)
    with pytest.raises(DataError) as caught:
        convert(custom.DATASET, root.parent, tmp_path, NEWER, workers=2)
    assert str(caught.value).startswith(f"{image}: listed, but not found. Restore it")
    assert files_in(tmp_path / "custom") == older


def test_a_image_that_changes_meanwhile_is_converted_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The .beton may hold the new pixels, but the fingerprint is that of the old file."""
    root = draw_custom_set(tmp_path / "data" / "custom", identities=4)
    fingerprint = convert_module.source_fingerprint

    def changing(*arguments: object) -> object:
        result = fingerprint(*arguments)  # type: ignore[arg-type]
        (root / "train/infrared/3/a.png").write_bytes((root / "train/visible/1/a.png").read_bytes())
        return result

    monkeypatch.setattr(convert_module, "source_fingerprint", changing)
    convert(custom.DATASET, root.parent, tmp_path / "first", NEWER, workers=2)
    monkeypatch.undo()
    assert list(convert(custom.DATASET, root.parent, tmp_path / "first", NEWER, workers=2).values()) == [True, False]
    convert(custom.DATASET, root.parent, tmp_path / "second", NEWER, workers=2)
    assert files_in(tmp_path / "first" / "custom") == files_in(tmp_path / "second" / "custom")
