"""Handles Ctrl-C, SIGTERM and the like while training: finish the step, write a checkpoint, then stop."""

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import TypeVar

import torch

from dns.ranks import LostRankError
from ffcv_convert.common.errors import TrainingError
from ffcv_convert.common.signals import handled, unclaimed

T = TypeVar("T")
U = TypeVar("U")
STOPPING = b"\nstopping after this step, with a checkpoint; Ctrl-C stops at once, without\n"


@contextmanager
def out_of_memory(stands: str = "") -> Iterator[None]:
    """Turn the device's or the host's running out of memory into a TrainingError with the options that lower its use.
    stands: what was saved before."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"the device's memory is full ({str(error).split('. ')[0]}){stands}. Lower it: --data.source=stream keeps "
            "the images on the host, --eval.batch_size=32 tests fewer at once, fewer --data.persons change the recipe"
        ) from None
    except (MemoryError, RuntimeError, OSError) as error:
        if not _host_is_full(error):
            raise
        first = str(error).partition("\n")[0] or type(error).__name__
        raise TrainingError(
            f"the memory that this process may use is full ({first}){stands}. "
            "Lower it: --eval.re_ranking=false, --eval.batch_size=32 tests fewer at once, --data.workers=1 decodes "
            "fewer, fewer --data.persons change the recipe"
        ) from None


def _host_is_full(error: Exception) -> bool:
    """Whether numpy, torch's allocator for the CPU, or the system ran out of memory."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error)


class _Stop(BaseException):
    pass


class Interruption:
    """Turns the first SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 or SIGXCPU into a flag, which the training loop reads;
    a second Ctrl-C acts at once.

    `code` is 128 + the first signal, 0 while there was none. Repeated others are ignored: schedulers signal both make
    and its child. Inside `at_once` the first signal ends the whole `with Interruption()` block: for work that a later
    run does again. Outside the main thread no signal comes here: whoever started the thread stops it.
    """

    def __enter__(self) -> "Interruption":
        self.code, self._at_once, self._handlers = 0, False, ExitStack()
        self._before = self._handlers.enter_context(handled(unclaimed(), self._note))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self._handlers.close()
        lost = kind is not None and issubclass(kind, LostRankError)  # a signal stopped it too, and it left first
        return kind is _Stop or (bool(self.code) and lost)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        self._at_once = True
        try:
            if self.code:  # a signal came just before
                raise _Stop
            yield
        finally:
            self._at_once = False

    def before_stop(self, batches: Iterator[T], agreed: Callable[[int], tuple[int, U]]) -> Iterator[tuple[T, U]]:
        """Yield `batches` until the first signal, which also ends the wait for a batch that may never come.

        agreed: this process's `code` -> that of all processes of the training, which stop before the same batch; and
        what else they agreed on, which comes with the batch.
        """
        while True:
            batch = None
            with suppress(_Stop), self.at_once():
                batch = next(batches, None)
                if batch is None:
                    return
            code, more = agreed(self.code)
            if code or batch is None:
                self.code = self.code or code
                return
            yield batch, more

    def _note(self, number: int, frame: FrameType | None) -> None:
        first = not self.code
        self.code = self.code or 128 + number
        signal.signal(signal.SIGINT, self._before[signal.SIGINT])
        if not first:
            return
        if self._at_once:
            raise _Stop
        # print() would fail where the signal came in the middle of another one. The terminal may be gone.
        with suppress(OSError, AttributeError):
            os.write(sys.stderr.fileno(), STOPPING)
