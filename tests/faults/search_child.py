"""Changes an index in children of a process that has imported what is needed, each killed at a chosen call.

Reads lines "operation number folder" and answers each with "killed", or with the number of calls that a child made in
which it could have been killed.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from dns.search import removal, segment_writer
from dns.search.removal import compact, remove
from dns.search.rows import Filters
from dns.search.segment_writer import HashedFile
from tests.support.search_rows import append, made

BEFORE, ADDED = 30, 25  # rows, in segments of 10; of an addition
DOOR = Filters(cameras=["door"])
OPERATIONS: dict[str, Callable[[Path], object]] = {
    "append": lambda folder: append(folder, made(np.random.default_rng(1), ADDED, BEFORE)),
    "first": lambda folder: append(folder, made(np.random.default_rng(1), ADDED)),
    "remove": lambda folder: remove(folder, DOOR),
    "compact": compact,
}
CALLS = [(os, name) for name in ("replace", "rename", "fsync", "unlink", "rmdir", "mkdir")] + [(shutil, "rmtree")]


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hook(number: int) -> Callable[[], int]:
    """Kill this process at the number-th call. Returns what tells how many there were."""
    calls = count(1)

    def before(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if next(calls) == number:
                _kill()
            return function(*arguments, **options)

        return call

    write = HashedFile.write

    def write_half(file: HashedFile, content: bytes) -> int:
        if next(calls) == number:
            write(file, content[: len(content) // 2])
            file.flush()
            _kill()
        return write(file, content)

    for owner, name in CALLS:
        setattr(owner, name, before(getattr(owner, name)))
    HashedFile.write = write_half  # type: ignore[method-assign]
    return lambda: next(calls) - 1


def _child(operation: str, number: int, folder: Path, answer: int) -> None:
    made_calls = _hook(number)
    OPERATIONS[operation](folder)
    os.write(answer, b"%d" % made_calls())


def main() -> None:
    segment_writer.ROW_GROUP, removal.BLOCK = 10, 4  # a few rows are several groups and blocks
    for line in sys.stdin:
        operation, number, folder = line.rstrip("\n").split(" ", 2)
        answers, answer = os.pipe()
        child = os.fork()
        if not child:
            try:
                _child(operation, int(number), Path(folder), answer)
            finally:
                os._exit(0)
        os.close(answer)
        _, status = os.waitpid(child, 0)
        with os.fdopen(answers) as pipe:
            said = pipe.read()
        print("killed" if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL else said, flush=True)


if __name__ == "__main__":
    main()
