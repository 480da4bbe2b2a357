"""A file that appears whole or not at all, with one writer at a time; ffcv_convert has one of its own."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` at the end of the block; any other way out removes it.

    It is `<path>.partial` until then; one that a killed process left is taken over. Raises OSError: of the disk, where
    the partial file is a link, and BlockingIOError while another process writes it.
    """
    partial = path.with_name(path.name + ".partial")
    file = _locked(partial)
    try:
        yield file
        file.flush()
        os.fsync(file.fileno())
        if not _is_same(file, partial):
            raise FileNotFoundError(errno.ENOENT, "another process removed it before it was whole", str(partial))
        os.replace(partial, path)
    finally:
        if _is_same(file, partial):
            partial.unlink()
        with suppress(OSError):  # what is still to be written of a failed file: the disk may be full
            file.close()


def _locked(partial: Path) -> BinaryIO:
    """The partial file, empty, and locked until it is closed."""
    while True:
        try:
            file = os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+b")
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            said = "is a link, and what it leads to is not overwritten"
            raise OSError(errno.ELOOP, said, str(partial)) from None
        try:
            _lock(file, partial)
            # The last holder may have renamed or removed the file between our open and our lock.
            if _is_same(file, partial):
                file.truncate(0)
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _lock(file: BinaryIO, partial: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BlockingIOError(errno.EWOULDBLOCK, "another process is writing it", str(partial)) from None
    except OSError:  # a file system without locks
        pass


def _is_same(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
