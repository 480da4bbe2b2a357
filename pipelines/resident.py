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

from pipelines import augment
from pipelines.index import Part
from pipelines.loaders import Batch, TestLoader
from pipelines.schedule import Schedule

LOADING_BATCH = 256
SHARE = 0.5  # of the free memory; the rest is for the network


def fits(part: Part, device: torch.device) -> bool:
    """Whether the part's pictures take no more than SHARE of the device's free memory; never on a CPU, where streaming
    augments in the loader."""
    if device.type != "cuda":
        return False
    manifest = part.converted.manifest
    needed = len(part.sample_N) * manifest.height_px * manifest.width_px * 3
    return needed <= SHARE * torch.cuda.mem_get_info(device)[0]


def is_resident(source: Literal["auto", "stream", "resident"], part: Part, device: torch.device) -> bool:
    """What data.source asks for; auto: resident on CUDA, if the part fits."""
    return source == "resident" or (source == "auto" and fits(part, device))


def load_images(part: Part, sample_N: np.ndarray, device: torch.device, workers: int) -> Tensor:
    """The pictures of some of the file's samples, in that order, on the device: uint8 (N, H, W, 3)."""
    manifest = part.converted.manifest
    shape = (len(sample_N), manifest.height_px, manifest.width_px, 3)
    images = torch.empty(shape, dtype=torch.uint8, device=device)
    loader, first = TestLoader(part.converted, batch_size=LOADING_BATCH, device=device, workers=workers), 0
    with loader.samples(sample_N) as batches:
        for batch in batches:
            images[first : first + batch.count] = batch.images[: batch.count]
            first += batch.count
    return images


class ResidentTestLoader:
    """As TestLoader, of a part whose pictures stay on `device` after they were loaded for the first batch."""

    def __init__(self, part: Part, *, batch_size: int, device: torch.device, workers: int = 0):
        self._part, self._workers, self._device = part, workers, device
        self._batch_size = batch_size
        self._row_of = np.full(len(part.converted), -1)
        self._row_of[part.sample_N] = np.arange(len(part.sample_N))
        self._images: Tensor | None = None

    @contextmanager
    def samples(self, indices: np.ndarray) -> Iterator[Iterator[Batch]]:
        """Batches of `indices` (int64); the last is filled up with its last sample, see Batch.count."""
        if self._images is None:
            self._images = load_images(self._part, self._part.sample_N, self._device, self._workers)
        missing = -len(indices) % self._batch_size
        samples = torch.from_numpy(np.concatenate([indices, np.repeat(indices[-1:], missing)])).to(self._device)
        rows = torch.from_numpy(self._row_of).to(self._device)[samples]
        yield self._batches(self._images, samples, rows, len(indices))

    def _batches(self, images: Tensor, samples: Tensor, rows: Tensor, wanted: int) -> Iterator[Batch]:
        none = torch.empty(0, device=self._device)
        for first in range(0, len(rows), self._batch_size):
            chosen = slice(first, first + self._batch_size)
            count = min(self._batch_size, wanted - first)
            yield Batch(images[rows[chosen]], none, samples[chosen], none, count)


class ResidentLoader(Schedule):
    """As TrainLoader, of a part that it holds on `device`. `images` of a batch are rows of it, int64 (B,)."""

    def __init__(self, part: Part, *, device: torch.device, workers: int = 0, **schedule: Any):
        super().__init__(part, **schedule)
        self._device = device
        self._row_of = self.of_sample(np.arange(len(self.index)), len(part.converted))
        self._label_of = self.of_sample(self.index.person_N, len(part.converted))
        self.images_NHWC = load_images(part, self.index.sample_N, device, workers)

    def augment(self, rows_B: Tensor, table: Tensor) -> Tensor:
        """A batch's rows and table -> (B, 3, H, W) float, for the step to call."""
        return augment.apply(self.images_NHWC[rows_B], table, self.recipe)

    @contextmanager
    def epoch(self, epoch: int, start: int = 0) -> Iterator[Iterator[Batch]]:
        """The batches of `epoch` from iteration `start` on."""
        yield self._batches(epoch, start)

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        samples = self.plan(epoch)[start:]
        rows, persons, indices = (
            torch.from_numpy(column).to(self._device)
            for column in (self._row_of[samples], self._label_of[samples], samples)
        )  # of the whole epoch, at once
        for number in range(len(samples)):
            table = torch.from_numpy(self.table(epoch, start + number))
            if self._device.type == "cuda":
                table = table.pin_memory().to(self._device, non_blocking=True)
            yield Batch(rows[number], persons[number], indices[number], table, self.batch_size)
