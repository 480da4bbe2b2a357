"""Holds the published code's data path, rewritten so that the benchmarks can compare with it.

The pixels are in memory, already resized. Worker processes of torch's DataLoader apply Pillow and torchvision
transforms to each image. A sample is one visible and one infrared image; a batch has P K samples.
"""

import math
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision import transforms

from pipelines.augment.normalisation import IMAGENET
from pipelines.augment.recipes import FILL, GREY, ModalityRecipe, Recipe


class ChannelErase:
    """Fills a rectangle of the normalised image with FILL, not normalised (as published), with probability 1/2."""

    def __call__(self, image: Tensor) -> Tensor:
        if random.random() > 0.5:
            return image
        _, height, width = image.shape
        for _ in range(100):
            area, aspect = random.uniform(0.02, 0.4) * height * width, random.uniform(0.3, 1 / 0.3)
            high, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if high < height and wide < width:
                top, left = random.randint(0, height - high), random.randint(0, width - wide)
                for channel, value in enumerate(FILL):
                    image[channel, top : top + high, left : left + wide] = value
                return image
        return image


class ChannelExchange:
    """Sets all channels to one of `choices` (3: R, G, B; 4: also grey), with probability 2/3."""

    def __init__(self, choices: int):
        self.choices = choices

    def __call__(self, image: Tensor) -> Tensor:
        if random.random() > 2 / 3:
            return image
        choice = random.randrange(self.choices)
        grey = GREY[0] * image[0] + GREY[1] * image[1] + GREY[2] * image[2]
        return (grey if choice == 3 else image[choice]).expand_as(image).clone()


def reference_transform(half: ModalityRecipe, recipe: Recipe, height_px: int, width_px: int) -> transforms.Compose:
    """Return one modality's augmentations in the published order: uint8 (H, W, 3) array -> float32 (3, H, W)."""
    steps = [
        transforms.ToPILImage(),
        transforms.Pad(recipe.pad_px),
        transforms.RandomCrop((height_px, width_px)),
        transforms.RandomHorizontalFlip(),
    ]
    if half.hue:
        steps.append(transforms.ColorJitter(hue=half.hue))
    steps.append(transforms.ToTensor())
    if half.erase:
        steps.append(transforms.RandomErasing(p=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=list(FILL)))
    steps.append(transforms.Normalize(*IMAGENET))
    if half.channel_erase:
        steps.append(ChannelErase())
    if half.exchange:
        steps.append(ChannelExchange(len(half.exchange.choices)))
    return transforms.Compose(steps)


class ReferencePairs(Dataset):
    """Pairs of augmented images. images_NHWC: uint8, in memory; a pair is given by its row numbers (visible, other)."""

    def __init__(self, images_NHWC: np.ndarray, recipe: Recipe):
        self.images_NHWC = images_NHWC
        height, width = images_NHWC.shape[1:3]
        self.visible = reference_transform(recipe.visible, recipe, height, width)
        self.other = reference_transform(recipe.other, recipe, height, width)

    def __getitem__(self, pair: tuple[int, int]) -> tuple[Tensor, Tensor]:
        visible, other = pair
        return self.visible(self.images_NHWC[visible]), self.other(self.images_NHWC[other])


class _Planned(Sampler):
    """A sampler that yields the pairs of a plan (iterations, 2 P K) in order."""

    def __init__(self, rows: np.ndarray):
        half = rows.shape[1] // 2
        self.pairs = list(zip(rows[:, :half].ravel().tolist(), rows[:, half:].ravel().tolist(), strict=True))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)


def reference_batches(images_NHWC: np.ndarray, rows: np.ndarray, recipe: Recipe, *, workers: int) -> Iterator[Tensor]:
    """Yield augmented batches, float32 (2 P K, 3, H, W). rows: the plan, int64 (iterations, 2 P K) into images_NHWC."""
    loader = DataLoader(
        ReferencePairs(images_NHWC, recipe), batch_size=rows.shape[1] // 2, sampler=_Planned(rows), num_workers=workers
    )
    for visible, other in loader:
        yield torch.cat([visible, other])
