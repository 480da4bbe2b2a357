"""Replacing a file: completely or not at all, by one process at a time, also after a killed one."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ffcv_convert.common.atomic import partial_file, partial_folder, publish, replacing, replacing_folder, write_flushed
from ffcv_convert.common.errors import DataError, as_data_errors
from tests.conftest import REPOSITORY
from tests.support.refusals import refusal

WRITER = """
import sys
from pathlib import Path
from ffcv_convert.common.atomic import replacing_folder, write_flushed, replacing
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
    with replacing(path) as file:
        file.write(content)
        assert path.read_bytes() == b"old"


def test_the_old_file_stands_until_the_new_one_is_whole(path: Path) -> None:
    write(path)
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["a.npz"]


def write_and_then(path: Path, act: Callable[[], object]) -> None:
    with replacing(path) as file:
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
        with refusal(BlockingIOError, partial_of(path)):
            write(path)
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
from ffcv_convert.common.atomic import replacing_folder, write_flushed, replacing
for _ in range(30):
    try:
        with replacing(Path(sys.argv[1])) as file:
            np.savez(file, embeddings=np.full(99_999, int(sys.argv[2])))
    except BlockingIOError:
        pass
"""


def test_of_two_that_write_at_once_each_file_is_whole(tmp_path: Path) -> None:
    """Like two runs of `eval.py` with the same --eval.export."""
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
    ("hinder", "word"),
    [(make_link, "link"), (Path.mkdir, "directory")],
)
def test_what_is_no_file_is_not_written(path: Path, hinder: Callable[[Path], None], word: str) -> None:
    hinder(partial_of(path))
    with refusal(DataError, partial_of(path), word), as_data_errors():
        write(path)
    assert path.read_bytes() == b"old"
    assert partial_of(path).is_dir() or (path.parent / "dear").read_bytes() == b"dear"


def test_nothing_is_written_through_a_link_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "a.partial").symlink_to("mine")
    with pytest.raises(NotADirectoryError), partial_folder(tmp_path / "a.partial"):
        pytest.fail("went on")
    assert (tmp_path / "a.partial").is_symlink()


def test_a_file_that_another_process_removed_does_not_get_the_name(path: Path) -> None:
    def take_away() -> None:
        partial_of(path).unlink()
        partial_of(path).write_bytes(b"another's")

    with refusal(FileNotFoundError, partial_of(path)):
        write_and_then(path, take_away)
    assert path.read_bytes() == b"old"
    assert partial_of(path).read_bytes() == b"another's"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_as_a_file_is_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    opening = os.open

    def stopped(*arguments: Any) -> int:
        descriptor = opening(*arguments)
        signal.raise_signal(number)
        return descriptor

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    monkeypatch.setattr(os, "open", stopped)
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a.txt"):
        pytest.fail("went on")
    monkeypatch.undo()
    signal.signal(signal.SIGTERM, before)
    assert os.listdir(tmp_path) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_several_files_get_their_names_together_or_none_does(tmp_path: Path) -> None:
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for content, all_of_them in ((b"one", True), (b"two", False)):
        with partial_file(paths[0]) as first, partial_file(paths[1]) as second:
            first.write(content)
            second.write(content)
            if all_of_them:
                publish((first, paths[0]), (second, paths[1]))
        assert [path.read_bytes() for path in paths] == [b"one", b"one"]
        assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.txt"]


def test_a_folder_is_renamed_or_removed(tmp_path: Path) -> None:
    partial = tmp_path / "a.partial"
    (partial / "old").mkdir(parents=True)  # of a killed process
    (partial / "old.txt").touch()
    (partial / "old.link").symlink_to("old")
    with partial_folder(partial):
        assert os.listdir(partial) == []
        with refusal(BlockingIOError, partial), partial_folder(partial):
            pytest.fail("went on")
        (partial / "new.txt").touch()
        partial.rename(tmp_path / "a")
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["a", "a/new.txt"]
    with partial_folder(partial):
        (partial / "new.txt").touch()
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_takes_a_former_ones_place_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"

    def write(content: bytes) -> None:
        with replacing_folder(folder) as unfinished:
            write_flushed(unfinished / "file", content)

    write(b"old")
    link = tmp_path / "link"
    link.symlink_to(folder)
    with replacing_folder(link) as unfinished:
        write_flushed(unfinished / "file", b"through the link")
    assert link.is_symlink()
    assert (folder / "file").read_bytes() == b"through the link"
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.suffix == ".unfinished":
            raise OSError(errno.EIO, "failed", str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="failed"):
        write(b"new")
    assert (folder / "file").read_bytes() == b"through the link"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "link"]
