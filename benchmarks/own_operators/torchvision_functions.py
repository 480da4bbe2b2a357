"""Augments with the functions of torchvision v2 (torchvision.transforms.v2.functional), in worker processes.

The parameters come from our `draw`, as the functions draw none, so the recipe is the published one. torchvision has no
operator for the channel exchange: three lines of torch do it. Instead of to_dtype and two divisions, an image is copied
into the float batch and normalised with statistics in grey levels.

Slower on two cores: the same in threads (half as fast: they wait for the interpreter lock); the transform classes in
such processes (half as fast); see torchvision_classes.py for DataLoader.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from benchmarks.own_operators.pool import Fill, Ready, in_processes
from benchmarks.own_operators.shared import MEAN, NORMALISED_FILL, STD, exchange, pad
from pipelines.augment.draw import draw
from pipelines.augment.recipes import (
    CHANNEL_ERASE,
    CROP_LEFT,
    CROP_TOP,
    ERASE,
    EXCHANGE,
    FILL,
    FLIP,
    HUE,
    Recipe,
)


@contextmanager
def opened(images_NHWC: np.ndarray, recipe: Recipe) -> Iterator[Ready]:
    images_NCHW = pad(images_NHWC, recipe).transpose(0, 3, 1, 2)
    with in_processes("torchvision_functions", images_NCHW, images_NHWC.shape[1:3], recipe) as ready:
        yield ready


def filler(images_NCHW: np.ndarray, recipe: Recipe) -> Fill:
    from torchvision.transforms.v2 import functional

    images = torch.from_numpy(images_NCHW)
    mean, std = ([255 * value for value in values] for values in (MEAN, STD))
    erasings = [
        (first, torch.tensor(value)[:, None, None])
        for first, value in ((ERASE, NORMALISED_FILL), (CHANNEL_ERASE, FILL))
    ]

    def fill(rows: np.ndarray, out_BCHW: np.ndarray, batch: int) -> None:
        size_px = out_BCHW.shape[2:]
        drawn = draw(recipe, len(rows), *size_px, seed=0, epoch=0, iteration=batch)
        for row, out, parameters, hue in zip(
            rows, torch.from_numpy(out_BCHW), drawn.astype(int).tolist(), drawn[:, HUE].tolist(), strict=True
        ):
            top, left = (parameters[column] + recipe.pad_px for column in (CROP_TOP, CROP_LEFT))
            image = functional.crop(images[row], top, left, *size_px)
            if parameters[FLIP]:
                image = functional.horizontal_flip(image)
            if hue:
                image = functional.adjust_hue(image, hue)
            out[:] = image
            functional.normalize(out, mean, std, inplace=True)
            for first, value in erasings:
                if parameters[first + 2]:  # the rectangle's height; 0: no erasing
                    functional.erase(out, *parameters[first : first + 4], value, inplace=True)
            exchange(out.numpy(), parameters[EXCHANGE])

    return fill
