"""Applies the parameters from draw.py to a batch of tensors: deterministic, on any device.

The code never branches on the parameters' values, so torch can compile it and capture it in a CUDA graph.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipelines.augment.normalisation import IMAGENET, Normalisation
from pipelines.augment.recipes import (
    CHANNEL_ERASE,
    CROP_LEFT,
    CROP_TOP,
    ERASE,
    EXCHANGE,
    FLIP,
    GREY,
    GREYED,
    HUE,
    LUMINANCE,
    ModalityRecipe,
    Recipe,
    blocks,
)

Modalities = tuple[Tensor, Tensor]  # a batch's visible images, and its infrared ones or sketches


def apply(images_BHWC: Tensor, parameters: Tensor, recipe: Recipe) -> Modalities:
    """Augment and normalise 2PK uint8 images (2PK, H, W, 3), visible half first. Returns the modalities, because each
    goes to its own stem: float32 (PK, 3, H, W) each, channels-last; of two views, visible is both, (2PK, 3, H, W).

    parameters: from `draw`, on the images' device. `recipe` decides which steps run at all. Pixels keep their range of
    0 to 255 until they are normalised.
    """
    *visible, other = (
        _finish(_crop_and_flip(images_BHWC[images], parameters[rows]), parameters[rows], modality, recipe)
        for modality, images, rows in blocks(recipe, len(images_BHWC))
    )
    return visible[0] if len(visible) == 1 else torch.cat(visible), other


def normalise(images_BHWC: Tensor, normalisation: Normalisation = IMAGENET) -> Tensor:
    """Normalise test images: uint8 (B, H, W, 3) -> float32 (B, 3, H, W), channels-last."""
    return _standardise(images_BHWC.permute(0, 3, 1, 2).float(), normalisation)


def _finish(pixels: Tensor, parameters: Tensor, modality: ModalityRecipe, recipe: Recipe) -> Tensor:
    if modality.grey:  # after the crop, which it commutes with: black stays black
        pixels = torch.where(parameters[:, GREYED, None, None, None] > 0, _luminance(pixels), pixels)
    if modality.hue:
        pixels = shift_hue(pixels, parameters[:, HUE])
    pixels = _standardise(pixels, recipe.normalisation)
    fill, channel_fill = recipe.fills
    if modality.erase:
        erased = _constant(fill, pixels)
        pixels = torch.where(_inside(parameters[:, ERASE : ERASE + 4], pixels), erased, pixels)
    if modality.channel_erase:
        erased = _constant(channel_fill, pixels)
        pixels = torch.where(_inside(parameters[:, CHANNEL_ERASE : CHANNEL_ERASE + 4], pixels), erased, pixels)
    if modality.exchange:
        pixels = _exchange(pixels, parameters[:, EXCHANGE], with_grey=4 in modality.exchange.choices)
    return pixels


def _crop_and_flip(images_BHWC: Tensor, parameters: Tensor) -> Tensor:
    """Crop at the drawn offset, with black beyond the image, then flip: float32 (B, 3, H, W), channels-last."""
    batch, height, width, _ = images_BHWC.shape
    device = images_BHWC.device
    y = torch.arange(height, device=device) + parameters[:, CROP_TOP, None].long()
    x = torch.arange(width, device=device).expand(batch, width)
    x = torch.where(parameters[:, FLIP, None] > 0, width - 1 - x, x) + parameters[:, CROP_LEFT, None].long()
    there = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
    rows = torch.arange(batch, device=device)[:, None, None]
    pixels = images_BHWC[rows, y.clamp(0, height - 1)[:, :, None], x.clamp(0, width - 1)[:, None, :]]
    return torch.where(there[:, None], pixels.permute(0, 3, 1, 2), 0).float()


def _luminance(pixels: Tensor) -> Tensor:
    """Return Pillow's integer grey of pixels of 0 to 255, (B, 1, H, W). Exact: all numbers are whole and below 2^24."""
    red, green, blue = pixels.split(1, dim=1)
    weighted = red * LUMINANCE[0] + green * LUMINANCE[1] + blue * LUMINANCE[2]
    return torch.floor((weighted + 32768) / 65536)


def _inside(rectangle: Tensor, pixels: Tensor) -> Tensor:
    """Return the mask (B, 1, H, W) of the rectangles (B, 4): top, left, height, width."""
    top, left, high, wide = rectangle.unbind(1)
    y = torch.arange(pixels.shape[2], device=pixels.device)
    x = torch.arange(pixels.shape[3], device=pixels.device)
    in_y = (y >= top[:, None]) & (y < (top + high)[:, None])
    in_x = (x >= left[:, None]) & (x < (left + wide)[:, None])
    return (in_y[:, :, None] & in_x[:, None, :])[:, None]


def _standardise(pixels: Tensor, normalisation: Normalisation) -> Tensor:
    return pixels * _constant(normalisation.scale, pixels) - _constant(normalisation.shift, pixels)


def _constant(values: Sequence[float], like: Tensor) -> Tensor:
    """Build (3, 1, 1), a value for each channel, on the device: the device would wait for a copy from the host, and a
    CUDA graph cannot capture one."""
    return torch.stack([like.new_full((), value) for value in values])[:, None, None]


def _exchange(pixels: Tensor, choice: Tensor, *, with_grey: bool) -> Tensor:
    """Set all channels to one of R, G, B or their grey."""
    red, green, blue = pixels.unbind(1)
    number = choice[:, None, None]
    one = torch.where(number == 1, red, torch.where(number == 2, green, blue))
    if with_grey:
        one = torch.where(number == 4, GREY[0] * red + GREY[1] * green + GREY[2] * blue, one)
    return torch.where(number[:, None] > 0, one[:, None], pixels)


def shift_hue(pixels: Tensor, turns: Tensor) -> Tensor:
    """Rotate the hue of RGB (B, 3, H, W), of any scale, by `turns` (B,) in [-1/2, 1/2]; grey pixels stay as they are.

    Equals a conversion to HSV and back, but without divisions: `arc` is the hue (in sixths of a turn) times chroma.
    """
    red, green, blue = pixels.unbind(1)
    value = pixels.amax(dim=1)
    chroma = value - pixels.amin(dim=1)
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
    return torch.stack(channels, dim=-1).permute(0, 3, 1, 2)  # channels-last, as it came
