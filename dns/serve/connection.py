"""A connection that is closed where its client does not say soon enough what it wants, or does not read the answer."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_S = 10.0  # from the connection, or the last response, to the end of the next request's headers
READ_S = 10.0  # without a byte read, while more wait than the system's buffers hold


class Connection(H11Protocol):
    """uvicorn lets a client take any time for its headers; one that sends a letter a minute would hold a connection for
    ever. How long the body of a request may take says upload.py."""

    _unread: asyncio.TimerHandle

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

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(READ_S, self.transport.abort)

    def resume_writing(self) -> None:
        self._unread.cancel()
        super().resume_writing()
