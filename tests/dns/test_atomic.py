"""A file that is replaced: whole or as it was, by one process at a time, also after one that was killed."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dns import atomic
from dns.evaluation import report
from dns.evaluation.report import ReportError
from tests.conftest import REPOSITORY

WRITER = """
import sys
from pathlib import Path
from dns.atomic import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.npz").write_bytes(b"old")
    return tmp_path / "a.npz"


def partial_of(path: Path) -> Path:
    return path.with_name("a.npz.partial")


def write(path: Path, content: bytes = b"new") -> None:
    with atomic.replacing(path) as file:
        file.write(content)
        assert path.read_bytes() == b"old"


def test_the_old_file_stands_until_the_new_one_is_whole(path: Path) -> None:
    write(path)
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["a.npz"]


def write_and_then(path: Path, act: Callable[[], object]) -> None:
    with atomic.replacing(path) as file:
        file.write(b"half")
        act()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("other")])
def test_a_failure_leaves_the_old_file_alone(path: Path, error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        write_and_then(path, fail)
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["a.npz"]


def test_a_second_process_is_refused_and_a_killed_ones_file_taken_over(path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with other:
        assert other.stdout
        assert other.stdout.readline() == b"writing\n"
        with pytest.raises(BlockingIOError, match="another process is writing it"):
            write(path)
        with pytest.raises(ReportError) as caught, report.replacing(path):
            pass
        assert str(caught.value) == f"{path}: another process is writing it. Wait for it to end, then try again"
        assert partial_of(path).read_bytes() == b"half"
        other.send_signal(signal.SIGKILL)
    assert partial_of(path).exists()
    write(path, b"n")
    assert path.read_bytes() == b"n"
    assert os.listdir(path.parent) == ["a.npz"]


MANY = """
import sys
from pathlib import Path
import numpy as np
from dns.atomic import replacing
for _ in range(30):
    try:
        with replacing(Path(sys.argv[1])) as file:
            np.savez(file, embeddings=np.full(99_999, int(sys.argv[2])))
    except BlockingIOError:
        pass
"""


def test_of_two_that_write_at_once_each_file_is_whole(tmp_path: Path) -> None:
    """As two `eval.py` with one --eval.export."""
    path = tmp_path / "a.npz"
    each = [subprocess.Popen([sys.executable, "-c", MANY, str(path), number], cwd=REPOSITORY) for number in "12"]
    while any(process.poll() is None for process in each):
        if path.exists():
            with np.load(path) as content:
                assert len(np.unique(content["embeddings"])) == 1
    assert [process.returncode for process in each] == [0, 0]
    assert os.listdir(tmp_path) == ["a.npz"]


def make_link(partial: Path) -> None:
    (partial.parent / "dear").write_bytes(b"dear")
    partial.symlink_to("dear")


@pytest.mark.parametrize(
    ("hinder", "words"),
    [
        (make_link, "a.npz.partial: is a link, and what it leads to is not overwritten. Remove it"),
        (Path.mkdir, r"a\.npz: could not be written \(Is a directory\)"),
        (os.mkfifo, r"a\.npz: could not be written \(File or stream is not seek"),
    ],
)
def test_what_is_no_file_is_not_written(path: Path, hinder: Callable[[Path], None], words: str) -> None:
    hinder(partial_of(path))
    with pytest.raises(ReportError, match=words):
        report.write_text(path, "new")
    assert path.read_bytes() == b"old"
    if (path.parent / "dear").exists():
        assert (path.parent / "dear").read_bytes() == b"dear"


def test_a_file_that_another_process_removed_does_not_get_the_name(path: Path) -> None:
    def take_away() -> None:
        partial_of(path).unlink()
        partial_of(path).write_bytes(b"another's")

    with pytest.raises(FileNotFoundError, match="removed it before it was whole"):
        write_and_then(path, take_away)
    assert path.read_bytes() == b"old"
    assert partial_of(path).read_bytes() == b"another's"


def test_a_file_system_without_locks_is_written_to(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    write(path)
    assert path.read_bytes() == b"new"
