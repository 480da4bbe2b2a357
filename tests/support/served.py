"""Runs the service in this process, on a free port, and sends it requests as any client would."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

from dns.search.network import SearchNetwork
from dns.serve.app import make_app
from dns.serve.library import Library
from dns.serve.metrics import Metrics
from dns.serve.service import listener, server
from dns.serve.worker import Worker

PATIENCE_S = 60.0
LOOPBACK = "127.0.0.1"


class Response(NamedTuple):
    status: int
    headers: dict[str, str]  # names in small letters
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The sentence of a refusal, which is all that it says."""
        assert list(self.json) == ["error"]
        return self.json["error"]


class Served(NamedTuple):
    """A service that runs. port: on LOOPBACK."""

    port: int
    worker: Worker
    metrics: Metrics

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        """Send a request and return the response. headers: names with _ for -; body: bytes, or an iterator of them,
        which is sent without a Content-Length."""
        connection = HTTPConnection(LOOPBACK, self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
            return response_of(connection.getresponse())
        finally:
            connection.close()

    def search(self, content: bytes, **parameters: object) -> Response:
        """Search with an infrared image, unless `modality` says another one."""
        asked = "&".join(f"{name}={value}" for name, value in {"modality": "infrared", **parameters}.items())
        return self.ask("POST", f"/search?{asked}", content)


def response_of(response: HTTPResponse) -> Response:
    return Response(response.status, {name.lower(): text for name, text in response.getheaders()}, response.read())


@contextmanager
def serving(
    folder: Path, network: SearchNetwork, *, most_bytes: int = 1_000_000, token: str | None = None, local: bool = True
) -> Iterator[Served]:
    """Serve an index until the block ends."""
    metrics = Metrics()
    with listener(LOOPBACK, 0) as listening, Worker(Library(folder, network), metrics.batches) as worker:
        port = listening.getsockname()[1]
        running = server(make_app(worker, metrics, most_bytes=most_bytes, token=token, local=local))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            wait_for(lambda: running.started)
            yield Served(port, worker, metrics)
        finally:
            running.should_exit = True
            thread.join(PATIENCE_S)


def wait_for(true: Any) -> None:
    """Wait until a function returns something true."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


class Gate:
    """Stands before a function: lets calls through once it is opened, and notes their arguments."""

    def __init__(self, function: Any):
        self._function, self._open = function, threading.Event()
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, *arguments: Any) -> Any:
        self.calls.append(arguments)
        assert self._open.wait(PATIENCE_S)
        return self._function(*arguments)

    def open(self) -> None:
        self._open.set()
