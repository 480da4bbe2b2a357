"""The addresses of the service. Functions here wait and never compute: worker.py does.

POST /search?modality=infrared&...   an image as the body -> JSON, the answers of `make search ARGS=--json`
GET  /thumbnails/{row}               the small image of a row, JPEG; 204 where the index keeps none
GET  /about                          what the page says of the index, JSON
GET  /health, /metrics               for whoever watches the service
GET  /                               the page
GET  /openapi.json                   all this, for programs
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from dns.demo import __file__ as demo
from dns.report.page import style
from dns.serve import asked, upload
from dns.serve.guard import Guard
from dns.serve.metrics import Metrics
from dns.serve.refused import Refused, mistaken
from dns.serve.searching import Search
from dns.serve.worker import FAILED, Worker
from ffcv_convert.common.errors import ConfigError

WAITING = 64  # requests that wait at once, each with its image; more are told to come again
PAGE = Path(__file__).parent / "page"
CSS, SCRIPT, HTML = "text/css", "text/javascript", "text/html"
COUNTED = {"/search", "/thumbnails", "/about", "/health", "/metrics", "/"}
BODY = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}, "required": True}


class Service:
    """The addresses. worker: answers; most_bytes: of an image; token: whether requests need one."""

    def __init__(self, worker: Worker, metrics: Metrics, most_bytes: int, *, token: bool):
        self._worker, self._metrics, self._most_bytes, self._token = worker, metrics, most_bytes, token
        self._taken = 0

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Take one of the places that bound what waits, before anything of the image is read."""
        if self._taken >= WAITING:
            raise Refused(503, "too many requests wait. Ask again in a second", {"Retry-After": "1"})
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def search(self, request: Request) -> Response:
        try:
            what = asked.read(request.scope["query_string"].decode("latin-1"))
        except ConfigError as error:
            raise mistaken(error) from None
        with self._place():
            content = await upload.read(request, self._most_bytes)
            found = await asyncio.wrap_future(self._worker.submit(Search(content, what)))
        return Response(found, media_type="application/json")

    async def thumbnail(self, row: str) -> Response:
        found = None
        if re.fullmatch(r"[0-9]{1,18}", row):
            with self._place():
                found = await asyncio.wrap_future(self._worker.submit(int(row)))
        if found is None:
            raise Refused(404, f"row {row}: the index has no such row, or no longer")
        return Response(found, media_type="image/jpeg") if found else Response(status_code=204)

    async def about(self) -> JSONResponse:
        return JSONResponse(self._worker.library.about)

    async def health(self) -> JSONResponse:
        alive = self._worker.is_alive()
        return JSONResponse({"status": "ok" if alive else "ended", "token": self._token}, 200 if alive else 503)

    async def metrics(self) -> PlainTextResponse:
        gauges = {
            "dns_queue_length": ("Requests that wait for the worker.", self._worker.waiting()),
            "dns_index_rows": ("Rows of the index.", self._worker.library.rows),
        }
        return PlainTextResponse(self._metrics.text(gauges), media_type="text/plain; version=0.0.4")


def make_app(
    worker: Worker, metrics: Metrics, *, most_bytes: int, token: str | None = None, local: bool = True
) -> Guard:
    """Return the application, guarded. token, local: as in Guard."""
    service = Service(worker, metrics, most_bytes, token=token is not None)
    app = FastAPI(title="Search for a person", docs_url=None, redoc_url=None)  # these pages load scripts of elsewhere
    described = {"parameters": asked.parameters(), "requestBody": BODY}
    app.add_api_route("/search", service.search, methods=["POST"], openapi_extra=described)
    read: dict[str, Callable[..., Awaitable[Response]]] = {
        "/thumbnails/{row}": service.thumbnail, "/about": service.about, "/health": service.health,
        "/metrics": service.metrics,
    }  # fmt: skip
    for path, function in read.items():
        app.add_api_route(path, function, response_model=None)
    files = _files()
    for path, response in files.items():
        app.add_api_route(path, _file(*response), include_in_schema=False, response_model=None)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _not_found)
    app.add_exception_handler(Exception, _failed)
    return Guard(app, metrics, token=token, local=local, open_paths={*files, "/health"}, counted=COUNTED)


def _files() -> dict[str, tuple[str, str]]:
    """Return address -> content and kind of the page's files. The style is that of the reports and of the demo."""
    read = partial(Path.read_text, encoding="utf-8")
    return {
        "/": (read(PAGE / "index.html"), HTML), "/main.js": (read(PAGE / "main.js"), SCRIPT),
        "/page.css": (style(), CSS), "/demo.css": (read(Path(demo).parent / "page" / "demo.css"), CSS),
        "/serve.css": (read(PAGE / "serve.css"), CSS),
    }  # fmt: skip


def _file(content: str, kind: str) -> Callable[[], Awaitable[Response]]:
    async def send() -> Response:
        return Response(content, media_type=kind)

    return send


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.response()


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    told = "no such address, or not with this method. POST an image to /search, or open / in a browser"
    return Refused(error.status_code, told, error.headers).response()


async def _failed(request: Request, error: Exception) -> Response:
    return Refused(500, FAILED).response()
