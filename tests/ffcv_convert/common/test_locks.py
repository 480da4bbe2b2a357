"""Locks: a second process is refused or waits; without file locks, a note is printed once."""

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ffcv_convert.common.atomic import replacing
from ffcv_convert.common.locks import lock


@pytest.fixture
def held(tmp_path: Path) -> Iterator[int]:
    """A locked descriptor of the folder. Every os.open creates an independent lock."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    lock(descriptor, tmp_path)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_another_holder_is_refused(tmp_path: Path, held: int, other: int) -> None:
    with pytest.raises(BlockingIOError, match="another process is writing it") as caught:
        lock(other, tmp_path)
    assert caught.value.filename == str(tmp_path)


def test_another_holder_is_waited_for_up_to_a_limit(tmp_path: Path, held: int, other: int) -> None:
    begin = time.monotonic()
    with pytest.raises(BlockingIOError):
        lock(other, tmp_path, wait_s=0.2)
    assert 0.2 <= time.monotonic() - begin < 5
    threading.Timer(0.2, fcntl.flock, (held, fcntl.LOCK_UN)).start()
    lock(other, tmp_path, wait_s=60)


def test_a_file_system_without_locks_is_mentioned_once_and_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    for content in (b"one", b"two"):
        with replacing(tmp_path / "a.txt") as file:
            file.write(content)
        assert (tmp_path / "a.txt").read_bytes() == content
    note = capsys.readouterr().err
    assert note.startswith(f"note: {tmp_path}: ")
    assert "No locks available" in note
    assert note.count("\n") == 1
