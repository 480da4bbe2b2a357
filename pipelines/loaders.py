"""`.beton` -> Batch on the device: FFCV decodes, our own copy moves, the sampler plans, the augmentation is drawn.

On CUDA each batch is copied from its pinned slot on a stream of its own while the step before it computes, and the
slot goes back to the decoder together with the event that ends the copy. On the CPU a batch lies in the slot itself.
Either way **a batch is valid until the next one is asked for**.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ffcv_convert.schema import Converted
from pipelines import augment
from pipelines.index import Part
from pipelines.schedule import Schedule
from pipelines.stream import Epoch, Slot, Stream


@dataclass(frozen=True)
class Batch:
    """images: uint8 (B, H, W, 3), visible half first, or what the loader's `augment` takes in their place; person_B,
    index_B (row in the manifest): int64; augmentation: the table of augment.draw, empty in testing. Rows from `count`
    on fill up an odd last batch and are to be ignored."""

    images: Tensor
    person_B: Tensor
    index_B: Tensor
    augmentation: Tensor
    count: int


class TrainLoader(Schedule):
    """Batches of the schedule, streamed from the `.beton`.

    augment_on: "device" hands out uint8 images, for `augment` to work on in the step; "host" augments them in the
    decoding threads (augment_jit) into float images of dtype, which `augment` returns as they are.
    """

    def __init__(
        self,
        part: Part,
        *,
        device: torch.device,
        workers: int = 0,
        augment_on: Literal["device", "host"] = "device",
        dtype: torch.dtype = torch.float32,
        **schedule: Any,
    ):
        super().__init__(part, **schedule)
        label_N = self.of_sample(self.index.person_N, len(part.converted))
        self._augmented = dtype if augment_on == "host" else None
        self._stream = Stream(
            part.converted, batch_size=self.batch_size, label_N=label_N, workers=workers, augmented=self._augmented,
            pad_px=self.recipe.pad_px,
        )  # fmt: skip
        self._device, self._copies = device, copy_stream(device)

    def augment(self, images: Tensor, table: Tensor) -> Tensor:
        """A batch's images and table -> (B, 3, H, W) float, for the step to call."""
        return images if self._augmented else augment.apply(images, table, self.recipe)

    @contextmanager
    def epoch(self, epoch: int, start: int = 0) -> Iterator[Iterator[Batch]]:
        """The batches of `epoch` from iteration `start` on. Leaving the block stops the decoding."""

        with self._stream.epoch(self.plan(epoch)[start:], lambda batch: self.table(epoch, start + batch)) as slots:
            yield on_device(slots, self._device, self._copies)


class TestLoader:
    """Every chosen sample once, in order, in batches of one size."""

    __test__ = False  # pytest: not a test class

    def __init__(self, converted: Converted, *, batch_size: int, device: torch.device, workers: int = 0):
        self._stream = Stream(converted, batch_size=batch_size, workers=workers)
        self._copies = copy_stream(device)
        self._batch_size, self._device = batch_size, device

    @contextmanager
    def samples(self, indices: np.ndarray) -> Iterator[Iterator[Batch]]:
        """Batches of `indices` (int64); the last is filled up with its last sample, see Batch.count."""
        missing = -len(indices) % self._batch_size
        order = np.concatenate([indices, np.repeat(indices[-1:], missing)]).reshape(-1, self._batch_size)
        with self._stream.epoch(order) as slots:
            batches = on_device(slots, self._device, self._copies)
            last = len(order) - 1
            yield (
                replace(batch, count=self._batch_size - missing) if number == last else batch
                for number, batch in enumerate(batches)
            )


def copy_stream(device: torch.device) -> "torch.cuda.Stream | None":
    """The stream that a loader's copies run on; one a loader, for each has its own pool of device memory."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None


def on_device(slots: Epoch, device: torch.device, stream: "torch.cuda.Stream | None") -> Iterator[Batch]:
    """Hand out the epoch's batches on `device`, and give every slot back when it may be written again."""
    if stream is None:
        for slot in slots:
            yield Batch(slot.images, slot.person_B, slot.index_B, slot.table, len(slot.person_B))
            slots.release(slot)
        return
    waiting = None
    for slot in slots:
        copied = _copy(slot, slots, stream, device)
        if waiting is not None:
            yield _arrived(*waiting, device)
        waiting = copied
    if waiting is not None:
        yield _arrived(*waiting, device)


def _copy(slot: Slot, slots: Epoch, stream: torch.cuda.Stream, device: torch.device) -> tuple[Batch, torch.cuda.Event]:
    """Start the copy to the device; the slot comes free with the event that ends it."""
    with torch.cuda.stream(stream):
        images, person, index = (
            tensor.to(device, non_blocking=True) for tensor in (slot.images, slot.person_B, slot.index_B)
        )
        table = slot.table.pin_memory().to(device, non_blocking=True)
        event = torch.cuda.Event(blocking=True)
        event.record(stream)
    slots.release(slot, after=event)
    return Batch(images, person, index, table, len(person)), event


def _arrived(batch: Batch, event: torch.cuda.Event, device: torch.device) -> Batch:
    """Let the computing stream wait for the copy, and the allocator know that it uses the tensors."""
    computing = torch.cuda.current_stream(device)
    computing.wait_event(event)
    for tensor in (batch.images, batch.person_B, batch.index_B, batch.augmentation):
        tensor.record_stream(computing)
    return batch
