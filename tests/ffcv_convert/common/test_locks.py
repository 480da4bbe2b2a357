"""Locks: a second process is refused or waits; without file locks, a note is printed once."""

import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from ffcv_convert.beton import open_beton
from ffcv_convert.common.atomic import replacing
from ffcv_convert.common.errors import DataError
from ffcv_convert.common.locks import lock
from ffcv_convert.convert import convert
from ffcv_convert.datasets import DATASETS
from ffcv_convert.images import ImageFormat
from ffcv_convert.synthetic import Options, synthesise
from tests.support.refusals import refusal


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
    with refusal(BlockingIOError, tmp_path) as caught:
        lock(other, tmp_path)
    assert caught.value.filename == str(tmp_path)


def test_another_holder_is_waited_for_up_to_a_limit(tmp_path: Path, held: int, other: int) -> None:
    begin = time.monotonic()
    with pytest.raises(BlockingIOError):
        lock(other, tmp_path, wait_s=0.2)
    assert 0.2 <= time.monotonic() - begin < 5
    threading.Timer(0.2, fcntl.flock, (held, fcntl.LOCK_UN)).start()
    lock(other, tmp_path, wait_s=60)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_mentioned_once_and_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    for content in (b"one", b"two"):
        with replacing(tmp_path / "a.txt") as file:
            file.write(content)
        assert (tmp_path / "a.txt").read_bytes() == content
    note = capsys.readouterr().err
    assert note.startswith(f"note: {tmp_path}: ")
    assert "No locks available" in note
    assert note.count("\n") == 1


def write_set(root: Path, value: int) -> None:
    for split in ("train", "test"):
        for modality in ("visible", "infrared"):
            path = root / "custom" / split / modality / "0001" / "a.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (12, 24), (value, 0, 0)).save(path)


@pytest.mark.parametrize(
    ("number", "draws"), [(errno.EINVAL, True), (errno.ENOSYS, False), (errno.ENOTSUP, False), (errno.EBADF, False)]
)
def test_drawing_and_conversion_go_on_where_nothing_locks_and_no_folder_is_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, draws: bool
) -> None:
    """As on NFS without lockd, Lustre without flock, and many FUSE file systems."""
    flush = os.fsync

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    def flush_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        flush(descriptor)

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(os, "fsync", flush_files)
    size = ImageFormat(24, 12)
    for value in (1, 2):
        write_set(tmp_path, value)
        assert all(convert(DATASETS["custom"], tmp_path, tmp_path / "Beton", size, workers=1).values())
    assert open_beton(tmp_path / "Beton/custom/train.beton").structure.stored_bytes(0)[:3] == b"\2\0\0"
    write_set(tmp_path, 3)
    (tmp_path / "custom/test/visible/0001/a.png").write_bytes(b"cut short")
    with refusal(DataError, tmp_path / "custom/test/visible/0001/a.png"):
        convert(DATASETS["custom"], tmp_path, tmp_path / "Beton", size, workers=1)
    assert open_beton(tmp_path / "Beton/custom/train.beton").structure.stored_bytes(0)[:3] == b"\2\0\0"
    if draws:  # in another process, which takes a second to start
        small = Options(train_identities=1, test_identities=1, train_images=1, test_images=1, height_px=32)
        assert synthesise(tmp_path / "drawn", small, workers=1)
    assert not list(tmp_path.rglob("*.partial"))
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(notes) == len(set(notes))
    assert all("no file locks here" in note for note in notes)
