"""The training pictures as uint8 in the device's memory: a batch is then 48 row numbers and a small table.

SYSU-MM01 takes 4.3 GB at 288 x 144. The pictures are selected and augmented inside the step, so that it can be captured
as a CUDA graph, and nothing but kilobytes crosses the bus.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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


class ResidentLoader(Schedule):
    """As TrainLoader, of a part that it holds on `device`. `images` of a batch are rows of it, int64 (B,)."""

    def __init__(self, part: Part, *, device: torch.device, workers: int = 0, **schedule: Any):
        super().__init__(part, **schedule)
        self._device = device
        self._row_of = self.of_sample(np.arange(len(self.index)), len(part.converted))
        self._label_of = self.of_sample(self.index.person_N, len(part.converted))
        self.images_NHWC = torch.empty(len(self.index), *self.size_px, 3, dtype=torch.uint8, device=device)
        loader = TestLoader(part.converted, batch_size=LOADING_BATCH, device=device, workers=workers)
        row_of = torch.from_numpy(self._row_of).to(device)
        with loader.samples(self.index.sample_N) as batches:
            for batch in batches:
                self.images_NHWC[row_of[batch.index_B[: batch.count]]] = batch.images[: batch.count]

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
