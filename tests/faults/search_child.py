"""Changes an index in children of a process that has imported what is needed, each killed at a chosen moment.

Reads lines "operation moment folder" and answers each with "killed", or with the number of calls that a child made in
which it could have been killed. A moment is the number of such a call, or seconds after the child began, as in 0.05s.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from dns.search import candidates, removal, segment_writer
from dns.search.__main__ import main as command
from dns.search.approximate import files, ivf_pq
from dns.search.removal import compact, remove
from dns.search.rows import Filters
from dns.search.segment_writer import HashedFile
from tests.conftest import REPOSITORY
from tests.support.search_rows import append, made

Run = Callable[[str, object, Path], int | None]

BEFORE, ADDED = 30, 25  # rows, in segments of 10; of an addition
DOOR = Filters(cameras=["door"])
OPERATIONS: dict[str, Callable[[Path], object]] = {
    "append": lambda folder: append(folder, made(np.random.default_rng(1), ADDED, BEFORE)),
    "first": lambda folder: append(folder, made(np.random.default_rng(1), ADDED)),
    "remove": lambda folder: remove(folder, DOOR),
    "compact": compact,
}
QUERY = "query.npz"  # beside the folder of the index
LARGE, CANDIDATES = 400, 120  # rows of a segment that FAISS makes something of; that are compared of each
# FAISS makes something of the rows, which themselves stay as they are.
BUILDING: dict[str, Callable[[Path], object]] = {
    "build": lambda folder: _quietly("build", folder),
    "search": lambda folder: _quietly("search", folder, folder.parent / QUERY, "--modality=visible", "--approximate"),
}
CALLS: list[tuple[Any, str]] = [
    *((os, name) for name in ("replace", "rename", "fsync", "unlink", "rmdir", "mkdir")), (shutil, "rmtree"),
    *((ivf_pq, name) for name in ("_sample", "_padded")),  # before rows are learned from, and before some are added
]  # fmt: skip


def _quietly(*arguments: object) -> None:
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        command(list(map(str, arguments)))


def small_sizes() -> None:
    """Let a few rows be several groups and blocks, and a few hundred be many."""
    segment_writer.ROW_GROUP, removal.BLOCK, ivf_pq.BLOCK = 10, 4, 100
    files.FEWEST, candidates.FEWEST, candidates.TIMES = LARGE, CANDIDATES, 1


@contextmanager
def children() -> Iterator[Run]:
    """Yield run(operation, moment, folder): in a child that is killed then; how many calls it made, None where it was
    killed. moment: as above, 0 for never."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.search_child"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=environment,
    ) as server:  # fmt: skip

        def run(operation: str, moment: object, folder: Path) -> int | None:
            assert server.stdin is not None
            assert server.stdout is not None
            print(operation, moment, folder, file=server.stdin, flush=True)
            answer = server.stdout.readline().strip()
            return None if answer == "killed" else int(answer)

        yield run


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

    write, faiss = HashedFile.write, ivf_pq.library()
    write_index = faiss.write_index

    def write_half_an_index(index: Any, path: str) -> None:
        write_index(index, path)
        if next(calls) == number:
            os.truncate(path, os.path.getsize(path) // 2)
            _kill()

    def write_half(file: HashedFile, content: bytes) -> int:
        if next(calls) == number:
            write(file, content[: len(content) // 2])
            file.flush()
            _kill()
        return write(file, content)

    for owner, name in CALLS:
        setattr(owner, name, before(getattr(owner, name)))
    HashedFile.write = write_half  # type: ignore[method-assign]
    faiss.write_index = write_half_an_index
    return lambda: next(calls) - 1


def _child(operation: str, number: int, folder: Path, answer: int) -> None:
    made_calls = _hook(number)
    {**OPERATIONS, **BUILDING}[operation](folder)
    os.write(answer, b"%d" % made_calls())


def main() -> None:
    small_sizes()
    for name in ("index_command", "search_command", "upkeep_command"):  # or each child would import them
        import_module(f"dns.search.{name}")
    ivf_pq.library()
    for line in sys.stdin:
        operation, moment, folder = line.rstrip("\n").split(" ", 2)
        number, seconds = (0, float(moment[:-1])) if moment.endswith("s") else (int(moment), 0.0)
        answers, answer = os.pipe()
        child = os.fork()
        if not child:
            try:
                _child(operation, number, Path(folder), answer)
            finally:
                os._exit(0)
        os.close(answer)
        if seconds:
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        with os.fdopen(answers) as pipe:
            said = pipe.read()
        print("killed" if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL else said, flush=True)


if __name__ == "__main__":
    main()
