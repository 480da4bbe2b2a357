"""A thread decodes the batches of a `.beton` ahead into a few slots; each is copied to the device and given back.

On CUDA a batch is copied from its pinned slot on a stream of its own while the step before it computes, and the slot
goes back together with the event that ends the copy. On the CPU a batch lies in the slot itself. Either way **a batch
is valid until the next one is asked for**.

| FFCV's own iterator | here |
| --- | --- |
| an exception in its thread hangs the process | it is carried to the consumer and raised there |
| leaving an epoch early leaks a thread and its buffers | a context manager stops and joins |
| the buffer of a running host-to-device copy may be overwritten | a slot comes back with the copy's event |
| a damaged picture is handed out | every sample's checksum, when it is first used (20 us at 288 x 144) |
| a file that is cut short while it is mapped kills the process | its size is asked for before each batch |
| indices are not checked | int64, in range |
"""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NamedTuple

import numpy as np
import torch

from ffcv_convert.beton import Converted
from ffcv_convert.common.errors import DataError
from pipelines.batch import Batch
from pipelines.decoder import Decoder

STORED_AS: dict[torch.dtype, np.dtype] = {
    torch.float32: np.dtype("<f4"),
    torch.bfloat16: np.dtype("<u2"),
}  # NumPy has no bfloat16
NO_TABLE = np.empty(0, dtype=np.float32)
STALL_S = 300  # without a batch; a first one may wait for compilation
LEAVE_S = 10  # to finish the batch in work
SLOTS = 4  # batches that may exist at once: with the consumer, decoded, and in the making

# draw(batch number) -> augmentation parameters, float32 (B, COLUMNS). Runs in the decoding thread.
Draw = Callable[[int], np.ndarray]


class Slot(NamedTuple):
    """A batch in reused host buffers (pinned where there is CUDA), valid until it is released. images: uint8
    (B, H, W, 3), or augmented ones, (B, 3, H, W); table: the batch's augmentation, empty without one."""

    number: int
    images: torch.Tensor
    person_B: torch.Tensor
    index_B: torch.Tensor
    table: torch.Tensor


class Prefetcher:
    """Batches of one `.beton`, decoded by FFCV in the order that each epoch brings.

    batch_size: B. label_N: person_B of each of the file's samples, if not the file's own. slots: how many batches may
    exist at once, the consumer's included. workers: see numba_setup.allowed_workers. augmented: float32 or bfloat16
    has the decoding threads augment the images, padded by pad_px (augment/cpu.py); None leaves them as they are.
    """

    def __init__(
        self,
        converted: Converted,
        *,
        batch_size: int,
        label_N: np.ndarray | None = None,
        workers: int = 0,
        slots: int = SLOTS,
        augmented: torch.dtype | None = None,
        pad_px: int = 0,
    ):
        self.converted, self.label_N = converted, label_N
        self.batch_size, self.slots, self.augmented = batch_size, slots, augmented
        dtype = None if augmented is None else STORED_AS[augmented]
        self.decoder = Decoder(
            converted.structure, batch_size=batch_size, workers=workers, slots=slots, dtype=dtype, pad_px=pad_px
        )
        self._crc32_N = converted.manifest.column("crc32")
        self._verified_N = np.zeros(len(converted), dtype=bool)
        self._running = False

    @contextmanager
    def epoch(self, order: np.ndarray, draw: Draw | None = None) -> Iterator["PrefetchedEpoch"]:
        """Start decoding `order` (int64, iterations x B). draw: makes each batch's augmentation, if there is one.

        One epoch at a time: its block has to be left before the next one is entered.
        """
        order = np.asarray(order)
        if order.ndim != 2 or order.shape[1] != self.batch_size or order.dtype != np.int64:
            raise TypeError(f"order is {order.dtype} {order.shape}, expected int64 (iterations, {self.batch_size})")
        if order.size and (order.min() < 0 or order.max() >= len(self.converted)):
            raise IndexError(f"order names samples {order.min()} to {order.max()} of a set of {len(self.converted)}")
        if self._running:
            raise RuntimeError("an epoch of this loader is running, and its buffers are in use. Leave its block first")
        epoch = PrefetchedEpoch(self, order, draw)
        self._running = True
        try:
            epoch.start()
            yield epoch
        finally:
            epoch.close()
            self._running = epoch.stuck()

    def verify(self, indices: np.ndarray) -> None:
        """Raises DataError for a sample that the file no longer holds, or whose bytes changed since they were
        converted; the bytes are looked at once."""
        for sample in self.decoder.cut_off(indices).tolist():
            raise self.damaged(sample, "is cut off")
        for sample in indices[~self._verified_N[indices]].tolist():
            if zlib.crc32(self.decoder.stored(sample).data) != self._crc32_N[sample]:
                raise self.damaged(sample, "fails its checksum")
            self._verified_N[sample] = True

    def damaged(self, sample: int, how: str) -> DataError:
        source = self.converted.manifest.samples[sample][0]
        return DataError(
            f"{self.converted.path}: sample {sample} ({source}) {how}. Remove the file, then convert the data set "
            "again: make convert-datasets"
        )


def _take(free: SimpleQueue) -> int:
    """The next slot given back, once the copy out of it has ended."""
    number, event = free.get()
    if event is not None:
        event.synchronize()
    return number


class PrefetchedEpoch:
    """One pass over an order: iterate, and release each slot when its contents are no longer needed."""

    def __init__(self, stream: Prefetcher, order: np.ndarray, draw: Draw | None):
        self._stream, self._order, self._draw = stream, order, draw
        self._stopping = self._stalled = False
        self._free: SimpleQueue = SimpleQueue()
        self._ready: SimpleQueue = SimpleQueue()
        for number in range(stream.slots):
            self._free.put((number, None))
        self._thread = Thread(target=self._produce, name="ffcv-decode", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Slot]:
        for _ in range(len(self._order)):
            if self._stopping:
                raise RuntimeError("the epoch's block was left: its batches are gone")
            slot = self._next()
            if isinstance(slot, BaseException):
                raise slot
            yield slot

    def on_device(self, device: torch.device, stream: "torch.cuda.Stream | None") -> Iterator[Batch]:
        """The batches on `device`, by way of `stream`; every slot is given back when it may be written again."""
        if stream is None:
            for slot in self:
                yield Batch(slot.images, slot.person_B, slot.index_B, slot.table, len(slot.person_B))
                self.release(slot)
            return
        waiting = None
        for slot in self:
            copied = self._copy(slot, device, stream)
            if waiting is not None:
                yield _arrived(*waiting, device)
            waiting = copied
        if waiting is not None:
            yield _arrived(*waiting, device)

    def _copy(self, slot: Slot, device: torch.device, stream: torch.cuda.Stream) -> tuple[Batch, torch.cuda.Event]:
        """Start the copy to the device; the slot comes free with the event that ends it."""
        with torch.cuda.stream(stream):
            images, person, index = (
                tensor.to(device, non_blocking=True) for tensor in (slot.images, slot.person_B, slot.index_B)
            )
            table = slot.table.pin_memory().to(device, non_blocking=True)
            event = torch.cuda.Event(blocking=True)
            event.record(stream)
        self.release(slot, after=event)
        return Batch(images, person, index, table, len(person)), event

    def _next(self) -> Slot | BaseException:
        try:
            return self._ready.get(timeout=STALL_S)
        except Empty:
            self._stalled = True
            raise DataError(
                f"{self._stream.converted.path}: no batch came for {STALL_S} s. Is the disk or network that holds it "
                "stuck? Then give the same command again"
            ) from None

    def release(self, slot: Slot, after: "torch.cuda.Event | None" = None) -> None:
        """Let the buffer be used again, once `after` has happened on the device."""
        self._free.put((slot.number, after))

    def close(self) -> None:
        """Stop the decoding thread and wait for it, and for copies out of the slots: the next epoch has them all.

        The batch in work is finished first, but a disk that does not answer is not waited for: the thread then ends
        with the process. Asking for another batch is an error from here on.
        """
        self._stopping = True
        self._free.put((0, None))  # wakes the thread if it waits for a slot
        if self._thread.ident is not None:  # an interrupt may come before it runs
            self._thread.join(1 if self._stalled else LEAVE_S)
        while not self._free.empty():
            _take(self._free)

    def stuck(self) -> bool:
        """Whether its thread could not be stopped, and may still write to the slots."""
        return self._thread.is_alive()

    def _produce(self) -> None:
        try:
            self._stream.decoder.use_threads()
            for iteration, indices in enumerate(self._order):
                number = _take(self._free)
                if self._stopping:
                    return
                self._ready.put(self._decoded(iteration, indices, number))
        except BaseException as error:  # anything at all: the consumer would wait for ever
            self._ready.put(error)

    def _decoded(self, iteration: int, indices: np.ndarray, number: int) -> Slot:
        stream = self._stream
        stream.verify(indices)
        table = self._draw(iteration) if self._draw else NO_TABLE
        (images, status), persons, samples = stream.decoder.decode(indices, number, table)
        if status.any():
            raise stream.damaged(int(indices[int(np.flatnonzero(status)[0])]), "does not decode")
        if stream.label_N is not None:
            np.take(stream.label_N, samples, out=persons)
        tensor = torch.from_numpy(images)
        if stream.augmented is not None:
            tensor = tensor.view(stream.augmented)
        return Slot(
            number,
            tensor,
            torch.from_numpy(persons).view(-1),
            torch.from_numpy(samples).view(-1),
            torch.from_numpy(table),
        )


def copy_stream(device: torch.device) -> "torch.cuda.Stream | None":
    """The stream that a loader's copies run on; one a loader, for each has its own pool of device memory."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None


def _arrived(batch: Batch, event: torch.cuda.Event, device: torch.device) -> Batch:
    """Let the computing stream wait for the copy, and the allocator know that it uses the tensors."""
    computing = torch.cuda.current_stream(device)
    computing.wait_event(event)
    for tensor in (batch.images, batch.person_B, batch.index_B, batch.augmentation):
        tensor.record_stream(computing)
    return batch
