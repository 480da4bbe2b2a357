"""Conversion killed at any moment, or run twice at once: only complete files open; the next call completes it."""

import fcntl
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ffcv_convert.beton import open_beton
from ffcv_convert.common.errors import DataError
from ffcv_convert.convert import convert
from ffcv_convert.datasets import synthetic
from ffcv_convert.images import ImageFormat
from tests.faults.conftest import Tally
from tests.faults.run_cli import end, start, stop, wait_for
from tests.support.refusals import refusal

Times = Callable[[int, int], int]
Files = dict[str, bytes]

pytestmark = pytest.mark.slow
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
OLDER, NEWER = ImageFormat(24, 12), ImageFormat(192, 96)
PARTS = ("train", "test")

# The program, killed as it asks the system for the n-th time to put a file on the disk or to rename it.
KILLED_AT = """
import os, signal, sys
calls = 0
def counted(function):
    def call(*arguments):
        global calls
        calls += 1
        if calls == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    return call
os.fsync, os.replace = counted(os.fsync), counted(os.replace)
from ffcv_convert.__main__ import main
sys.exit(main(sys.argv[2:]))
"""
# Of each of two parts: the .beton onto the disk while its checksum is made; then of six files: onto the disk; renamed,
# and the folder onto the disk.
PUBLISHING_CALLS = 2 * (1 + 3 * 3)


def files_in(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def converted(data_root: Path, betons: Path, image_format: ImageFormat) -> Files:
    convert(synthetic.DATASET, data_root, betons, image_format, workers=2)
    return files_in(betons / "synthetic")


@pytest.fixture(scope="module")
def older(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """What was there before: train.beton, train.json, test.beton, test.json of another size."""
    return converted(data_root, tmp_path_factory.mktemp("older"), OLDER)


@pytest.fixture(scope="module")
def newer(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """What every conversion here should end with."""
    return converted(data_root, tmp_path_factory.mktemp("newer"), NEWER)


def command_for(data_root: Path, betons: Path) -> list[str]:
    size = ["--height-px", str(NEWER.height_px), "--width-px", str(NEWER.width_px), "--workers", "2"]
    return ["convert", "--dataset", "synthetic", "--data-root", str(data_root), "--beton-root", str(betons), *size]


def duration_s(*arguments: object) -> float:
    before = time.monotonic()
    with start(*arguments) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return time.monotonic() - before


def with_files(folder: Path, files: Files) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def check_what_opens(folder: Path, right: list[Files], tally: Tally, what: str) -> None:
    """Every part either is refused or equals the bytes in `right`, and all parts are from the same conversion."""
    opened: Files = {}
    for part in PARTS:
        try:
            open_beton(folder / f"{part}.beton")
        except DataError:
            continue
        opened |= {name: (folder / name).read_bytes() for name in (f"{part}.beton", f"{part}.json")}
    if not any(opened.items() <= files.items() for files in right):
        tally.wrong("silent", f"{what}: {', '.join(opened)} open and are neither all older nor all newer")


@pytest.fixture(scope="module")
def whole_s(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    """Seconds that a conversion takes."""
    return duration_s("-m", "ffcv_convert", *command_for(data_root, tmp_path_factory.mktemp("first")))


@pytest.mark.parametrize("number", SIGNALS)
def test_a_stopped_conversion_is_completed_by_the_next(
    data_root: Path, older: Files, newer: Files, whole_s: float, tmp_path: Path, tally: Tally, times: Times,
    number: signal.Signals,
) -> None:  # fmt: skip
    rng = np.random.default_rng([1, number])
    wanted = times(2, 12)
    for run in range(4 * wanted):
        before = older if run % 2 else {}
        folder = with_files(tmp_path / str(run) / "synthetic", before)
        process = start("-m", "ffcv_convert", *command_for(data_root, folder.parent))
        delay_s = rng.uniform(0.4, 1.05) * whole_s
        if run % 4 in (0, 3):  # in the middle, however busy the machine is; the others by the clock
            wait_for(process, "*.partial", folder)
            delay_s = 0.0
        what = f"{number.name} after {delay_s:.3f} of {whole_s:.3f} s"
        stopped = stop(process, delay_s, number)
        code, _ = end(process, tally, what)
        tally.did("kills", stopped)
        wanted -= stopped
        check_what_opens(folder, [before, newer] if before else [newer], tally, what)
        if number != signal.SIGKILL and any(name.endswith(".partial") for name in files_in(folder)):
            tally.wrong("silent", f"{what}: ended with {code} and left {sorted(files_in(folder))}")
        if code == 0 and files_in(folder) != newer:
            tally.wrong("silent", f"{what}: ended with 0, and is not complete")
        if converted(data_root, folder.parent, NEWER) != newer:
            tally.wrong("lost", f"{what}: the second call left {sorted(files_in(folder))}")
        if not wanted:
            return
    pytest.fail(f"{wanted} programs less than asked for were stopped while they ran")


def test_killed_at_any_step_of_publishing(
    data_root: Path, older: Files, newer: Files, tmp_path: Path, tally: Tally, times: Times
) -> None:
    assert duration_s("-c", KILLED_AT, PUBLISHING_CALLS + 1, *command_for(data_root, tmp_path))  # ends with 0
    calls = np.random.default_rng(2).permutation(np.arange(1, PUBLISHING_CALLS + 1))
    for call in calls[: times(2, PUBLISHING_CALLS)].tolist():
        folder = with_files(tmp_path / str(call) / "synthetic", older)
        process = start("-c", KILLED_AT, str(call), *command_for(data_root, folder.parent))
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        tally.did("kills")
        check_what_opens(folder, [older, newer], tally, f"killed at call {call}")
        if converted(data_root, folder.parent, NEWER) != newer:
            tally.wrong("lost", f"killed at call {call}: the second call left {sorted(files_in(folder))}")


def test_a_set_that_is_up_to_date_is_rid_of_what_a_killed_conversion_left(
    data_root: Path, newer: Files, tmp_path: Path
) -> None:
    """For example after a killed conversion to another size that is not repeated."""
    folder = with_files(tmp_path / "synthetic", newer)
    for name in ("train.beton.partial", "train.json.partial", "train.sources.partial", "test.beton.partial"):
        (folder / name).write_bytes(b"half")
    with open(folder / "test.beton.partial", "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with refusal(DataError, folder / "test.beton.partial", "another process"):
            convert(synthetic.DATASET, data_root, tmp_path, NEWER, workers=1)
    assert converted(data_root, tmp_path, NEWER) == newer


def test_two_conversions_at_once(data_root: Path, newer: Files, tmp_path: Path, tally: Tally, times: Times) -> None:
    rng = np.random.default_rng(3)
    for run in range(times(1, 8)):
        betons = tmp_path / str(run)
        command = command_for(data_root, betons)
        first = start("-m", "ffcv_convert", *command)
        time.sleep(rng.uniform(0, 0.3))
        second = start("-m", "ffcv_convert", *command)
        ends = [(*process.communicate(timeout=120), process.returncode) for process in (first, second)]
        for said, errors, code in ends:
            won = code == 0 and said.count(": written, ") + said.count(": up to date, ") == len(PARTS)
            refused = code == 2 and "another process" in errors
            if not (won or refused):
                tally.wrong("crashed", f"one of two ended with {code}: {said}{errors}")
        if all(code for *_, code in ends) or files_in(betons / "synthetic") != newer:
            tally.wrong("lost", f"two at once left {sorted(files_in(betons / 'synthetic'))}")
