"""Decodes batches of a `.beton` ahead in a thread, into a few slots that are reused, and moves each to the device.

On CUDA each batch is copied from its pinned slot on a separate stream while the previous step computes; the decoder
reuses the slot once the event that ends the copy has happened. On a CPU the batch is the slot itself. Either way **a
batch is valid until you ask for the next one**.

| FFCV's own iterator | here |
| --- | --- |
| an exception in its thread hangs the process | the exception is raised in the consumer |
| leaving an epoch early leaks a thread and its buffers | a context manager stops and joins the thread |
| may overwrite a buffer while it is copied to the device | waits for the event that ends the copy |
| hands out a damaged image | checks each sample's checksum at first use (8 us at 288 x 144) |
| a mapped file that is cut short kills the process | checks the file's size before each batch |
| does not check indices | checks that they are int64 and in range |
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NamedTuple

import numpy as np
import torch
from zlib_ng.zlib_ng import crc32

from ffcv_convert.beton import Converted
from ffcv_convert.common.errors import DataError
from pipelines.augment.recipes import Recipe
from pipelines.batch import Batch
from pipelines.decoder import Decoder, HostAugmentation

STORED_AS: dict[torch.dtype, np.dtype] = {
    torch.float32: np.dtype("<f4"),
    torch.bfloat16: np.dtype("<u2"),
}  # NumPy has no bfloat16
NO_PARAMETERS = np.empty(0, dtype=np.float32)
STALL_S = 300  # longest wait for a batch: the first one may have to wait for compilation
LEAVE_S = 10  # longest wait for the thread to finish its current batch
SLOTS = 4  # batches that exist at a time: in use, decoded and being decoded

# draw(batch number) -> augmentation parameters, float32 (rows, COLUMNS). Runs in the decoding thread.
Draw = Callable[[int], np.ndarray]


class Slot(NamedTuple):
    """A batch in reused host buffers (pinned with CUDA), valid until it is released. images: uint8 (B, H, W, 3), or
    augmented, (rows, 3, H, W); parameters: the batch's augmentation, (rows, COLUMNS), or empty."""

    number: int
    images: torch.Tensor
    person_B: torch.Tensor
    index_B: torch.Tensor
    parameters: torch.Tensor


class Prefetcher:
    """A reader that decodes batches of one `.beton` with FFCV, in an order given for each epoch.

    batch_size: B. label_N: person_B for each sample in the file; None takes the file's own. slots: how many batches
    exist at once, including the one in use. workers: see numba_setup.allowed_workers. augmented: a recipe, and float32
    or bfloat16, make the decoding threads augment the images (augment/cpu.py); None leaves them as stored.
    """

    def __init__(
        self,
        converted: Converted,
        *,
        batch_size: int,
        label_N: np.ndarray | None = None,
        workers: int = 0,
        slots: int = SLOTS,
        augmented: tuple[Recipe, torch.dtype] | None = None,
    ):
        self.converted, self.label_N = converted, label_N
        self.batch_size, self.slots = batch_size, slots
        self.augmented = augmented[1] if augmented else None
        host = HostAugmentation(augmented[0], STORED_AS[augmented[1]]) if augmented else None
        self.decoder = Decoder(converted.structure, batch_size=batch_size, workers=workers, slots=slots, host=host)
        self._crc32_N = converted.manifest.column("crc32")
        self._verified_N = np.zeros(len(converted), dtype=bool)
        self._running = False

    @contextmanager
    def epoch(self, order: np.ndarray, draw: Draw | None = None) -> Iterator["PrefetchedEpoch"]:
        """Start decoding `order` (int64, iterations x B). draw: gives each batch's augmentation parameters.

        Only one epoch runs at a time: leave its block before you enter the next one.
        """
        order = np.asarray(order)
        if order.ndim != 2 or order.shape[1] != self.batch_size or order.dtype != np.int64:
            raise TypeError(f"order is {order.dtype} {order.shape}, expected int64 (iterations, {self.batch_size})")
        if order.size and (order.min() < 0 or order.max() >= len(self.converted)):
            raise IndexError(f"order names samples {order.min()} to {order.max()} of a set of {len(self.converted)}")
        if self._running:
            raise RuntimeError("an epoch of this loader is running and uses its buffers. Leave its block first")
        epoch = PrefetchedEpoch(self, order, draw)
        self._running = True
        try:
            epoch.start()
            yield epoch
        finally:
            epoch.close()
            self._running = epoch.stuck()

    def verify(self, indices: np.ndarray) -> None:
        """Raise DataError for a sample that is cut off or whose bytes have changed since the conversion. Each sample's
        bytes are checked once."""
        for sample in self.decoder.cut_off(indices).tolist():
            raise self.damaged(sample, "is cut off")
        for sample in indices[~self._verified_N[indices]].tolist():
            if crc32(self.decoder.stored(sample).data) != self._crc32_N[sample]:
                raise self.damaged(sample, "fails its checksum")
            self._verified_N[sample] = True

    def damaged(self, sample: int, how: str) -> DataError:
        source = self.converted.manifest.samples[sample][0]
        return DataError(
            f"{self.converted.path}: sample {sample} ({source}) {how}. Remove the file, then convert the data set "
            "again: make convert-datasets"
        )


def _take(free: SimpleQueue) -> int:
    """Wait for a free slot and for the copy out of it to end; return its number."""
    number, event = free.get()
    if event is not None:
        event.synchronize()
    return number


class PrefetchedEpoch:
    """One pass over an order. Iterate over its slots, and release each one when you no longer need its contents."""

    def __init__(self, prefetcher: Prefetcher, order: np.ndarray, draw: Draw | None):
        self._prefetcher, self._order, self._draw = prefetcher, order, draw
        self._stopping = self._stalled = False
        self._free: SimpleQueue = SimpleQueue()
        self._ready: SimpleQueue = SimpleQueue()
        for number in range(prefetcher.slots):
            self._free.put((number, None))
        self._thread = Thread(target=self._produce, name="ffcv-decode", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Slot]:
        for _ in range(len(self._order)):
            if self._stopping:
                raise RuntimeError("the epoch's block was left, so it has no more batches")
            slot = self._next()
            if isinstance(slot, BaseException):
                raise slot
            yield slot

    def on_device(self, device: torch.device, stream: "torch.cuda.Stream | None") -> Iterator[Batch]:
        """Yield the batches on `device`, copied on `stream`; release each slot when it may be written again."""
        if stream is None:
            for slot in self:
                yield Batch(slot.images, slot.person_B, slot.index_B, slot.parameters, len(slot.person_B))
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
        """Start the copy to the device; the slot becomes free when the copy ends."""
        with torch.cuda.stream(stream):
            images, person, index = (
                tensor.to(device, non_blocking=True) for tensor in (slot.images, slot.person_B, slot.index_B)
            )
            parameters = slot.parameters.pin_memory().to(device, non_blocking=True)
            event = torch.cuda.Event(blocking=True)
            event.record(stream)
        self.release(slot, after=event)
        return Batch(images, person, index, parameters, len(person)), event

    def _next(self) -> Slot | BaseException:
        try:
            return self._ready.get(timeout=STALL_S)
        except Empty:
            self._stalled = True
            raise DataError(
                f"{self._prefetcher.converted.path}: no batch came for {STALL_S} s. Check the disk or network, "
                "then run the same command again"
            ) from None

    def release(self, slot: Slot, after: "torch.cuda.Event | None" = None) -> None:
        """Let the decoder use the slot again once `after` has happened on the device."""
        self._free.put((slot.number, after))

    def close(self) -> None:
        """Stop the decoding thread; wait for it and for copies out of the slots, so that the next epoch has all slots.

        The thread finishes its current batch first. If the disk does not answer, nothing waits for the thread, and it
        ends with the process. From here on, asking for another batch is an error.
        """
        self._stopping = True
        self._free.put((0, None))  # wakes the thread if it waits for a slot
        if self._thread.ident is not None:  # an interrupt may come before the thread starts
            self._thread.join(1 if self._stalled else LEAVE_S)
        while not self._free.empty():
            _take(self._free)

    def stuck(self) -> bool:
        """Whether the thread could not be stopped and may still write to the slots."""
        return self._thread.is_alive()

    def _produce(self) -> None:
        try:
            self._prefetcher.decoder.use_threads()
            for iteration, indices in enumerate(self._order):
                number = _take(self._free)
                if self._stopping:
                    return
                self._ready.put(self._decoded(iteration, indices, number))
        except BaseException as error:  # the consumer must get it, or it would wait for ever
            self._ready.put(error)

    def _decoded(self, iteration: int, indices: np.ndarray, number: int) -> Slot:
        prefetcher = self._prefetcher
        prefetcher.verify(indices)
        parameters = self._draw(iteration) if self._draw else NO_PARAMETERS
        (images, status), persons, samples = prefetcher.decoder.decode(indices, number, parameters)
        if status.any():
            raise prefetcher.damaged(int(indices[int(np.flatnonzero(status)[0])]), "does not decode")
        if prefetcher.label_N is not None:
            np.take(prefetcher.label_N, samples, out=persons)
        tensor = torch.from_numpy(images)
        if prefetcher.augmented is not None:
            tensor = tensor.view(prefetcher.augmented)
        return Slot(
            number,
            tensor,
            torch.from_numpy(persons).view(-1),
            torch.from_numpy(samples).view(-1),
            torch.from_numpy(parameters),
        )


def copy_stream(device: torch.device) -> "torch.cuda.Stream | None":
    """Return a stream for a loader's copies. Each loader has one: each stream keeps its own pool of device memory."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None


def _arrived(batch: Batch, event: torch.cuda.Event, device: torch.device) -> Batch:
    """Make the computing stream wait for the copy, and tell the allocator that this stream uses the tensors."""
    computing = torch.cuda.current_stream(device)
    computing.wait_event(event)
    for tensor in (batch.images, batch.person_B, batch.index_B, batch.augmentation):
        tensor.record_stream(computing)
    return batch
