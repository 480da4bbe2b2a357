"""Pictures as uint8 in the device's memory: a training batch is then 48 row numbers and a small table.

SYSU-MM01 takes 4.3 GB at 288 x 144. The pictures are selected and augmented inside the step, so that it can be captured
as a CUDA graph, and nothing but kilobytes crosses the bus.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ffcv_convert.common.world import World
from pipelines.augment.apply import apply
from pipelines.batch import Batch, padded
from pipelines.epoch_plan import EpochPlan
from pipelines.streamed import StreamedTestLoader
from pipelines.subset import Subset

LOADING_BATCH = 256
SHARE = 0.5  # of the free memory; the rest is for the network


def fits(subset: Subset, device: torch.device) -> bool:
    """Whether the images take no more than SHARE of the device's free memory; never on a CPU, where streaming
    augments in the loader."""
    if device.type != "cuda":
        return False
    manifest = subset.converted.manifest
    needed = len(subset.sample_N) * manifest.height_px * manifest.width_px * 3
    return needed <= SHARE * torch.cuda.mem_get_info(device)[0]


def is_resident(source: Literal["auto", "stream", "resident"], subset: Subset, device: torch.device) -> bool:
    """What data.source asks for; auto: resident on CUDA, if they fit."""
    return source == "resident" or (source == "auto" and fits(subset, device))


def load_images(subset: Subset, sample_N: np.ndarray, device: torch.device, workers: int) -> Tensor:
    """The images of some of the file's samples, in that order, on the device: uint8 (N, H, W, 3)."""
    manifest = subset.converted.manifest
    shape = (len(sample_N), manifest.height_px, manifest.width_px, 3)
    images = torch.empty(shape, dtype=torch.uint8, device=device)
    loader, first = StreamedTestLoader(subset.converted, batch_size=LOADING_BATCH, device=device, workers=workers), 0
    with loader.samples(sample_N) as batches:
        for batch in batches:
            images[first : first + batch.count] = batch.images[: batch.count]
            first += batch.count
    return images


class ResidentTestLoader:
    """As StreamedTestLoader, of a subset whose images stay on `device` after they were loaded for the first batch."""

    def __init__(self, subset: Subset, *, batch_size: int, device: torch.device, workers: int = 0):
        self._subset, self._workers, self._device = subset, workers, device
        self._batch_size = batch_size
        self._images: Tensor | None = None

    @contextmanager
    def samples(self, indices: np.ndarray) -> Iterator[Iterator[Batch]]:
        """Batches of `indices` (int64); the last is filled up with its last sample, see Batch.count."""
        if self._images is None:
            self._images = load_images(self._subset, self._subset.sample_N, self._device, self._workers)
        order = torch.from_numpy(padded(indices, self._batch_size)).to(self._device)
        row_of_sample = torch.from_numpy(self._subset.row_of_sample).to(self._device)
        yield self._batches(self._images, order, row_of_sample, len(indices))

    def _batches(self, images: Tensor, order: Tensor, row_of_sample: Tensor, wanted: int) -> Iterator[Batch]:
        none = torch.empty(0, device=self._device)
        for number, samples in enumerate(order):
            count = min(self._batch_size, wanted - number * self._batch_size)
            yield Batch(images[row_of_sample[samples]], none, samples, none, count)


class ResidentLoader(EpochPlan):
    """As StreamedLoader, of a subset that it holds on `device`. `images` of a batch are rows of it, int64 (B,)."""

    def __init__(self, subset: Subset, *, world: World, workers: int = 0, **plan: Any):
        super().__init__(subset, world=world, **plan)
        self._device = world.device
        self.images_NHWC = load_images(subset, self.index.sample_N, world.device, workers)

    def augment(self, rows_B: Tensor, table: Tensor) -> Tensor:
        """A batch's rows and table -> (B, 3, H, W) float, for the step to call."""
        return apply(self.images_NHWC[rows_B], table, self.recipe)

    @contextmanager
    def epoch(self, epoch: int, start: int = 0) -> Iterator[Iterator[Batch]]:
        """The batches of `epoch` from iteration `start` on."""
        yield self._batches(epoch, start)

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        samples = self.plan(epoch)[start:]
        rows, persons, indices = (
            torch.from_numpy(column).to(self._device)
            for column in (self.row_of_sample[samples], self.label_of_sample[samples], samples)
        )  # of the whole epoch, at once
        for number in range(len(samples)):
            table = torch.from_numpy(self.table(epoch, start + number))
            if self._device.type == "cuda":
                table = table.pin_memory().to(self._device, non_blocking=True)
            yield Batch(rows[number], persons[number], indices[number], table, self.batch_size)
