"""The published augmentations in two steps: draw a table of numbers, then apply it.

`draw` is a pure function of (recipe, seed, epoch, iteration): a resumed run repeats itself. `apply` is deterministic
and batched, works on any device, and never looks at the table's values to decide what to run: it can be compiled.
Every image has its own draw. Order, probabilities and ranges are those of the published code.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FILL = (0.4914, 0.4822, 0.4465)  # both erasings: before normalising, and, as they are, after it
GREY = (0.2989, 0.5870, 0.1140)
# Of a pixel of 0 to 255: pixel * SCALE - SHIFT is (pixel / 255 - MEAN) / STD.
SCALE, SHIFT = tuple(1 / (255 * std) for std in STD), tuple(mean / std for mean, std in zip(MEAN, STD, strict=True))
NORMALISED_FILL = tuple((fill - mean) / std for fill, mean, std in zip(FILL, MEAN, STD, strict=True))

# Columns of the table, float32 (B, COLUMNS).
CROP_TOP, CROP_LEFT, FLIP, HUE = 0, 1, 2, 3
ERASE, CHANNEL_ERASE = 4, 8  # top, left, height, width; a height of 0 erases nothing
EXCHANGE = 12  # 0 keeps the image; 1, 2, 3 all channels become R, G, B; 4 grey
COLUMNS = 13

RANDOM_STREAM = 2  # numbers of its own beside those of sampler.py, for the same seed


@dataclass(frozen=True)
class Half:
    """What happens to one modality beside crop, flip and normalisation.

    hue: half-width of the uniform hue shift, in turns. exchange: 0 off; 2 R, G or B; 3 also grey (probability 2/3).
    """

    erase: bool = False
    hue: float = 0.0
    channel_erase: bool = False
    exchange: int = 0


@dataclass(frozen=True)
class Recipe:
    visible: Half
    other: Half
    pad_px: int = 10


_ERASE = Half(erase=True)
RECIPES = {
    "sysu": Recipe(Half(erase=True, channel_erase=True, exchange=3), Half(erase=True, hue=0.5, channel_erase=True)),
    "llcm": Recipe(Half(channel_erase=True, exchange=2), Half(hue=0.5, channel_erase=True)),
    "regdb": Recipe(Half(erase=True, exchange=2), _ERASE),
    "market_sketch_1k": Recipe(Half(erase=True, exchange=2), _ERASE),
    "pku_sketch": Recipe(Half(), Half()),
}


def draw(
    recipe: Recipe, batch: int, height: int, width: int, *, seed: int, epoch: int, iteration: int, rank: int = 0
) -> np.ndarray:
    """Parameters for `batch` images of `height` x `width` px, visible half first: float32 (batch, COLUMNS)."""
    rng = np.random.default_rng([RANDOM_STREAM, seed, epoch, iteration, rank])
    table = np.zeros((batch, COLUMNS), dtype=np.float32)
    table[:, [CROP_TOP, CROP_LEFT]] = rng.integers(0, 2 * recipe.pad_px + 1, (batch, 2))
    table[:, FLIP] = rng.random(batch) < 0.5
    hue = rng.uniform(-1.0, 1.0, batch)
    erase = _rectangles(rng, batch, height, width, area=(0.02, 0.33), ratio=(0.3, 3.3), logarithmic=True, attempts=10)
    channel_erase = _rectangles(
        rng, batch, height, width, area=(0.02, 0.4), ratio=(0.3, 1 / 0.3), logarithmic=False, attempts=100
    )
    exchanged, choice = rng.random(batch) < 2 / 3, rng.random(batch)
    for half, rows in _halves(recipe, batch):
        table[rows, HUE] = half.hue * hue[rows]
        if half.erase:
            table[rows, ERASE : ERASE + 4] = erase[rows]
        if half.channel_erase:
            table[rows, CHANNEL_ERASE : CHANNEL_ERASE + 4] = channel_erase[rows]
        if half.exchange:
            channels = 4 if half.exchange == 3 else 3
            table[rows, EXCHANGE] = np.where(exchanged[rows], 1 + np.floor(choice[rows] * channels), 0)
    return table


def _halves(recipe: Recipe, batch: int) -> tuple[tuple[Half, slice], tuple[Half, slice]]:
    return (recipe.visible, slice(0, batch // 2)), (recipe.other, slice(batch // 2, batch))


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
    """(batch, 4) of top, left, height, width in px, with probability 1/2; zeros otherwise.

    The first of `attempts` draws of area (share of the image) and ratio (height / width) that fits inside is taken.
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


def apply(images_BHWC: Tensor, table: Tensor, recipe: Recipe) -> Tensor:
    """Augment and normalise uint8 images (B, H, W, 3), visible half first: float32 (B, 3, H, W), channels-last.

    table: float32 (B, COLUMNS) of `draw`, on the images' device. recipe decides which steps exist at all. Pixels keep
    their range of 0 to 255 until they are normalised.
    """
    pixels = _crop_and_flip(images_BHWC, table, recipe.pad_px)
    parts = []
    for half, rows in _halves(recipe, len(pixels)):
        parts.append(_finish(pixels[rows], table[rows], half))
    return torch.cat(parts).permute(0, 3, 1, 2)


def normalise(images_BHWC: Tensor) -> Tensor:
    """Test images: uint8 (B, H, W, 3) -> float32 (B, 3, H, W), ImageNet statistics, channels-last."""
    return _standardise(images_BHWC.float()).permute(0, 3, 1, 2)


def _finish(pixels: Tensor, table: Tensor, half: Half) -> Tensor:
    if half.hue:
        pixels = shift_hue(pixels, table[:, HUE])
    pixels = _standardise(pixels)
    if half.erase:
        erased = _constant(NORMALISED_FILL, pixels)
        pixels = torch.where(_inside(table[:, ERASE : ERASE + 4], pixels), erased, pixels)
    if half.channel_erase:
        erased = _constant(FILL, pixels)
        pixels = torch.where(_inside(table[:, CHANNEL_ERASE : CHANNEL_ERASE + 4], pixels), erased, pixels)
    if half.exchange:
        pixels = _exchange(pixels, table[:, EXCHANGE], with_grey=half.exchange == 3)
    return pixels


def _crop_and_flip(images: Tensor, table: Tensor, pad_px: int) -> Tensor:
    """Pad with black, crop at the drawn offset, flip: float32 (B, H, W, 3)."""
    batch, height, width, _ = images.shape
    y = torch.arange(height, device=images.device) + (table[:, CROP_TOP, None].long() - pad_px)
    x = torch.arange(width, device=images.device).expand(batch, width)
    x = torch.where(table[:, FLIP, None] > 0, width - 1 - x, x) + (table[:, CROP_LEFT, None].long() - pad_px)
    there = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
    rows = torch.arange(batch, device=images.device)[:, None, None]
    pixels = images[rows, y.clamp(0, height - 1)[:, :, None], x.clamp(0, width - 1)[:, None, :]]
    return torch.where(there[..., None], pixels, 0).float()


def _inside(rectangle: Tensor, pixels: Tensor) -> Tensor:
    """Mask (B, H, W, 1) of the rectangles (B, 4): top, left, height, width."""
    top, left, high, wide = rectangle.unbind(1)
    y = torch.arange(pixels.shape[1], device=pixels.device)
    x = torch.arange(pixels.shape[2], device=pixels.device)
    in_y = (y >= top[:, None]) & (y < (top + high)[:, None])
    in_x = (x >= left[:, None]) & (x < (left + wide)[:, None])
    return (in_y[:, :, None] & in_x[:, None, :])[..., None]


def _standardise(pixels: Tensor) -> Tensor:
    return pixels * _constant(SCALE, pixels) - _constant(SHIFT, pixels)


def _constant(values: Sequence[float], like: Tensor) -> Tensor:
    """Made on the device: a copy from the host would wait for it, and cannot be captured."""
    return torch.stack([like.new_full((), value) for value in values])


def _exchange(pixels: Tensor, choice: Tensor, *, with_grey: bool) -> Tensor:
    """All channels become one of R, G, B or their grey: a product with a 3-vector per image."""
    weights = torch.eye(3, device=pixels.device, dtype=pixels.dtype)
    if with_grey:
        weights = torch.cat([weights, _constant(GREY, pixels)[None]])
    one = (pixels * weights[(choice.long() - 1).clamp(min=0)][:, None, None, :]).sum(dim=-1, keepdim=True)
    return torch.where(choice[:, None, None, None] > 0, one, pixels)


def shift_hue(pixels: Tensor, turns: Tensor) -> Tensor:
    """Rotate the hue of RGB (B, H, W, 3), of any scale, by `turns` (B,) in [-1/2, 1/2]; grey pixels stay as they are.

    The way through HSV and back, without its divisions: `arc` is the hue in sixths of a turn times the chroma.
    """
    red, green, blue = pixels.unbind(-1)
    value = pixels.amax(dim=-1)
    chroma = value - pixels.amin(dim=-1)
    arc = torch.where(value == green, (blue - red) + 2 * chroma, (red - green) + 4 * chroma)
    arc = torch.where(value == red, green - blue, arc) + (6 * turns[:, None, None]) * chroma
    circle = 6 * chroma
    arc = torch.where(arc < 0, arc + circle, arc)
    arc = torch.where(arc >= circle, arc - circle, arc)
    channels = []
    for phase in (5, 3, 1):
        sector = arc + phase * chroma
        sector = torch.where(sector >= circle, sector - circle, sector)
        channels.append(value - torch.minimum(torch.minimum(sector, 4 * chroma - sector), chroma).clamp(min=0))
    return torch.stack(channels, dim=-1)
