"""Holds what several tools need: the images' margin, fill values in grey levels, and the channel exchange, for which no
tool has an operator."""

import numpy as np

from pipelines.augment.normalisation import IMAGENET
from pipelines.augment.recipes import FILL, GREY, Recipe

# What normalising turns into the published fill values (the second erasing comes after it), in whole grey levels.
LEVELS = tuple(round(255 * value) for value in FILL)
MEAN, STD = IMAGENET
NORMALISED_FILL = IMAGENET.of(FILL)
CHANNEL_LEVELS = tuple(round(255 * (value * std + mean)) for value, std, mean in zip(FILL, STD, MEAN, strict=True))


def pad(images_NHWC: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Return the images with the recipe's black margin: uint8 (N, H + 2 pad, W + 2 pad, 3)."""
    margin = (recipe.pad_px, recipe.pad_px)
    return np.pad(images_NHWC, ((0, 0), margin, margin, (0, 0)))


def exchange(image: np.ndarray, choice: int) -> None:
    """Set all channels of a normalised image, float32 (3, H, W), to R, G, B (choice 1, 2, 3) or grey (4), in place; 0
    leaves it. NumPy, because torch would start threads for it."""
    if choice == 4:
        image[:] = GREY[0] * image[0] + GREY[1] * image[1] + GREY[2] * image[2]
    elif choice:
        image[:] = image[choice - 1].copy()
