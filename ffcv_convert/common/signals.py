"""The signals that ask a program to stop, and handlers for them that are put back.

Python runs handlers in the main thread alone. A block in another thread, as of a sweep, changes none.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

# A closed terminal or a lost connection sends SIGHUP, schedulers SIGTERM, SIGUSR1 or SIGUSR2 before they kill, and the
# system SIGXCPU where `ulimit -t` is reached.
ASKED = (signal.SIGINT, signal.SIGTERM)
STOPS = (*ASKED, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)


def unclaimed() -> list[signal.Signals]:
    """Return the signals that a training may take: SIGINT, SIGTERM and those of STOPS that would end the process. Left
    alone are those that it was started to ignore (nohup and SIGHUP), and those that the caller handles."""
    return [number for number in STOPS if number in ASKED or signal.getsignal(number) is signal.SIG_DFL]


@contextmanager
def handled(
    numbers: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], object]
) -> Iterator[dict[int, Any]]:
    """Let `handler` take these signals in the block. Yields the handlers before, by signal: none in another thread than
    the main one."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {int(number): signal.signal(number, handler) for number in numbers}
    try:
        yield before
    finally:
        for number, former in before.items():
            signal.signal(number, former)
