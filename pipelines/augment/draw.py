"""Draws a batch's augmentation parameters: a pure function of (recipe, seed, epoch, iteration, rank), so that a resumed
run draws the same ones.
"""

import math

import numpy as np

from pipelines.augment.recipes import (
    CHANNEL_ERASE,
    COLUMNS,
    CROP_LEFT,
    CROP_TOP,
    ERASE,
    EXCHANGE,
    FLIP,
    HUE,
    Recipe,
    halves,
)

RANDOM_STREAM = 2  # keeps these random numbers apart from sampler.py's, which uses the same seed


def draw(
    recipe: Recipe, batch: int, height: int, width: int, *, seed: int, epoch: int, iteration: int, rank: int = 0
) -> np.ndarray:
    """Draw parameters for `batch` images of `height` x `width` px, visible half first: float32 (batch, COLUMNS)."""
    rng = np.random.default_rng([RANDOM_STREAM, seed, epoch, iteration, rank])
    parameters = np.zeros((batch, COLUMNS), dtype=np.float32)
    parameters[:, [CROP_TOP, CROP_LEFT]] = rng.integers(-recipe.pad_px, recipe.pad_px + 1, (batch, 2))
    parameters[:, FLIP] = rng.random(batch) < 0.5
    hue = rng.uniform(-1.0, 1.0, batch)
    erase = _rectangles(rng, batch, height, width, area=(0.02, 0.33), ratio=(0.3, 3.3), logarithmic=True, attempts=10)
    channel_erase = _rectangles(
        rng, batch, height, width, area=(0.02, 0.4), ratio=(0.3, 1 / 0.3), logarithmic=False, attempts=100
    )
    exchanged, choice = rng.random(batch) < 2 / 3, rng.random(batch)
    for modality, rows in halves(recipe, batch):
        parameters[rows, HUE] = modality.hue * hue[rows]
        if modality.erase:
            parameters[rows, ERASE : ERASE + 4] = erase[rows]
        if modality.channel_erase:
            parameters[rows, CHANNEL_ERASE : CHANNEL_ERASE + 4] = channel_erase[rows]
        if modality.exchange:
            channels = 4 if modality.exchange == 3 else 3
            parameters[rows, EXCHANGE] = np.where(exchanged[rows], 1 + np.floor(choice[rows] * channels), 0)
    return parameters


def _rectangles(
    rng: np.random.Generator,
    batch: int,
    height: int,
    width: int,
    *,
    area: tuple[float, float],
    ratio: tuple[float, float],
    logarithmic: bool,
    attempts: int,
) -> np.ndarray:
    """Draw a rectangle for each image with probability 1/2, else zeros: (batch, 4), top, left, height, width in px.

    Draws area (share of the image) and ratio (height / width) `attempts` times and takes the first pair that fits.
    """
    target = rng.uniform(*area, (batch, attempts)) * (height * width)
    if logarithmic:
        aspect = np.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1]), (batch, attempts)))
    else:
        aspect = rng.uniform(*ratio, (batch, attempts))
    high, wide = np.round(np.sqrt(target * aspect)), np.round(np.sqrt(target / aspect))
    fits = (high < height) & (wide < width)
    first = (np.arange(batch), fits.argmax(axis=1))
    high, wide = high[first], wide[first]
    top = np.floor(rng.random(batch) * (height - high + 1))
    left = np.floor(rng.random(batch) * (width - wide + 1))
    applied = (rng.random(batch) < 0.5) & fits[first]
    return np.stack([top, left, high, wide], axis=1) * applied[:, None]
