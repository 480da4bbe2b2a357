"""Programs started, stopped by a signal, and looked at as they end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.faults.conftest import Tally

Process = subprocess.Popen[str]
STOPPED = "stopped; no half-written file is left\n"


def start(*arguments: object) -> Process:
    """Python with these arguments, in a process group of its own, as from a terminal."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(process: Process, pattern: str, folder: Path) -> None:
    """Until there is such a file or folder, or the program has ended."""
    while process.poll() is None and not any(folder.glob(pattern)):
        time.sleep(0.001)


def stop(process: Process, delay_s: float, number: int) -> bool:
    """Send the signal after the delay; to the whole group where it is Ctrl-C, as a terminal does. Returns whether the
    program was still running."""
    try:
        process.wait(delay_s)
        return False
    except subprocess.TimeoutExpired:
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        return True


def end(process: Process, tally: Tally, what: str) -> tuple[int | None, str]:
    """Its code, None where it did not end, and what it said. It should end in silence, or with its message."""
    try:
        _, errors = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        tally.wrong("hung", what)
        return None, ""
    # Before its first line it ends as any Python program does, by the signal.
    began = process.returncode >= 0
    if began and ("Traceback" in errors or (process.returncode > 2 and not errors.endswith(STOPPED))):
        tally.wrong("crashed", f"{what}: {process.returncode}, {errors}")
    return process.returncode, errors
