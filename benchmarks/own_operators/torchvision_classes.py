"""Augments with torchvision v2's transform classes in the workers of torch's DataLoader: what its documentation shows.

Each worker makes whole batches (batch_size=None, with a sampler of batches). Differences from the recipe: the channel
erasing draws its aspect ratio uniformly in its logarithm and tries 10 rectangles, not 100. Both erasings come after
normalising, the first with the normalised fill value. The channel exchange is a class of our own.

Slower on two cores: batches collated from single images.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from benchmarks.own_operators.pool import CORES, Ready
from benchmarks.own_operators.shared import MEAN, NORMALISED_FILL, STD, exchange, pad
from pipelines.augment.recipes import FILL, ModalityRecipe, Recipe


class ChannelExchange(torch.nn.Module):
    """Sets all channels of a normalised image to one of `choices` (3: R, G, B; 4: also grey) with probability 2/3, in
    place."""

    def __init__(self, choices: int):
        super().__init__()
        self.choices = choices

    def forward(self, image: Tensor) -> Tensor:
        if random.random() < 2 / 3:
            exchange(image.numpy(), random.randint(1, self.choices))
        return image


class Batches(Dataset):
    """A data set of batches: rows -> float32 (B, 3, H, W), visible half first. images: padded, uint8 (N, 3, H, W)."""

    def __init__(self, images: Tensor, size_px: tuple[int, int], recipe: Recipe):
        self.images = images
        self.visible, self.other = (_transform(half, size_px) for half in (recipe.visible, recipe.other))

    def __getitem__(self, rows: np.ndarray) -> Tensor:
        transforms = (self.visible if place < len(rows) // 2 else self.other for place in range(len(rows)))
        return torch.stack([transform(self.images[row]) for transform, row in zip(transforms, rows, strict=True)])


class Plan(Sampler):
    """A sampler of the batches of the plan (iterations, B) that it holds at the time."""

    rows = np.empty((0, 0), np.int64)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


@contextmanager
def opened(images_NHWC: np.ndarray, recipe: Recipe) -> Iterator[Ready]:
    images = torch.from_numpy(np.ascontiguousarray(pad(images_NHWC, recipe).transpose(0, 3, 1, 2)))
    height, width = images_NHWC.shape[1:3]
    plan = Plan()
    loader = DataLoader(
        Batches(images, (height, width), recipe), batch_size=None, sampler=plan, num_workers=CORES,
        persistent_workers=True,
    )  # fmt: skip

    def ready(rows: np.ndarray) -> Iterator[Tensor]:
        plan.rows = rows
        yield from loader

    try:
        yield ready
    finally:
        if loader._iterator is not None:  # else persistent workers live until Python deletes the loader
            loader._iterator._shutdown_workers()  # type: ignore[attr-defined]
            loader._iterator = None


def _transform(half: ModalityRecipe, size_px: tuple[int, int]) -> torch.nn.Module:
    """Build the transform of one modality: padded uint8 (3, H + 2 pad, W + 2 pad) -> float32 (3, H, W)."""
    from torchvision.transforms import v2

    steps = [v2.RandomCrop(size_px), v2.RandomHorizontalFlip()]
    if half.hue:
        steps.append(v2.ColorJitter(hue=half.hue))
    steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD, inplace=True)]
    if half.erase:
        steps.append(v2.RandomErasing(0.5, (0.02, 0.33), (0.3, 3.3), list(NORMALISED_FILL), inplace=True))
    if half.channel_erase:
        steps.append(v2.RandomErasing(0.5, (0.02, 0.4), (0.3, 1 / 0.3), list(FILL), inplace=True))
    if half.exchange:
        steps.append(ChannelExchange(len(half.exchange.choices)))
    return v2.Compose(steps)
