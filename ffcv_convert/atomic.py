"""A file that appears whole or not at all, with one writer at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ffcv_convert.schema import DataError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open `<path>.partial` for writing and reading; `publish` makes it `path`, any other way out removes it.

    A partial file that a killed process left is taken over. Raises DataError while another process writes it.
    """
    partial = _partial(path)
    file = _locked(partial)
    try:
        yield file
    finally:
        if _is_same(file, partial):
            partial.unlink()
        file.close()


def sweep(path: Path) -> None:
    """Remove a `<path>.partial` that a killed process left. Raises DataError while another process writes it."""
    if _partial(path).exists():
        with replacing(path):
            pass


def publish(file: BinaryIO, path: Path) -> None:
    """Put the bytes on the disk, then give the file its name."""
    file.flush()
    os.fsync(file.fileno())
    os.replace(_partial(path), path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _locked(partial: Path) -> BinaryIO:
    while True:
        file = os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise DataError(f"{partial}: another process is writing it. Wait for it to end, then try again") from None
        # The last holder may have renamed or removed the file between our open and our lock.
        if _is_same(file, partial):
            file.truncate(0)
            return file
        file.close()


def _is_same(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
