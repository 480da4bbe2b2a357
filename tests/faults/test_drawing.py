"""Synthetic people stopped at any moment: the set appears complete or not at all, and a second call completes it."""

import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ffcv_convert.common.errors import DataError
from ffcv_convert.synthetic import Options, synthesise
from tests.faults.conftest import Tally
from tests.faults.failing_images import draw_a_picture_that_fails
from tests.faults.run_cli import Process, end, start, stop, wait_for
from tests.support.refusals import refusal

PEOPLE = Options(train_identities=5, test_identities=2, train_images=8, test_images=1, height_px=64)
NUMBERS = [f"--{name.replace('_', '-')}={value}" for name, value in vars(PEOPLE).items() if type(value) is int]


def files_in(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What every drawing here should end with."""
    root = tmp_path_factory.mktemp("drawn") / "synthetic"
    synthesise(root, PEOPLE, workers=1)
    return files_in(root)


def workers_of(parent: int) -> list[int]:
    """The drawing processes that `parent` started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ours = int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent
            if ours and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it has ended since
            continue
    return found


def kill_a_worker(process: Process, delay_s: float) -> bool:
    """Kill one after the delay, counted from the first one's start. Returns whether one was still running."""
    while not (workers := workers_of(process.pid)) and process.poll() is None:
        time.sleep(0.005)
    time.sleep(delay_s)
    still = [worker for worker in workers_of(process.pid) if worker in workers]
    for worker in still[:1]:
        os.kill(worker, signal.SIGKILL)
    return bool(still)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["SIGKILL", "SIGTERM", "SIGINT", "worker"])
def test_a_stopped_drawing_is_completed_by_the_next(
    drawn: dict[str, bytes], tmp_path: Path, tally: Tally, times: Callable[[int, int], int], target: str
) -> None:
    rng = np.random.default_rng([4, *target.encode()])
    wanted = times(1, 12)
    for run in range(4 * wanted):
        root = tmp_path / str(run) / "synthetic"
        process = start("-m", "ffcv_convert", "synthesise", "--root", root, "--workers", 2, *NUMBERS)
        # The first worker is killed before it draws: then it is missed for certain.
        delay_s = rng.uniform(0, 0.4) * (run > 0) if target == "worker" else rng.uniform(0.3, 1.2)
        what = f"{target} after {delay_s:.3f} s"
        if target == "worker":
            stopped = kill_a_worker(process, delay_s)
        else:
            if run % 2 == 0:  # in the middle, however busy the machine is; the others by the clock
                wait_for(process, "synthetic.dns-ffcv.partial/**/*.jpg", root.parent)
            stopped = stop(process, delay_s * (run % 2), getattr(signal, target))
        code, errors = end(process, tally, what)
        missed = f"error: {root}.dns-ffcv.partial: a drawing process was killed" in errors
        if (target == "worker" and missed != (code == 2)) or (run == 0 and target == "worker" and not missed):
            tally.wrong("crashed", f"{what}: {code}, {errors}")
        tally.did("kills", stopped)
        wanted -= stopped
        left = os.listdir(root.parent) if root.parent.exists() else []
        if target != "SIGKILL" and [name for name in left if name != "synthetic"]:
            tally.wrong("silent", f"{what}: ended with {code} and left {left}")
        if root.exists() and files_in(root) != drawn:
            tally.wrong("silent", f"{what}: half a set was there")
        if run == 0 or left:  # nothing left is what `drawn` began with
            synthesise(root, PEOPLE, workers=1)
            if os.listdir(root.parent) != ["synthetic"] or files_in(root) != drawn:
                tally.wrong("lost", f"{what}: the second call left {os.listdir(root.parent)}")
        if not wanted:
            return
    pytest.fail(f"{wanted} programs less than asked for were stopped while they ran")


# The program, sent a signal as it starts its second process to draw in. Another thread may be the one that gets it.
STOPPED_AT_START = """
import os, signal, sys, threading
from multiprocessing import popen_spawn_posix
threading.Thread(target=threading.Event().wait, daemon=True).start()
launch, calls = popen_spawn_posix.Popen._launch, []
def stopped(popen, process):
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), int(sys.argv[1]))
    launch(popen, process)
popen_spawn_posix.Popen._launch = stopped
from ffcv_convert.__main__ import _terminate, main
signal.signal(signal.SIGTERM, _terminate)
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_between_the_starts_of_processes(tmp_path: Path, tally: Tally, number: int) -> None:
    process = start("-c", STOPPED_AT_START, int(number), "synthesise", "--root", tmp_path / "set", *NUMBERS)
    assert end(process, tally, "at a start")[0] == 128 + number
    tally.did("kills")
    assert os.listdir(tmp_path) == []


def test_an_error_in_a_process_that_draws_comes_with_its_traceback(tmp_path: Path, tally: Tally) -> None:
    tally.did("hang_classes")
    with pytest.raises(ValueError, match="expected non-negative integer") as caught:
        draw_a_picture_that_fails(tmp_path / "set")
    shown = "".join(traceback.format_exception(caught.type, caught.value, caught.tb))
    assert all(f"in {function}\n" in shown for function in ("_draw_images", "draw_person", "draw_identity"))
    assert os.listdir(tmp_path) == []


def test_an_error_of_the_system_s_in_a_process_that_draws_names_its_path(tmp_path: Path, tally: Tally) -> None:
    tally.did("hang_classes")
    with refusal(DataError, tmp_path / "set.dns-ffcv.partial" / f"{'x' * 300}.jpg", "too long"):
        draw_a_picture_that_fails(tmp_path / "set", f"{'x' * 300}.jpg", 1)
    assert os.listdir(tmp_path) == []
