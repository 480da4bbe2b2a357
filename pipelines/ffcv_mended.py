"""FFCV 1.0.2, mended from outside. Nothing else in this project imports ffcv.

| FFCV alone | here |
| --- | --- |
| importing it fills a numba.typed.Dict for 3 s, sets torch to one thread | a plain dict meanwhile; threads put back |
| everything is compiled anew in every process, 2 s and more | Numba's cache on disk, with decoders that can be cached |
| a JPEG that does not decode comes out as another sample's picture | the decoder's return code is kept and checked |
| an exception in the loader's thread hangs the process | it is carried to the consumer and raised there |
| leaving an epoch early leaks a thread and its buffers | `Stream.epoch` is a context manager that stops and joins |
| buffers are made anew every epoch | made once |
| the buffer of a running host-to-device copy may be overwritten | a slot comes back with the event to wait for |
| custom orders cannot be passed; indices are not checked | an ORDER_MAP factory; int64, in range |
| num_workers over the affinity mask fails | capped |
"""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

import llvmlite.binding
import numba
import numba.typed
import numpy as np
import torch
from numba import njit, prange, types
from numba.extending import is_jitted

from ffcv_convert.schema import Converted, DataError
from ffcv_convert.schema.beton import MODE_RAW

Extra = Callable[[int], torch.Tensor]  # what goes with batch i of an epoch, made in the decoding thread
CACHE_FOLDER = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dns-ffcv" / "numba"
if not numba.config.CACHE_DIR:
    numba.config.CACHE_DIR = str(CACHE_FOLDER)
if "NUMBA_THREADING_LAYER" not in os.environ:
    # workqueue aborts with two parallel loaders and omp kills forked children; tbb does neither.
    numba.config.THREADING_LAYER = "tbb"


@contextmanager
def _quiet_import() -> Iterator[None]:
    threads, typed_dict = torch.get_num_threads(), numba.typed.Dict
    numba.typed.Dict = dict
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # distutils, ast.Index: FFCV's, not ours
            yield
    finally:
        numba.typed.Dict = typed_dict
        torch.set_num_threads(threads)


with _quiet_import():
    import ffcv._libffcv
    from ffcv.fields.basics import IntDecoder
    from ffcv.fields.rgb_image import SimpleRGBImageDecoder
    from ffcv.loader import loader as ffcv_loader
    from ffcv.pipeline.allocation_query import AllocationQuery
    from ffcv.pipeline.compiler import Compiler
    from ffcv.traversal_order.base import TraversalOrder

llvmlite.binding.load_library_permanently(ffcv._libffcv.__file__)


def _set_num_threads(cls: type[Compiler], count: int) -> None:
    """Numba's threads only: FFCV also sets torch's, for the whole process."""
    cls.num_threads = count
    numba.set_num_threads(count)


def _compile(cls: type[Compiler], code: Callable, signature: Any = None) -> Callable:
    """As FFCV's, with the cache on disk. Numba's cache does not tell parallel code from serial, so parallel code
    is cached only where it is a function of its own, as the decoders below."""
    if is_jitted(code) or not cls.is_enabled:
        return code
    parallel = getattr(code, "is_parallel", False) and cls.num_threads > 1
    return njit(signature, fastmath=True, nogil=True, error_model="numpy", parallel=parallel, cache=not parallel)(code)


Compiler.set_num_threads = classmethod(_set_num_threads)
Compiler.compile = classmethod(_compile)

_imdecode = types.ExternalFunction(
    "imdecode",
    types.int32(
        types.uintp, types.uint64, types.uint32, types.uint32, types.uintp, types.uint32, types.uint32,
        types.uint32, types.uint32, types.uint32, types.uint32, types.boolean, types.boolean,
    ),
)  # fmt: skip


@njit(nogil=True, error_model="numpy", cache=True)
def _decode_one(row, indices, images, status, metadata, storage):
    file, pointers, sizes = storage
    entry = metadata[indices[row]]
    start = entry["data_ptr"]
    size = sizes[np.searchsorted(pointers, start)]
    target = images[row].reshape(-1)
    status[row, 0] = 0
    if entry["mode"] == MODE_RAW:
        target[:] = file[start : start + size]
    else:
        height, width = np.uint32(entry["height"]), np.uint32(entry["width"])
        status[row, 0] = _imdecode(
            file[start:].ctypes.data, size, height, width, target.ctypes.data, height, width, 0, 0, 1, 1, False, False
        )


@njit(nogil=True, error_model="numpy", cache=True)
def _decode_serial(indices, memory, metadata, storage):
    images, status = memory
    for row in range(len(indices)):
        _decode_one(row, indices, images, status, metadata, storage)
    return images, status


@njit(nogil=True, error_model="numpy", cache=True, parallel=True)
def _decode_parallel(indices, memory, metadata, storage):
    images, status = memory
    for row in prange(len(indices)):
        _decode_one(row, indices, images, status, metadata, storage)
    return images, status


class CheckedDecoder(SimpleRGBImageDecoder):
    """Decodes to (images uint8 (B, H, W, 3), status int32 (B, 1)); a status other than 0 is a picture that failed."""

    def declare_state_and_memory(self, previous_state):
        state, images = super().declare_state_and_memory(previous_state)
        return replace(state, jit_mode=True), (images, AllocationQuery((1,), np.dtype("<i4")))

    def generate_code(self):
        return _decode_parallel if Compiler.num_threads > 1 else _decode_serial


class _PlannedOrder(TraversalOrder):
    """FFCV asks it for an order while it sets itself up; the epochs' orders come through Stream.epoch."""

    def sample_order(self, epoch: int) -> np.ndarray:
        return self.indices


ffcv_loader.ORDER_MAP["planned"] = _PlannedOrder


def allowed_workers(asked: int) -> int:
    """Decoding threads: `asked`, or all (0), but never more than this process may use or Numba started with."""
    most = min(len(os.sched_getaffinity(0)), numba.config.NUMBA_NUM_THREADS)
    return min(asked, most) if asked > 0 else most


class Slot(NamedTuple):
    """A decoded batch in a reused host buffer (pinned where there is CUDA), valid until it is released."""

    number: int
    images_BHWC: torch.Tensor
    person_B: torch.Tensor
    index_B: torch.Tensor
    extra: torch.Tensor


class Stream:
    """Batches of one `.beton`, decoded by FFCV in the order that each epoch brings.

    batch_size: B. slots: how many batches may exist at once, the consumer's included. workers: see allowed_workers.
    """

    def __init__(self, converted: Converted, *, batch_size: int, workers: int = 0, slots: int = 4):
        self.converted = converted
        self.workers = allowed_workers(workers)
        self.batch_size, self.slots = batch_size, slots
        self._running = False
        fields = {"image": [CheckedDecoder()], "person": [IntDecoder()], "index": [IntDecoder()]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self._loader = ffcv_loader.Loader(
                str(converted.path), batch_size, self.workers, os_cache=True, order="planned", seed=0, drop_last=False,
                pipelines={**fields, "camera": None, "modality": None},
            )  # fmt: skip
        self._memory = self._loader.graph.allocate_memory(batch_size, slots)["operation"]

    @contextmanager
    def epoch(self, order: np.ndarray, extra: Extra = lambda batch: torch.empty(0)) -> Iterator["Epoch"]:
        """Start decoding `order` (int64, iterations x B). `extra(i)` is called in the decoding thread for batch i.

        One epoch at a time: its block has to be left before the next one is entered.
        """
        order = np.asarray(order)
        if order.ndim != 2 or order.shape[1] != self.batch_size or order.dtype != np.int64:
            raise TypeError(f"order is {order.dtype} {order.shape}, expected int64 (iterations, {self.batch_size})")
        if order.size and (order.min() < 0 or order.max() >= len(self.converted)):
            raise IndexError(f"order names samples {order.min()} to {order.max()} of a set of {len(self.converted)}")
        if self._running:
            raise RuntimeError("an epoch of this loader is running, and its buffers are in use. Leave its block first")
        self._running = True
        try:
            epoch = Epoch(self, order, extra)
            try:
                yield epoch
            finally:
                epoch.close()
        finally:
            self._running = False

    def decode(self, indices: np.ndarray, slot: int) -> list:
        """Run FFCV's compiled stages for one batch into the buffers of `slot`; returns the fields' arrays."""
        loader = self._loader
        with loader.memory_manager.schedule_epoch(None) as context:
            arguments = {"batch_indices": indices.astype(np.uint64), "storage_state": context.state}
        arguments["metadata"] = loader.reader.metadata
        for node, buffer in self._memory.items():
            arguments[f"memory_{node}"] = _select(buffer, slot, len(indices))
            arguments[f"shared_memory_{node}"] = None
        stages, outputs = loader.code
        for stage, nodes in stages:
            for node, result in zip(nodes, stage(**arguments), strict=True):
                arguments[f"result_{node}"] = result
        return [arguments[f"result_{node}"] for node in outputs]


def _select(buffer: Any, slot: int, count: int) -> Any:
    if isinstance(buffer, tuple):
        return tuple(_select(part, slot, count) for part in buffer)
    return buffer[slot][:count]


def _take(free: SimpleQueue) -> int:
    """The next slot given back, once the copy out of it has ended."""
    number, event = free.get()
    if event is not None:
        event.synchronize()
    return number


class Epoch:
    """One pass over an order: iterate, and release each slot when its contents are no longer needed."""

    def __init__(self, stream: Stream, order: np.ndarray, extra: Extra):
        self._stream, self._order, self._extra = stream, order, extra
        self._stopping = False
        self._free: SimpleQueue = SimpleQueue()
        self._ready: SimpleQueue = SimpleQueue()
        for number in range(stream.slots):
            self._free.put((number, None))
        self._thread = Thread(target=self._produce, name="ffcv-decode", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Slot]:
        for _ in range(len(self._order)):
            if self._stopping:
                raise RuntimeError("the epoch's block was left: its batches are gone")
            slot = self._ready.get()
            if isinstance(slot, BaseException):
                raise slot
            yield slot

    def release(self, slot: Slot, after: "torch.cuda.Event | None" = None) -> None:
        """Let the buffer be used again, once `after` has happened on the device."""
        self._free.put((slot.number, after))

    def close(self) -> None:
        """Stop the decoding thread and wait for it, and for copies out of the slots: the next epoch has them all.

        The batch in work is finished first. Asking for another batch is an error from here on.
        """
        self._stopping = True
        self._free.put((0, None))  # wakes the thread if it waits for a slot
        self._thread.join()
        while not self._free.empty():
            _take(self._free)

    def _produce(self) -> None:
        try:
            numba.set_num_threads(self._stream.workers)
            for iteration, indices in enumerate(self._order):
                number = _take(self._free)
                if self._stopping:
                    return
                self._ready.put(self._decoded(iteration, indices, number))
        except BaseException as error:  # anything at all: the consumer would wait for ever
            self._ready.put(error)

    def _decoded(self, iteration: int, indices: np.ndarray, number: int) -> Slot:
        (images, status), persons, samples = self._stream.decode(indices, number)
        if status.any():
            sample = int(indices[int(np.flatnonzero(status)[0])])
            converted = self._stream.converted
            raise DataError(
                f"{converted.path}: sample {sample} ({converted.manifest.samples[sample][0]}) does not decode. "
                "Convert the data set again: make convert-datasets"
            )
        return Slot(
            number,
            torch.from_numpy(images),
            torch.from_numpy(persons).view(-1),
            torch.from_numpy(samples).view(-1),
            self._extra(iteration),
        )
