"""Locks open files and folders, so that one process at a time writes. Locks end with the process."""

import errno
import fcntl
import sys
import time
from functools import cache
from pathlib import Path

POLL_S = 0.05


def lock(descriptor: int, path: Path, *, wait_s: float = 0.0) -> None:
    """Lock the open file or folder `path` until it is closed or the process ends.

    Raises BlockingIOError if another process still holds it after `wait_s` seconds. On a file system without locks,
    prints a note once per folder and continues: most users run one process per folder anyway.
    """
    end = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise BlockingIOError(errno.EWOULDBLOCK, "another process is writing it", str(path)) from None
            time.sleep(POLL_S)
            continue
        except OSError as error:
            _note(path if path.is_dir() else path.parent, error.strerror or str(error))
        return


@cache  # print it once
def _note(folder: Path, why: str) -> None:
    print(f"note: {folder}: no file locks here ({why}). Let only one process at a time write in it", file=sys.stderr)
