"""When the stand-in computes: at once, at every replay of a graph, or, with lazy streams, when somebody waits for it.

What a kernel computes comes here through `launch`, copies and replays come from runtime.cpp. While a stream captures,
all of it is only kept, and each replay of the graph does it in order. Work names addresses and not tensors: memory that
was freed and given to others holds what the others wrote, as on a card.

With lazy streams every stream keeps a queue. A synchronisation, a wait for an event or a copy to pageable memory runs
what it waits for, and no more; an event that nobody waited for has not happened. That is the latest that CUDA allows,
and without lazy streams everything happens the earliest that it can: where both give other bits, something was not
waited for.
"""

import atexit
import ctypes
import threading
import traceback
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from tests.cuda_stand_in.device import _runtime

NOT_READY, FAILED = 600, 999  # cudaErrorNotReady, cudaErrorUnknown
_HOOK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t
)
_runtime.stand_in_capture.restype = ctypes.c_ulonglong
_runtime.stand_in_capture.argtypes = [ctypes.c_void_p]
_runtime.stand_in_hook.argtypes = [ctypes.c_void_p]


class Work(NamedTuple):
    """run: computes, given what `draw` returned when the work was launched or its graph replayed. A host's random
    numbers are drawn in the order of the launches, whenever they are needed, as a card's are."""

    name: str
    run: Callable[..., None]
    draw: Callable[[], Any] | None = None


class Queue:
    """What was launched on a lazy stream, and how much of it is done."""

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], None]] = deque()
        self.launched = self.done = 0

    def put(self, item: Callable[[], None]) -> None:
        self.waiting.append(item)
        self.launched += 1

    def run(self, until: int) -> None:
        while self.done < until:
            self.waiting.popleft()()
            self.done += 1


computed: Counter[str] = Counter()  # how often each kernel computed
_captured: defaultdict[int, list[Work]] = defaultdict(list)  # by the number of the capture
_queues: defaultdict[int, Queue] = defaultdict(Queue)  # by the stream's handle
_events: dict[int, tuple[Queue, int]] = {}  # what an event waits for
_lock = threading.RLock()  # of queues and events: a loader's thread waits for copies while another computes
_thread = threading.local()
_lazy = False


def launch(name: str, run: Callable[..., None], draw: Callable[[], Any] | None = None) -> None:
    """Compute on the current stream, or keep it for the replays of the graph that the stream captures."""
    _launch(Work(name, run, draw), torch._C._cuda_getCurrentRawStream(0))


def _launch(work: Work, stream: int) -> None:
    capture = _runtime.stand_in_capture(stream)
    if capture:
        _captured[capture].append(work)
    else:
        _submit([work], stream)


def is_capturing() -> bool:
    return bool(_runtime.stand_in_capture(torch._C._cuda_getCurrentRawStream(0)))


def kept_work(capture: int = -1) -> list[str]:
    """Names of what a capture keeps for its replays; by default the newest one's."""
    return [work.name for work in _captured[list(_captured)[capture] if capture < 0 else capture]]


@contextmanager
def hollow() -> Iterator[None]:
    """CUDA's own kernel runs: it and what it calls do nothing, because a CPU's kernel computes all of it."""
    _thread.hollow = is_hollow() + 1
    _runtime.stand_in_hollow(1)
    try:
        yield
    finally:
        _thread.hollow -= 1
        _runtime.stand_in_hollow(-1)


def is_hollow() -> int:
    return getattr(_thread, "hollow", 0)


def make_lazy() -> None:
    """From now on streams are lazy. Call it before anything is launched."""
    global _lazy
    assert not computed, "lazy streams: work was launched before. Call make_lazy() first"
    _lazy = True
    _runtime.stand_in_lazy(1)


def is_lazy() -> bool:
    return _lazy


def _submit(works: Sequence[Work], stream: int) -> None:
    """Do it, or queue it; random numbers are drawn now."""
    with _below_autograd():
        ready = [(work, [work.draw()] if work.draw else []) for work in works]
    if not _lazy:
        _do(ready)
        return
    with _lock:
        _queue(stream).put(lambda: _do(ready))


def _do(ready: Sequence[tuple[Work, list[Any]]]) -> None:
    with _below_autograd():
        for work, drawn in ready:
            computed[work.name] += 1
            work.run(*drawn)


@contextmanager
def _below_autograd() -> Iterator[None]:
    """The caller's autograd and autocast did their part already, before CUDA's kernel was called."""
    with torch._C._AutoDispatchBelowAutograd(), torch.autocast("cpu", enabled=False):
        yield


def _queue(stream: int | None) -> Queue:
    return _queues[0 if stream in (None, 1, 2) else stream]  # type: ignore[index]


# ------------------------------------------------------------------------------------------ what runtime.cpp hands over


def _copy(what: str, stream: int | None, target: int, source: int, size: int) -> None:
    if is_hollow():
        return
    if _lazy and what == "copy from pageable":  # CUDA has read it when the call returns
        content = ctypes.string_at(source, size)
        _launch(Work("copy", lambda: ctypes.memmove(target, content, size)), stream or 0)
        return
    _launch(Work("copy", lambda: ctypes.memmove(target, source, size)), stream or 0)
    if _lazy and what == "copy to pageable":
        with _lock:
            _wait_for_stream(stream)


def _wait_for_stream(stream: int | None) -> None:
    queue = _queue(stream)
    queue.run(queue.launched)


def _wait_for_event(event: int) -> None:
    if event in _events:
        queue, until = _events[event]
        queue.run(until)


def _event(what: str, event: int, stream: int | None) -> int:
    """Called with lazy streams alone."""
    match what:
        case "record event":
            _events[event] = _queue(stream), _queue(stream).launched
        case "forget event":
            _events.pop(event, None)
        case "wait for event":
            _wait_for_event(event)
        case "is event done":
            queue, until = _events.get(event, (Queue(), 0))
            return 0 if queue.done >= until else NOT_READY
        case "stream waits for event" if event in _events:  # for its newest record before this call
            queue, until = _events[event]
            _queue(stream).put(lambda: queue.run(until))
        case "wait for stream":
            _wait_for_stream(stream)
        case "is stream done":
            return 0 if _queue(stream).done == _queue(stream).launched else NOT_READY
        case "wait for device":
            for handle in list(_queues):
                _wait_for_stream(handle)
    return 0


def _told(what: bytes, handle: int | None, stream: int | None, target: int, source: int, size: int) -> int:
    name = what.decode()
    try:
        if name.startswith("copy"):
            if size:
                _copy(name, stream, target, source, size)
        elif name == "set":
            if size and not is_hollow():
                value = handle or 0
                _launch(Work("set", lambda: ctypes.memset(target, value, size)), stream or 0)
        elif name == "replay":
            _submit(_captured[handle or 0], stream or 0)
        else:
            with _lock:
                return _event(name, handle or 0, stream)
    except Exception:  # ctypes would only print it, and the caller would go on
        traceback.print_exc()
        return FAILED
    return 0


_hook = _HOOK(_told)
_runtime.stand_in_hook(ctypes.cast(_hook, ctypes.c_void_p))
atexit.register(_runtime.stand_in_hook, None)  # Python ends before CUDA's objects do
