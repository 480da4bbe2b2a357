"""A connection that is closed where its client does not say soon enough what it wants."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_S = 10.0  # from the connection, or the last response, to the end of the next request's headers


class Connection(H11Protocol):
    """uvicorn lets a client take any time for its headers; one that sends a letter a minute would hold a connection for
    ever. How long the body of a request may take says upload.py."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(HEADER_S, self._close_idle, self.cycle)

    def on_response_complete(self) -> None:
        last = self.cycle  # where requests were sent without a wait, the next line begins another
        super().on_response_complete()
        self.loop.call_later(HEADER_S, self._close_idle, last)

    def _close_idle(self, last: object) -> None:
        """Close the connection where no request has come since `last`."""
        if self.cycle is last and not self.transport.is_closing():
            self.transport.close()
