"""A connection that is closed where its client does not say soon enough what it wants, or does not read the answer."""

import asyncio
import sys
from fcntl import ioctl
from termios import TIOCOUTQ

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_S = 10.0  # from the connection, or the last response, to the end of the next request's headers
READ_S = 60.0  # without a byte that arrives at the client, while more bytes wait than the system's buffers hold


class Connection(H11Protocol):
    """uvicorn lets a client take any time for its headers; one that sends a letter a minute would hold a connection for
    ever. How long the body of a request may take says upload.py."""

    _unread: asyncio.TimerHandle | None = None

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
        self._watch()

    def resume_writing(self) -> None:
        self._stop_watching()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _stop_watching(self) -> None:
        if self._unread:
            self._unread.cancel()

    def _watch(self) -> None:
        self._unread = self.loop.call_later(READ_S, self._cut_off, self._waiting_bytes())

    def _cut_off(self, before: int) -> None:
        """Close the connection where the client has read none of the bytes that waited before; else look again. A slow
        client's system takes bytes in lumps as large as its own buffer, so that this time is a long one."""
        if before == self._waiting_bytes():
            self.transport.abort()
        else:
            self._watch()

    def _waiting_bytes(self) -> int:
        """Return how many bytes of answers have not reached the client, here and in the system's own buffer. That one
        holds megabytes and takes more in lumps only, so that ours may stay the same while a slow client reads."""
        system = int.from_bytes(ioctl(self.transport.get_extra_info("socket"), TIOCOUTQ, bytes(4)), sys.byteorder)
        return self.transport.get_write_buffer_size() + system
