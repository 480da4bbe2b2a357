"""kornia: its augmentation modules, which draw parameters of their own for each image, in worker processes.

Differences from the recipe: an erasing writes one value into all three channels, here the mean of the published ones;
it cuts a rectangle that does not fit to the image's size instead of drawing another, and draws the aspect ratio below
1 as often as above. kornia has no channel exchange: a few lines of torch do it.

Slower on two cores: whole batches, in two threads or with torch's own; a plain nn.Sequential of the modules.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import mean
from typing import Any

import numpy as np
import torch

from benchmarks.own_operators.pool import Fill, Ready, in_processes
from benchmarks.own_operators.shared import exchange, pad
from pipelines.augment.recipes import FILL, MEAN, NORMALISED_FILL, STD, ModalityRecipe, Recipe, halves

CHUNK = 12  # images at a time: their floats stay in the cache


@contextmanager
def opened(images_NHWC: np.ndarray, recipe: Recipe) -> Iterator[Ready]:
    images_NCHW = pad(images_NHWC, recipe).transpose(0, 3, 1, 2)
    with in_processes("kornia_modules", images_NCHW, images_NHWC.shape[1:3], recipe) as ready:
        yield ready


def filler(images_NCHW: np.ndarray, recipe: Recipe, worker: int) -> Fill:
    torch.manual_seed(worker)
    images, margin = torch.from_numpy(images_NCHW), 2 * recipe.pad_px
    size_px = (images.shape[2] - margin, images.shape[3] - margin)
    modules = {half: _modules(half, size_px) for half in (recipe.visible, recipe.other)}

    @torch.inference_mode()
    def fill(rows: np.ndarray, out_BCHW: np.ndarray, batch: int) -> None:
        for half, places in halves(recipe, len(rows)):
            chunks = (torch.from_numpy(array[places]).split(CHUNK) for array in (rows, out_BCHW))
            for chunk, out in zip(*chunks, strict=True):
                out[:] = modules[half](images[chunk].float().div_(255))
                if half.exchange:
                    for image, choice in zip(out, _choices(len(out), half.exchange), strict=True):
                        exchange(image.numpy(), choice)

    return fill


def _modules(half: ModalityRecipe, size_px: tuple[int, int]) -> Any:
    """padded float32 (B, 3, H + 2 pad, W + 2 pad) in [0, 1] -> float32 (B, 3, H, W)."""
    from kornia import augmentation

    steps: list[Any] = [augmentation.RandomCrop(size_px), augmentation.RandomHorizontalFlip()]
    if half.hue:
        steps.append(augmentation.ColorJiggle(hue=half.hue))
    steps.append(augmentation.Normalize(MEAN, STD))
    if half.erase:
        steps.append(augmentation.RandomErasing((0.02, 0.33), (0.3, 3.3), value=mean(NORMALISED_FILL)))
    if half.channel_erase:
        steps.append(augmentation.RandomErasing((0.02, 0.4), (0.3, 1 / 0.3), value=mean(FILL)))
    return augmentation.AugmentationSequential(*steps, data_keys=["input"])


def _choices(images: int, kinds: int) -> list[int]:
    """The channel exchange of each image, see shared.exchange. kinds: see ModalityRecipe.exchange."""
    choice = torch.randint(1, 5 if kinds == 3 else 4, (images,))
    return torch.where(torch.rand(images) < 2 / 3, choice, 0).tolist()
