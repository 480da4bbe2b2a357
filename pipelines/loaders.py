"""`.beton` -> Batch on the device: FFCV decodes, our own copy moves, the sampler plans, the augmentation is drawn.

On CUDA each batch is copied from its pinned slot on a stream of its own while the step before it computes, and the
slot goes back to the decoder together with the event that ends the copy. On the CPU a batch lies in the slot itself.
Either way **a batch is valid until the next one is asked for**.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ffcv_convert.schema import Converted
from pipelines import augment
from pipelines.index import Part, index_of
from pipelines.sampler import Replacement, plan_epoch, scheduled_iterations
from pipelines.stream import Epoch, Slot, Stream


@dataclass(frozen=True)
class Batch:
    """images_BHWC: uint8, visible half first; person_B, index_B (row in the manifest): int64; augmentation: the table
    of augment.draw, empty in testing. Rows from `count` on fill up an odd last batch and are to be ignored."""

    images_BHWC: Tensor
    person_B: Tensor
    index_B: Tensor
    augmentation: Tensor
    count: int


class TrainLoader:
    """Batches of P identities x K pictures x two modalities, augmented by `recipe`.

    `iterations` is the epoch's length: floor(max(visible, infrared) / (P K)), and one more with `extra_iteration`, as
    the published code runs it. Every epoch is a function of (seed, epoch) alone and can be entered in the middle.
    """

    def __init__(
        self,
        part: Part,
        *,
        persons: int,
        pictures: int,
        recipe: augment.Recipe,
        seed: int,
        device: torch.device,
        workers: int = 0,
        replacement: Replacement = "always",
        extra_iteration: bool = False,
    ):
        converted = part.converted
        self.index = index_of(part)
        self.recipe = recipe
        if converted.manifest.infrared_grey:  # hue does nothing to grey pixels: leave it out
            self.recipe = replace(recipe, other=replace(recipe.other, hue=0.0))
        self.identities = int(self.index.person_N.max()) + 1
        self.sha256 = converted.manifest.sha256
        self.iterations = scheduled_iterations(self.index, persons, pictures) + extra_iteration
        self.batch_size = 2 * persons * pictures
        self._persons, self._pictures, self._replacement = persons, pictures, replacement
        self.size_px = (converted.manifest.height_px, converted.manifest.width_px)
        self._device, self._seed = device, seed
        self.plan(0)
        label_N = np.full(len(converted), -1)
        label_N[self.index.sample_N] = self.index.person_N
        self._stream = Stream(converted, batch_size=self.batch_size, label_N=label_N, workers=workers)
        self._copies = copy_stream(device)

    def plan(self, epoch: int) -> np.ndarray:
        """Sample numbers of every batch of `epoch`: int64 (iterations, batch)."""
        return plan_epoch(
            self.index,
            persons=self._persons,
            pictures=self._pictures,
            iterations=self.iterations,
            seed=self._seed,
            epoch=epoch,
            replacement=self._replacement,
        )

    @contextmanager
    def epoch(self, epoch: int, start: int = 0) -> Iterator[Iterator[Batch]]:
        """The batches of `epoch` from iteration `start` on. Leaving the block stops the decoding."""

        def table(batch: int) -> Tensor:
            drawn = augment.draw(
                self.recipe, self.batch_size, *self.size_px, seed=self._seed, epoch=epoch, iteration=start + batch
            )
            table = torch.from_numpy(drawn)
            return table.pin_memory() if self._device.type == "cuda" else table

        with self._stream.epoch(self.plan(epoch)[start:], table) as slots:
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
            yield Batch(slot.images_BHWC, slot.person_B, slot.index_B, slot.extra, len(slot.person_B))
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
            tensor.to(device, non_blocking=True) for tensor in (slot.images_BHWC, slot.person_B, slot.index_B)
        )
        table = slot.extra.to(device, non_blocking=True)
        event = torch.cuda.Event(blocking=True)
        event.record(stream)
    slots.release(slot, after=event)
    return Batch(images, person, index, table, len(person)), event


def _arrived(batch: Batch, event: torch.cuda.Event, device: torch.device) -> Batch:
    """Let the computing stream wait for the copy, and the allocator know that it uses the tensors."""
    computing = torch.cuda.current_stream(device)
    computing.wait_event(event)
    for tensor in (batch.images_BHWC, batch.person_B, batch.index_B, batch.augmentation):
        tensor.record_stream(computing)
    return batch
