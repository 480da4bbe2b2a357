"""Applies the parameters from draw.py to a batch of tensors: deterministic, on any device.

The code never branches on the parameters' values, so torch can compile it and capture it in a CUDA graph.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipelines.augment.recipes import (
    CHANNEL_ERASE,
    CROP_LEFT,
    CROP_TOP,
    ERASE,
    EXCHANGE,
    FILL,
    FLIP,
    GREY,
    HUE,
    NORMALISED_FILL,
    SCALE,
    SHIFT,
    ModalityRecipe,
    Recipe,
    halves,
)


def apply(images_BHWC: Tensor, parameters: Tensor, recipe: Recipe) -> Tensor:
    """Augment and normalise uint8 images (B, H, W, 3), visible half first: float32 (B, 3, H, W), channels-last.

    parameters: float32 (B, COLUMNS) from `draw`, on the images' device. `recipe` decides which steps run at all. Pixels
    keep their range of 0 to 255 until they are normalised.
    """
    pixels = _crop_and_flip(images_BHWC, parameters, recipe.pad_px)
    parts = []
    for modality, rows in halves(recipe, len(pixels)):
        parts.append(_finish(pixels[rows], parameters[rows], modality))
    return torch.cat(parts).permute(0, 3, 1, 2)


def normalise(images_BHWC: Tensor) -> Tensor:
    """Test images: uint8 (B, H, W, 3) -> float32 (B, 3, H, W), ImageNet statistics, channels-last."""
    return _standardise(images_BHWC.float()).permute(0, 3, 1, 2)


def _finish(pixels: Tensor, parameters: Tensor, modality: ModalityRecipe) -> Tensor:
    if modality.hue:
        pixels = shift_hue(pixels, parameters[:, HUE])
    pixels = _standardise(pixels)
    if modality.erase:
        erased = _constant(NORMALISED_FILL, pixels)
        pixels = torch.where(_inside(parameters[:, ERASE : ERASE + 4], pixels), erased, pixels)
    if modality.channel_erase:
        erased = _constant(FILL, pixels)
        pixels = torch.where(_inside(parameters[:, CHANNEL_ERASE : CHANNEL_ERASE + 4], pixels), erased, pixels)
    if modality.exchange:
        pixels = _exchange(pixels, parameters[:, EXCHANGE], with_grey=modality.exchange == 3)
    return pixels


def _crop_and_flip(images: Tensor, parameters: Tensor, pad_px: int) -> Tensor:
    """Pad with black, crop at the drawn offset, then flip: float32 (B, H, W, 3)."""
    batch, height, width, _ = images.shape
    y = torch.arange(height, device=images.device) + (parameters[:, CROP_TOP, None].long() - pad_px)
    x = torch.arange(width, device=images.device).expand(batch, width)
    x = torch.where(parameters[:, FLIP, None] > 0, width - 1 - x, x) + (parameters[:, CROP_LEFT, None].long() - pad_px)
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
    """Build a constant on the device: a copy from the host would make it wait, and a CUDA graph cannot capture it."""
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

    Equals a conversion to HSV and back, but without divisions: `arc` is the hue (in sixths of a turn) times chroma.
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
