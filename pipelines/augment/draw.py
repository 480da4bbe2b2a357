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
    GREYED,
    HUE,
    Erasing,
    Exchange,
    Recipe,
    blocks,
)

RANDOM_STREAM = 2  # keeps these random numbers apart from sampler.py's, which uses the same seed


def draw(
    recipe: Recipe, images: int, height: int, width: int, *, seed: int, epoch: int, iteration: int, rank: int = 0
) -> np.ndarray:
    """Draw parameters for 2PK images of `height` x `width` px, visible half first: float32 (2PK, COLUMNS), or
    (3PK, COLUMNS) where the recipe has two views, see blocks.

    Every recipe asks the generator for the same numbers, used or not, so that recipes of as many views share crops.
    """
    rng, layout = np.random.default_rng([RANDOM_STREAM, seed, epoch, iteration, rank]), blocks(recipe, images)
    count = layout[-1][2].stop
    parameters = np.zeros((count, COLUMNS), dtype=np.float32)
    parameters[:, [CROP_TOP, CROP_LEFT]] = rng.integers(-recipe.pad_px, recipe.pad_px + 1, (count, 2))
    parameters[:, FLIP] = rng.random(count) < 0.5
    hue = rng.uniform(-1.0, 1.0, count)
    erase, channel_erase = (
        _rectangles(rng, count, height, width, erasing) for erasing in (recipe.erasing, recipe.channel_erasing)
    )
    exchanged, choice = rng.random(count), rng.random(count)
    greyed = rng.random(count) < 0.5
    for modality, _, rows in layout:
        parameters[rows, HUE] = modality.hue * hue[rows]
        if modality.erase:
            parameters[rows, ERASE : ERASE + 4] = erase[rows]
        if modality.channel_erase:
            parameters[rows, CHANNEL_ERASE : CHANNEL_ERASE + 4] = channel_erase[rows]
        if modality.exchange:
            parameters[rows, EXCHANGE] = _channels(modality.exchange, exchanged[rows], choice[rows])
        if modality.grey:
            parameters[rows, GREYED] = greyed[rows]
    return parameters


def _rectangles(rng: np.random.Generator, count: int, height: int, width: int, erasing: Erasing) -> np.ndarray:
    """Draw a rectangle for each image with probability 1/2, else zeros: (count, 4), top, left, height, width in px."""
    shape = (count, erasing.attempts)
    target = rng.uniform(*erasing.area, shape) * (height * width)
    least, most = erasing.ratio
    if erasing.logarithmic:
        aspect = np.exp(rng.uniform(math.log(least), math.log(most), shape))
    else:
        aspect = rng.uniform(least, most, shape)
    high, wide = np.round(np.sqrt(target * aspect)), np.round(np.sqrt(target / aspect))
    fits = (high < height) & (wide < width)
    first = (np.arange(count), fits.argmax(axis=1))
    high, wide = high[first], wide[first]
    top = np.floor(rng.random(count) * (height - high + 1))
    left = np.floor(rng.random(count) * (width - wide + 1))
    applied = (rng.random(count) < 0.5) & fits[first]
    return np.stack([top, left, high, wide], axis=1) * applied[:, None]


def _channels(exchange: Exchange, exchanged: np.ndarray, choice: np.ndarray) -> np.ndarray:
    """Turn two random numbers in [0, 1) of each image into its value of EXCHANGE."""
    chosen = np.array(exchange.choices)[(choice * len(exchange.choices)).astype(np.int64)]
    return np.where(exchanged < exchange.probability, chosen, 0)
