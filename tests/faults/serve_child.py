"""Serves an index in children of a process that has imported what is needed, to be killed by who asked for them.

Reads lines, each the folder of an index, and answers each with the process id of a child, whose first line follows:
its address.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from dns.serve.__main__ import main as serve
from tests.conftest import REPOSITORY
from tests.support.search_commands import CPU


class Child(NamedTuple):
    """A service that runs. port: on loopback."""

    process: int
    port: int

    def kill(self) -> None:
        os.kill(self.process, signal.SIGKILL)


@contextmanager
def children() -> Iterator[Callable[[Path], Child]]:
    """Yield start(folder): a child that serves the index there, after the one before was killed."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.serve_child"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=environment,
    ) as server:  # fmt: skip
        started: list[Child] = []

        def start(folder: Path) -> Child:
            assert server.stdin is not None
            assert server.stdout is not None
            print(folder, file=server.stdin, flush=True)
            process, said = int(server.stdout.readline()), server.stdout.readline()
            port = re.search(r"Open http://127\.0\.0\.1:(\d+)/ ", said)
            assert port, said
            started.append(Child(process, int(port[1])))
            return started[-1]

        try:
            yield start
        finally:
            with suppress(IndexError, ProcessLookupError):  # none was started, or the last one was killed
                started[-1].kill()


def main() -> None:
    for name in ("dns.serve.service", "dns.training.setup"):  # or each child would import them
        import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            print(os.getpid(), flush=True)
            serve([line.rstrip("\n"), "--port=0", *CPU])
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
