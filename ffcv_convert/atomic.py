"""A file that appears whole or not at all, with one writer at a time."""

import errno
import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ffcv_convert.schema import DataError

STOPS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open `<path>.partial` for writing and reading; `publish` makes it `path`, any other way out removes it.

    A partial file that a killed process left is taken over. Raises DataError while another process writes it.
    """
    partial = _partial(path)
    file = None
    try:
        with stops_held():  # or a file that was just made would be left, as nobody would know it
            file = _locked(partial)
        yield file
    finally:
        if file is not None:
            if _is_same(file, partial):
                partial.unlink()
            with suppress(OSError):  # what is still to be written of a failed file: the disk may be full
                file.close()


@contextmanager
def stops_held() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait for the block's end, whichever thread they come to."""
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn an error of the target's disk, which may not name a file, into a DataError that does."""
    try:
        yield
    except OSError as error:
        what = f"{error.filename2 or path}: {error.strerror or error}"
        raise DataError(f"{what}. Check the path, its permissions and the space left") from None


def sweep(path: Path) -> None:
    """Remove a `<path>.partial` that a killed process left. Raises DataError while another process writes it."""
    if _partial(path).exists():
        with replacing(path):
            pass


def publish(*files: tuple[BinaryIO, Path]) -> None:
    """Put the bytes of all of them on the disk, then give each its name, in this order.

    Where the disk is full, no file gets its name: what is there already, and belongs together, stays as it was. Raises
    DataError.
    """
    for file, path in files:
        with naming(path):
            file.flush()
            os.fsync(file.fileno())
    for _, path in files:
        with naming(path):
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
        try:
            file = os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+b")
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise DataError(f"{partial}: is a link, and what it leads to is not overwritten. Remove it") from None
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
