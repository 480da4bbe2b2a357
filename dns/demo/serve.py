"""Serves a folder on this machine alone, as `python -m http.server --bind 127.0.0.1` does."""

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ffcv_convert.common.errors import ConfigError

LOOPBACK = "127.0.0.1"


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and prints nothing of it: a page asks for a hundred."""

    def log_message(self, format: str, *args: object) -> None:
        pass


def server(folder: Path, port: int) -> ThreadingHTTPServer:
    """Return a server of the folder that listens already. port: 0 for any that is free. Raises ConfigError."""
    try:
        return ThreadingHTTPServer((LOOPBACK, port), partial(Quiet, directory=str(folder)))
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--port={port}: cannot be served ({getattr(error, 'strerror', error)}). Name another one, or 0 for any"
        ) from None


def serve(folder: Path, port: int) -> None:
    """Serve the folder until Ctrl-C, and say where."""
    with server(folder, port) as serving:
        print(f"open http://{LOOPBACK}:{serving.server_port}/ (Ctrl-C ends)", flush=True)
        serving.serve_forever()
