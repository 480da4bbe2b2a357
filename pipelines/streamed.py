"""Streams training or test batches: a thread decodes them ahead, then they are copied to the device."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ffcv_convert.beton import Converted
from ffcv_convert.common.world import World
from pipelines.augment.apply import Modalities, apply
from pipelines.batch import Batch, padded
from pipelines.epoch_plan import EpochPlan, PlanOptions
from pipelines.prefetch import Prefetcher, copy_stream
from pipelines.subset import Subset


class StreamedLoader(EpochPlan):
    """A loader that streams the batches of an EpochPlan from the `.beton`.

    augment_on: "device" yields uint8 images, which the training step augments by calling `augment`; "host" augments in
    the decoding threads (augment/cpu.py) and yields float images of `dtype`, which `augment` returns unchanged.
    """

    def __init__(
        self,
        subset: Subset,
        options: PlanOptions,
        *,
        world: World,
        workers: int = 0,
        augment_on: Literal["device", "host"] = "device",
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__(subset, options, world=world)
        self._on_host = augment_on == "host"
        self._prefetcher = Prefetcher(
            subset.converted, batch_size=self.batch_size, label_N=self.label_of_sample, workers=workers,
            augmented=(self.recipe, dtype) if self._on_host else None,
        )  # fmt: skip
        self._device, self._copies = world.device, copy_stream(world.device)

    def augment(self, images: Tensor, parameters: Tensor) -> Modalities:
        """Turn a batch's images and parameters into its augmented modalities, see apply. The training step calls it."""
        if not self._on_host:
            return apply(images, parameters, self.recipe)
        visible = len(images) * self.recipe.views // (self.recipe.views + 1)
        return images[:visible], images[visible:]

    @contextmanager
    def epoch(self, epoch: int, start: int = 0) -> Iterator[Iterator[Batch]]:
        """Yield the batches of `epoch`, starting at iteration `start`. Leaving the block stops the decoding."""
        with self._prefetcher.epoch(
            self.plan(epoch)[start:], lambda batch: self.parameters(epoch, start + batch)
        ) as slots:
            yield slots.on_device(self._device, self._copies)


class StreamedTestLoader:
    """A loader that yields every chosen sample once, in order, in batches of equal size."""

    __test__ = False  # pytest: not a test class

    def __init__(self, converted: Converted, *, batch_size: int, device: torch.device, workers: int = 0):
        self._prefetcher = Prefetcher(converted, batch_size=batch_size, workers=workers)
        self._copies = copy_stream(device)
        self.batch_size, self._device = batch_size, device

    @contextmanager
    def samples(self, indices: np.ndarray) -> Iterator[Iterator[Batch]]:
        """Yield the batches of `indices` (int64); the last one is filled up, see Batch.count."""
        order = padded(indices, self.batch_size)
        with self._prefetcher.epoch(order) as slots:
            batches = slots.on_device(self._device, self._copies)
            last = len(order) - 1
            yield (
                replace(batch, count=len(indices) - last * self.batch_size) if number == last else batch
                for number, batch in enumerate(batches)
            )
