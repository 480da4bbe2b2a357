"""Standard output and standard error that are closed, full or gone: no result and no checkpoint is lost for them."""

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class _Forgiving(io.FileIO):
    """A stream whose failed writes are dropped. lost: what the first of them said.

    Where the reader of a pipe has ended (`| head`, a `tee` that was killed), a program that handles SIGTERM is stopped
    by it, once: a training writes a checkpoint then. Others end their work.
    """

    lost, stops = "", True

    def write(self, content: bytes) -> int:  # type: ignore[override]
        try:
            return super().write(content)
        except BrokenPipeError:
            if _Forgiving.stops and signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
                _Forgiving.stops = False
                os.kill(os.getpid(), signal.SIGTERM)
        except OSError as error:
            self.lost = self.lost or error.strerror or str(error)
        return len(content)


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Wrap a program: what cannot be printed does not stop it.

    A closed stream (`2>&-`) is /dev/null from then on. Standard output that could not be written ends a program that
    did its work with exit code 2, because a table may be missing where it was sent.
    """
    # The next file to be opened would get the number of a closed stream, and what libraries print with it.
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    output = _Forgiving(1 if sys.stdout else os.open(os.devnull, os.O_WRONLY), "w", closefd=False)
    errors = _Forgiving(2 if sys.stderr else os.open(os.devnull, os.O_WRONLY), "w", closefd=False)
    sys.stdout, sys.stderr = _text(output, sys.stdout), _text(errors, sys.stderr)
    try:
        yield
    except SystemExit as end:
        _Forgiving.stops = False  # the work is done
        sys.stdout.flush()
        if output.lost and not end.code:
            print(f"error: standard output: {output.lost}. What was printed is lost, files are not", file=sys.stderr)
            raise SystemExit(2) from None
        raise


def _text(raw: io.FileIO, former: TextIO | None) -> TextIO:
    buffered = io.BufferedWriter(raw)
    if not isinstance(former, io.TextIOWrapper):  # closed
        return io.TextIOWrapper(buffered, errors="backslashreplace")
    return io.TextIOWrapper(
        buffered, former.encoding, former.errors, line_buffering=former.line_buffering or former.write_through
    )
