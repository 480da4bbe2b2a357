"""Programs whose output is closed, full or read by nobody: their files are written, and their codes say it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.support.refusals import assert_tells

# Opens its file before it prints: what goes to a closed stream must not go there.
PROGRAM = """
import sys
from ffcv_convert.common.streams import lasting_streams
with lasting_streams():
    with open(sys.argv[1], "w") as file:
        print("a table", flush=sys.argv[2:] == ["at once"])
        print("a note", file=sys.stderr)
        file.write("result")
    sys.exit(0)
"""


@pytest.mark.parametrize(
    ("redirected", "code", "output"),
    [
        ("", 0, "a table\n"),
        (">&-", 0, ""),
        ("2>&-", 0, "a table\n"),
        (">&- 2>&- <&-", 0, ""),
        ("2>/dev/full", 0, "a table\n"),
        (">/dev/full", 2, ""),
        (">/dev/full 2>/dev/full", 2, ""),
    ],
)
@pytest.mark.parametrize("how", ["at once", "at the end"])
def test_a_program_does_its_work_whatever_became_of_its_output(
    tmp_path: Path, redirected: str, code: int, output: str, how: str
) -> None:
    command = ["bash", "-c", f'exec "$0" -c "$@" {redirected}', sys.executable, PROGRAM, str(tmp_path / "result"), how]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (code, output), done.stderr
    assert (tmp_path / "result").read_text() == "result"
    if redirected == ">/dev/full":
        assert_tells(done.stderr, "error", "standard output", "No space left on device")


HANDLES = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"


@pytest.mark.parametrize(("before", "how", "code"), [(HANDLES, "at once", 143), (HANDLES, "at the end", 0),
                                                     ("", "at once", 0)])  # fmt: skip
def test_a_reader_that_ended_stops_a_program_that_handles_it(tmp_path: Path, before: str, how: str, code: int) -> None:
    """By SIGTERM, at which a training writes a checkpoint. Others end their work."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", before + PROGRAM, str(tmp_path / "result"), how]
    buffering = {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=buffering, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60
    )
    os.close(writing)
    assert done.returncode == code, done.stderr
    assert (tmp_path / "result").read_text() == ("" if code else "result")
