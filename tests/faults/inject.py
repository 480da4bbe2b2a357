"""Faults to put into a child that trains: signals, full disks and stalls, at chosen calls of chosen functions."""

import os
import resource
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from pkgutil import resolve_name
from threading import Thread
from typing import Any, BinaryIO

import torch

Act = Callable[[], None]

# What a run does, beside computing: each call is two moments, before and after.
EVENTS = (
    "train_ffcv.set_learning_rate", "dns.training.log.JsonLines.write",
    "dns.training.log.JsonLines.truncate", "os.replace",
    "torch.save", "dns.evaluation.evaluator.Evaluator.embed",
)  # fmt: skip


def _around(name: str, before: Act, after: Act) -> None:
    """Call `before` and `after` around every call of a function or method."""
    owner = resolve_name(name.rpartition(".")[0])
    real = getattr(owner, name.rpartition(".")[2])

    def called(*arguments: Any, **options: Any) -> Any:
        before()
        result = real(*arguments, **options)
        after()
        return result

    setattr(owner, name.rpartition(".")[2], called)


def on_call(name: str, number: int, act: Act) -> None:
    """Do `act` before the number-th call, from 1."""
    calls = count(1)
    _around(name, lambda: act() if next(calls) == number else None, lambda: None)


def at_moment(number: int, act: Act) -> None:
    """Do `act` at the number-th moment of EVENTS."""
    moments = count(1)

    def tick() -> None:
        if next(moments) == number:
            act()

    for name in EVENTS:
        _around(name, tick, tick)


def while_saving(number: int, act: Act) -> None:
    """Do `act` in the middle of writing the number-th checkpoint."""
    calls, real = count(1), torch.save

    def save(content: Any, file: BinaryIO) -> None:
        real(content, _FailingFile(file, act) if next(calls) == number else file)

    torch.save = save


class _FailingFile:
    """A file in whose 100th write something happens."""

    def __init__(self, file: BinaryIO, act: Act):
        self._file, self._act, self._writes = file, act, count(1)

    def write(self, content: bytes) -> int:
        if next(self._writes) == 100:
            self._file.flush()
            self._act()
        return self._file.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def when_written(act: Act) -> None:
    """Do `act` once the checkpoint that is being written behind the training is whole."""
    for thread in threading.enumerate():
        if thread.name == "checkpoint":
            thread.join()
    act()


def send(*signals: int) -> None:
    for number in signals:
        os.kill(os.getpid(), number)


def send_later(number: int, delay_s: float) -> None:
    def wait_and_send() -> None:
        time.sleep(delay_s)
        send(number)

    Thread(target=wait_and_send, daemon=True).start()


def fill_disk(free_bytes: int, path: Path | None = None) -> None:
    """Let no file grow beyond so many bytes, or beyond so many more than `path` has: for root too, unlike a quota."""
    size = path.stat().st_size if path else 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + free_bytes, resource.RLIM_INFINITY))


def stall(until: Path, seconds: float) -> None:
    """Say so, and wait for a file to appear."""
    print("stalled", flush=True)
    end = time.monotonic() + seconds
    while not until.exists() and time.monotonic() < end:
        time.sleep(0.01)
