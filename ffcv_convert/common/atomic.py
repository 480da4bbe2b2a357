"""Files and folders that appear whole or not at all, with one writer at a time.

What is being written has another name, `<path>.partial`. It is locked, so that a second process is refused; what a
killed process left is taken over. Errors are OSError; see `errors.as_data_errors`.
"""

import errno
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ffcv_convert.common.errors import named
from ffcv_convert.common.locks import lock

STOPS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` at the end of the block; any other way out leaves `path` as it was."""
    with partial_file(path) as file:
        yield file
        publish((file, path))


@contextmanager
def partial_file(path: Path) -> Iterator[BinaryIO]:
    """Open `<path>.partial`, empty, for writing and reading; it is removed at the end of the block unless `publish`
    made it `path`.

    Raises BlockingIOError while another process writes it, and OSError where it is a link.
    """
    partial = _partial(path)
    with _held(partial, _open_file, Path.unlink) as descriptor:
        file = os.fdopen(descriptor, "r+b", closefd=False)
        try:
            file.truncate(0)
            yield file
        finally:
            with suppress(OSError):  # what is still to be written of a failed file: the disk may be full
                file.close()


def publish(*files: tuple[BinaryIO, Path]) -> None:
    """Put the bytes of all these partial files on the disk, then give each its name, in this order.

    Where the disk is full, no file gets its name: what is there already, and belongs together, stays as it was.
    """
    for file, path in files:
        with named(path):
            file.flush()
            os.fsync(file.fileno())
    for file, path in files:
        partial = _partial(path)
        if not _is_at(file.fileno(), partial):
            raise FileNotFoundError(errno.ENOENT, "another process removed it before it was whole", str(partial))
        os.replace(partial, path)
        _synchronise_folder(path.parent)


def sweep(path: Path) -> None:
    """Remove a `<path>.partial` that a killed process left. Raises BlockingIOError while another process writes it."""
    if _partial(path).exists():
        with partial_file(path):
            pass


@contextmanager
def partial_folder(partial: Path) -> Iterator[None]:
    """Hold the folder `partial`, empty; it is removed at the end of the block unless it was renamed.

    Raises BlockingIOError while another process holds it, and OSError where it is a link or a file.
    """
    with _held(partial, _open_folder, lambda path: shutil.rmtree(path, ignore_errors=True)):
        for path in partial.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        yield


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
def _held(partial: Path, opened: Callable[[Path], int], remove: Callable[[Path], None]) -> Iterator[int]:
    """Descriptor of `partial`, made if it is not there, and locked; removed at the end if it still has its name."""
    descriptor = None
    try:
        with stops_held():  # or what was just made would be left, as nobody would know it
            descriptor = _locked(partial, opened)
        yield descriptor
    finally:
        if descriptor is not None:
            if _is_at(descriptor, partial):
                remove(partial)
            os.close(descriptor)


def _locked(partial: Path, opened: Callable[[Path], int]) -> int:
    while True:
        descriptor = opened(partial)
        try:
            lock(descriptor, partial)
            # The last holder may have renamed or removed it between our open and our lock.
            if _is_at(descriptor, partial):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open_file(partial: Path) -> int:
    try:
        return os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            error.strerror = "is a link, and what it leads to is not overwritten"
        raise


def _open_folder(partial: Path) -> int:
    while True:
        with suppress(FileExistsError):
            partial.mkdir()
        with suppress(FileNotFoundError):  # its last holder renamed or removed it since
            return os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _synchronise_folder(folder: Path) -> None:
    """Put the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that knows no such thing
            raise
    finally:
        os.close(descriptor)
