"""Opens an index and its network, and serves them until Ctrl-C or SIGTERM."""

import argparse
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import uvicorn

from dns.search.asking import network_of
from dns.search.store import Index
from dns.serve.app import make_app
from dns.serve.connection import Connection
from dns.serve.guard import App, is_loopback
from dns.serve.library import Library
from dns.serve.metrics import Metrics
from dns.serve.worker import Worker
from ffcv_convert.common.errors import ConfigError
from ffcv_convert.common.signals import handled

TOKEN, SHORTEST = "DNS_SERVE_TOKEN", 16  # characters; a shorter one can be guessed
CONNECTIONS = 256  # at once; each costs some kilobytes and a file descriptor
END_S = 5  # that requests may take after a signal


def run(options: argparse.Namespace, more: Sequence[str]) -> int:
    """Serve until a signal ends it. Raises a UserError."""
    token = read_token(options.token_file, options.host)
    with listener(options.host, options.port) as listening:  # a port that is taken stops here, before the network loads
        index = Index.open(options.index)
        library = Library(options.index, network_of(index, options.checkpoint, more))
        del index  # the library's own is dropped when it changes
        metrics = Metrics()
        with handled([signal.SIGTERM], _end), Worker(library, metrics.batches) as worker:
            local = is_loopback(options.host)
            app = make_app(worker, metrics, most_bytes=options.most_mb * 1_000_000, token=token, local=local)
            print(f"{options.index}: {library.rows:,} rows. Open {address(listening)} (Ctrl-C ends)", flush=True)
            server(app).run(sockets=[listening])
    return 0


def _end(number: int, frame: FrameType | None) -> None:
    """uvicorn lets requests end at a signal, and then hands it on to here."""
    raise KeyboardInterrupt(128 + number)


def server(app: App) -> uvicorn.Server:
    """Return the server of an application. It logs no requests: they name cameras and times."""
    config = uvicorn.Config(
        app, http=Connection, ws="none", lifespan="off", loop="asyncio", access_log=False, log_level="warning",
        server_header=False, proxy_headers=False, limit_concurrency=CONNECTIONS, timeout_graceful_shutdown=END_S,
    )  # fmt: skip
    return uvicorn.Server(config)


def listener(host: str, port: int) -> socket.socket:
    """Return a socket that listens. port: 0 for any that is free. Raises ConfigError."""
    try:
        family, _, _, _, place = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
        return socket.create_server((place[0], port), family=family)
    except OSError as error:
        raise ConfigError(
            f"--host={host} --port={port}: cannot be served ({error.strerror}). Name another port, "
            "or 0 for any; or an address of this machine"
        ) from None


def address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def read_token(path: Path | None, host: str) -> str | None:
    """Return the token of --token-file or of the environment. None without one, which is for loopback alone. Raises
    ConfigError."""
    token, source = os.environ.get(TOKEN, "").strip(), TOKEN
    if path is not None:
        source = f"--token-file={path}"
        try:
            token = path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{source}: cannot be read ({error}). Name a text file with the token alone") from None
    if not token and path is None:
        if is_loopback(host):
            return None
        raise ConfigError(
            f"--host={host}: other machines can reach this address, so a token is needed. Put one into a file: "
            f"openssl rand -hex 32 >token; then --token-file=token. Or set {TOKEN}"
        )
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"{source}: is no token of {SHORTEST} or more letters and digits. Make one: openssl rand -hex 32 >token"
        )
    return token
