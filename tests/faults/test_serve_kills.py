"""The service, killed while photos are on their way: the index is as it was, and the next service answers the same."""

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dns.search.verification import verify
from ffcv_convert.common.errors import UserError
from tests.dns.search.conftest import footage, footage_index, query
from tests.faults.conftest import Tally
from tests.faults.serve_child import Child, children
from tests.support.search_commands import contents
from tests.support.served import LOOPBACK, PATIENCE_S, response_of

__all__ = ["footage", "footage_index", "query"]  # fixtures of the search

pytestmark = pytest.mark.slow
ASKED = "/search?modality=infrared"


@pytest.fixture
def start() -> Iterator[Callable[[Path], Child]]:
    with children() as start:
        yield start


def search(child: Child, photo: bytes) -> Any:
    connection = HTTPConnection(LOOPBACK, child.port, timeout=PATIENCE_S)
    connection.request("POST", ASKED, photo)
    found = response_of(connection.getresponse())
    connection.close()
    assert found.status == 200, found
    return json.loads(found.body)


def begin_upload(child: Child, content: bytes) -> socket.socket:
    sock = socket.create_connection((LOOPBACK, child.port), timeout=PATIENCE_S)
    sock.sendall(content)
    return sock


def test_a_kill_in_an_upload_loses_nothing(
    footage_index: Path, query: Path, start: Callable[[Path], Child], tmp_path: Path, tally: Tally,
    times: Callable[[int, int], int],
) -> None:  # fmt: skip
    """One client has sent a part of its photo, or all of it, and another one waits for its answer."""
    folder, photo = Path(shutil.copytree(footage_index, tmp_path / "Index")), query.read_bytes()
    whole = f"POST {ASKED} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(photo)}\r\n\r\n".encode() + photo
    before, child = contents(folder), start(folder)
    answers = search(child, photo)
    for size in np.linspace(10, len(whole), times(3, 20)).astype(int).tolist():
        what = f"killed after {size:,} of {len(whole):,} bytes"
        with begin_upload(child, whole), begin_upload(child, whole[:size]):
            child.kill()
        tally.did("kills")
        try:
            if contents(folder) != before:
                tally.wrong("lost", f"{what}: the index is another")
            verify(folder)
            child = start(folder)
            if search(child, photo) != answers:
                tally.wrong("silent", f"{what}: other answers")
        except UserError as error:
            tally.wrong("crashed", f"{what}: {error}")
