"""Keeps all images as uint8 in the device's memory: a training batch is then row numbers and augmentation parameters.

SYSU-MM01 takes 4.3 GB at 288 x 144. The training step selects and augments the images, so it can be captured as a CUDA
graph, and only kilobytes per batch cross the bus.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ffcv_convert.common.world import World
from pipelines.augment.apply import Modalities, apply
from pipelines.batch import Batch, padded
from pipelines.epoch_plan import EpochPlan, PlanOptions
from pipelines.streamed import StreamedTestLoader
from pipelines.subset import Subset

LOADING_BATCH = 256
FOR_THE_STEP = 5 << 30  # bytes: ResNet-50's step in bf16 reserves 4.75 GB beside the images, by `make check-cuda`


def fits(subset: Subset, device: torch.device) -> bool:
    """Whether the images fit into the device's free memory beside the training step. False on a CPU, where the streamed
    loader can augment while it decodes."""
    if device.type != "cuda":
        return False
    manifest = subset.converted.manifest
    needed = len(subset.sample_N) * manifest.height_px * manifest.width_px * 3
    return needed + FOR_THE_STEP <= torch.cuda.mem_get_info(device)[0]


def is_resident(source: Literal["auto", "stream", "resident"], subset: Subset, device: torch.device) -> bool:
    """Whether the images are kept on the device: `source` says so; auto keeps them on CUDA, if they fit."""
    return source == "resident" or (source == "auto" and fits(subset, device))


def load_images(subset: Subset, sample_N: np.ndarray, device: torch.device, workers: int) -> Tensor:
    """Load the images of the given samples, in that order, to the device: uint8 (N, H, W, 3)."""
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
    """A loader like StreamedTestLoader; its first call loads all images of the subset to `device`, where they stay."""

    def __init__(self, subset: Subset, *, batch_size: int, device: torch.device, workers: int = 0):
        self._subset, self._workers, self._device = subset, workers, device
        self.batch_size = batch_size
        self._images: Tensor | None = None

    @contextmanager
    def samples(self, indices: np.ndarray) -> Iterator[Iterator[Batch]]:
        """Yield the batches of `indices` (int64); the last one is filled up, see Batch.count."""
        if self._images is None:
            self._images = load_images(self._subset, self._subset.sample_N, self._device, self._workers)
        order = torch.from_numpy(padded(indices, self.batch_size)).to(self._device)
        row_of_sample = torch.from_numpy(self._subset.row_of_sample).to(self._device)
        yield self._batches(self._images, order, row_of_sample, len(indices))

    def _batches(self, images: Tensor, order: Tensor, row_of_sample: Tensor, wanted: int) -> Iterator[Batch]:
        none = torch.empty(0, device=self._device)
        for number, samples in enumerate(order):
            count = min(self.batch_size, wanted - number * self.batch_size)
            yield Batch(images[row_of_sample[samples]], none, samples, none, count)


class ResidentLoader(EpochPlan):
    """A loader like StreamedLoader, which holds all images on the device; Batch.images are row numbers, int64 (B,)."""

    def __init__(self, subset: Subset, options: PlanOptions, *, world: World, workers: int = 0):
        super().__init__(subset, options, world=world)
        self._device = world.device
        self.images_NHWC = load_images(subset, self.index.sample_N, world.device, workers)

    def augment(self, rows_B: Tensor, parameters: Tensor) -> Modalities:
        """Turn a batch's rows and parameters into its augmented modalities, see apply. The training step calls it."""
        return apply(self.images_NHWC[rows_B], parameters, self.recipe)

    @contextmanager
    def epoch(self, epoch: int, start: int = 0) -> Iterator[Iterator[Batch]]:
        """Yield the batches of `epoch`, starting at iteration `start`."""
        yield self._batches(epoch, start)

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        samples = self.plan(epoch)[start:]
        rows, persons, indices = (
            torch.from_numpy(column).to(self._device)
            for column in (self.row_of_sample[samples], self.label_of_sample[samples], samples)
        )  # one copy for the whole epoch
        for number in range(len(samples)):
            parameters = torch.from_numpy(self.parameters(epoch, start + number))
            if self._device.type == "cuda":
                parameters = parameters.pin_memory().to(self._device, non_blocking=True)
            yield Batch(rows[number], persons[number], indices[number], parameters, self.batch_size)
