"""Writes files and folders completely or not at all, one process at a time.

Writing goes to `<path>.partial`, which is then renamed. The partial file is locked, so that a second process is
refused; a partial file that a killed process left is overwritten. Errors are OSError; see `errors.as_data_errors`.
"""

import errno
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ffcv_convert.common.errors import named
from ffcv_convert.common.locks import lock
from ffcv_convert.common.signals import STOPS, handled

NO_FLUSHING = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EBADF)  # raised where folders cannot be flushed


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that replaces `path` when the block ends; after an exception `path` is unchanged."""
    with partial_file(path) as file:
        yield file
        publish((file, path))


@contextmanager
def partial_file(path: Path) -> Iterator[BinaryIO]:
    """Open an empty `<path>.partial` for reading and writing. The end of the block removes it, unless `publish`
    renamed it to `path`.

    Raises BlockingIOError while another process writes it, and OSError if it is a link.
    """
    partial = _partial(path)
    with _held(partial, _open_file, Path.unlink) as descriptor:
        file = os.fdopen(descriptor, "r+b", closefd=False)
        try:
            file.truncate(0)
            yield file
        finally:
            with suppress(OSError):  # closing writes the buffer, which fails again if the disk is full
                file.close()


def publish(*files: tuple[BinaryIO, Path]) -> None:
    """Flush all these partial files to the disk, then rename each to its path, in this order.

    If the disk is full, no file is renamed, so that older files that belong together stay together.
    """
    for file, path in files:
        with named(path):
            file.flush()
            os.fsync(file.fileno())
    for file, path in files:
        partial = _partial(path)
        if not _is_at(file.fileno(), partial):
            raise FileNotFoundError(errno.ENOENT, "another process removed it before it was complete", str(partial))
        os.replace(partial, path)
        _synchronise_folder(path.parent)


def sweep(path: Path) -> None:
    """Remove a `<path>.partial` that a killed process left. Raises BlockingIOError while another process writes it."""
    if _partial(path).exists():
        with partial_file(path):
            pass


@contextmanager
def partial_folder(partial: Path) -> Iterator[None]:
    """Create and lock the empty folder `partial`. The end of the block removes it, unless it was renamed.

    Raises BlockingIOError while another process holds it, and OSError if it is a link or a file.
    """
    with _held(partial, _open_folder, lambda path: shutil.rmtree(path, ignore_errors=True)):
        for path in partial.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        yield


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder` that takes its place, whatever it holds, when the block ends; after an
    exception `folder` is unchanged. Where a process is killed while the two change places, the old one is left as
    `<folder>.former`.

    Raises BlockingIOError while another process writes it.
    """
    folder = folder.resolve()  # a link stays a link
    # Not .partial: a run that goes on removes files of that name from its folder.
    unfinished, former = (folder.with_name(f"{folder.name}.{ending}") for ending in ("unfinished", "former"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with partial_folder(unfinished):
        yield unfinished
        with stops_held():
            shutil.rmtree(former, ignore_errors=True)  # of a process that was killed
            if folder.exists():
                folder.rename(former)
            try:
                unfinished.rename(folder)
            except OSError:
                former.rename(folder)
                raise
            _synchronise_folder(folder.parent)
        shutil.rmtree(former, ignore_errors=True)


def write_flushed(path: Path, content: bytes) -> None:
    """Write a file and flush it to the disk, in a folder that is still unfinished."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def stops_held() -> Iterator[None]:
    """Delay Ctrl-C, SIGTERM and the other signals that stop a program until the end of the block."""
    came: list[int] = []
    heeded = [number for number in STOPS if signal.getsignal(number) is not signal.SIG_IGN]
    with handled(heeded, lambda number, _: came.append(number)):
        yield
    if came:
        signal.raise_signal(came[0])


@contextmanager
def _held(partial: Path, opened: Callable[[Path], int], remove: Callable[[Path], None]) -> Iterator[int]:
    """Create `partial` if necessary, lock it and yield its descriptor; at the end, remove it unless it was renamed."""
    descriptor = None
    try:
        with stops_held():  # an interrupt must not leave a partial file behind
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
            error.strerror = "is a link, and its target is not overwritten"
        raise


def _open_folder(partial: Path) -> int:
    while True:
        with suppress(FileExistsError):
            partial.mkdir()
        with suppress(FileNotFoundError):  # the last holder has renamed or removed it
            return os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _synchronise_folder(folder: Path) -> None:
    """Flush the folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FLUSHING:
            raise
    finally:
        os.close(descriptor)
