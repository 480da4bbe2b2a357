"""Decides who may ask, and puts the headers on every response.

A web page of elsewhere can make the browser of a user send requests to this service. It gets nothing:

- Host has to name this machine (127.0.0.1, localhost) where the service listens on loopback. A page whose own name was
  made to lead here (DNS rebinding) is refused, because the browser sends that name.
- Origin, where a browser sends it, has to be the address of the service. So no other page can start a search (CSRF).
- Sec-Fetch-Site: cross-site is refused, so that no other page shows an image of the service.

Where the service can be reached from other machines, a token is needed as well: it is the guard then, for any name may
lead to such a machine.
"""

import hmac
import time
from collections.abc import Awaitable, Callable, MutableMapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders

from dns.serve.metrics import Metrics
from dns.serve.refused import Refused

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",  # removed rows are not to live on in a browser's cache
}  # fmt: skip


def is_loopback(name: str) -> bool:
    """Whether a host's name or address is that of this machine alone."""
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


class Guard:
    """Wraps the application. token: what requests have to bring, None for none; local: the service listens on loopback;
    open_paths: what needs no token, because it shows nothing of the index; counted: addresses that metrics tell apart.
    """

    def __init__(
        self, app: App, metrics: Metrics, *, token: str | None, local: bool, open_paths: set[str], counted: set[str]
    ):
        self._app, self._metrics, self._token, self._local = app, metrics, token, local
        self._open, self._counted = open_paths, counted

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        begin, path = time.perf_counter(), f"/{scope['path'].removeprefix('/').partition('/')[0]}"

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.responses[path if path in self._counted else "other", message["status"]] += 1
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            self._check(scope["path"], Headers(raw=scope["headers"]))
        except Refused as refused:
            await refused.response()(scope, receive, answer)
        else:
            await self._app(scope, receive, answer)
        if path == "/search":
            self._metrics.seconds.add(time.perf_counter() - begin)

    def _check(self, path: str, asked: Headers) -> None:
        """Raise Refused for a request that may not be answered."""
        host, origin = asked.get("host", ""), asked.get("origin")
        if self._local and self._token is None and not is_loopback(_name(host)):
            raise Refused(403, f"this service is called 127.0.0.1 or localhost, not {host}. Use that address")
        foreign = origin is not None and origin.partition("://")[2] != host
        if foreign or asked.get("sec-fetch-site") in ("cross-site", "same-site"):
            raise Refused(403, "a page of another address asks. Open this service's own page")
        if self._token is not None and path not in self._open and not _is(self._token, asked.get("authorization", "")):
            told = "the token is missing or wrong. Send it as a header: Authorization: Bearer TOKEN"
            raise Refused(401, told, {"WWW-Authenticate": "Bearer"})


def _name(host: str) -> str:
    """Return the name in a header Host, "" where it has none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is(token: str, authorization: str) -> bool:
    """Compare in constant time, so that nobody learns the token letter by letter."""
    scheme, _, given = authorization.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())
