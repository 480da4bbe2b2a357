"""One writer at a time: locks of open files and folders, which end with the process that holds them."""

import errno
import fcntl
import sys
import time
from functools import cache
from pathlib import Path

POLL_S = 0.05


def lock(descriptor: int, path: Path, *, wait_s: float = 0.0) -> None:
    """Lock the open file or folder `path` until it is closed, or the process ends.

    Raises BlockingIOError if another process still holds it after `wait_s` seconds. Any other error, as on a file
    system without locks, is a note, once a folder, and work goes on: most users have one process a folder anyway.
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


@cache  # said once
def _note(folder: Path, why: str) -> None:
    print(f"note: {folder}: no locks here ({why}); let one process at a time write in this folder", file=sys.stderr)
