"""The service as a process: it ends cleanly at a signal. tests/faults/test_serve_kills.py kills it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.support.search_commands import CPU
from tests.support.served import LOOPBACK, PATIENCE_S, response_of

pytestmark = pytest.mark.slow


@contextmanager
def started(folder: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Start the service, and yield it with its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dns.serve", str(folder), "--port=0", *CPU], cwd=REPOSITORY, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    with process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            port = re.search(r"85 rows\. Open http://127\.0\.0\.1:(\d+)/ ", said)
            assert port, said
            yield process, int(port[1])
        finally:
            process.kill()


def search(port: int, photo: bytes) -> int:
    connection = HTTPConnection(LOOPBACK, port, timeout=PATIENCE_S)
    connection.request("POST", "/search?modality=infrared", photo)
    status = response_of(connection.getresponse()).status
    connection.close()
    return status


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it(number: signal.Signals, code: int, footage_index: Path, photo: bytes) -> None:
    with started(footage_index) as (process, port):
        assert search(port, photo) == 200
        process.send_signal(number)
        out, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out, errors) == (code, "", "stopped\n")
