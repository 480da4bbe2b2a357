"""The augmentation on a CPU: one pass from uint8 pixels to a reused float buffer, equal to augment.apply.

What a pixel becomes is known beforehand: it comes from one source pixel, is black, or is filled. So a row is made in a
buffer that stays in the first-level cache, and written once. Without a hue shift a value is one of 256, and normalising
it is a look-up; grey pixels, all there are in most infrared sets, need none either.
"""

import numba
import numpy as np
import torch
from torch import Tensor

from pipelines import numba_setup
from pipelines.augment import (
    CHANNEL_ERASE,
    CROP_LEFT,
    CROP_TOP,
    ERASE,
    EXCHANGE,
    FILL,
    FLIP,
    GREY,
    HUE,
    MEAN,
    STD,
)

# In float32 and in augment's own order of operations, so that the results are the same bits.
_MEAN, _STD, _FILL, _GREY = (np.array(values, dtype=np.float32) for values in (MEAN, STD, FILL, GREY))
_NORMALISED = (np.arange(256, dtype=np.float32)[:, None] / np.float32(255) - _MEAN) / _STD
_NORMALISED_FILL = (_FILL - _MEAN) / _STD
_ZERO, _ONE, _TWO, _FOUR, _SIX, _WHITE = (np.float32(value) for value in (0, 1, 2, 4, 6, 255))

_jit = numba.njit(nogil=True, error_model="numpy", cache=True)


class Augmenter:
    """Augments batches of one loader. dtype: of the result, float32 or bfloat16; workers: threads."""

    def __init__(self, *, pad_px: int, workers: int, dtype: torch.dtype = torch.float32):
        self.pad_px, self.dtype = pad_px, dtype
        self._run = _augment_parallel if numba_setup.allowed_workers(workers) > 1 else _augment_serial

    def buffer(self, batch: int, height: int, width: int, *, pin: bool = False) -> Tensor:
        """For `apply` to fill: (batch, 3, height, width), pinned if asked for."""
        return torch.empty(batch, 3, height, width, dtype=self.dtype, pin_memory=pin)

    def apply(self, images_BHWC: np.ndarray, table: np.ndarray, out: Tensor) -> Tensor:
        """Fill `out`, in any memory format, with the augmented images; returns it. table: of augment.draw.

        The calling thread's numba.set_num_threads decides how many threads work.
        """
        half = self.dtype == torch.bfloat16
        self._run(images_BHWC, table, self.pad_px, out.view(torch.uint16).numpy() if half else out.numpy())
        return out


@numba.extending.register_jitable
def _hue_shifted(red, green, blue, turns, rgb):
    """augment.shift_hue of one pixel; into rgb, float32 (3,)."""
    value, least = max(red, green, blue), min(red, green, blue)
    chroma = value - least
    if value == red:
        hue = ((green - blue) / chroma) % _SIX
    elif value == green:
        hue = (blue - red) / chroma + _TWO
    else:
        hue = (red - green) / chroma + _FOUR
    hue = (hue + _SIX * turns) % _SIX
    for channel in range(3):
        sector = (np.float32(5 - 2 * channel) + hue) % _SIX
        rgb[channel] = value - chroma * min(max(min(sector, _FOUR - sector), _ZERO), _ONE)


@_jit
def _source_row(image, row, y, pad_px, line, rgb):
    """The cropped, flipped, hue-shifted and normalised row y, into line (3, W)."""
    height, width = image.shape[:2]
    source_y = y + int(row[CROP_TOP]) - pad_px
    left = int(row[CROP_LEFT]) - pad_px
    flip, turns = row[FLIP] > 0, row[HUE]
    if source_y < 0 or source_y >= height:
        for channel in range(3):
            line[channel, :] = _NORMALISED[0, channel]
        return
    for x in range(width):
        source_x = (width - 1 - x if flip else x) + left
        if source_x < 0 or source_x >= width:
            for channel in range(3):
                line[channel, x] = _NORMALISED[0, channel]
            continue
        red, green, blue = image[source_y, source_x]
        if turns == 0 or (red == green and green == blue):
            line[0, x], line[1, x], line[2, x] = _NORMALISED[red, 0], _NORMALISED[green, 1], _NORMALISED[blue, 2]
        else:
            _hue_shifted(np.float32(red) / _WHITE, np.float32(green) / _WHITE, np.float32(blue) / _WHITE, turns, rgb)
            for channel in range(3):
                line[channel, x] = (rgb[channel] - _MEAN[channel]) / _STD[channel]


@_jit
def _erase(row, first, y, fill, line):
    """Fill the part of row y that the rectangle in the table's columns from `first` on covers."""
    top, left, high, wide = int(row[first]), int(row[first + 1]), int(row[first + 2]), int(row[first + 3])
    if top <= y < top + high:
        for channel in range(3):
            line[channel, left : left + wide] = fill[channel]


@_jit
def _exchange(choice, line):
    """All channels become R, G or B, or their grey."""
    for x in range(line.shape[1]):
        if choice == 4:
            value = line[0, x] * _GREY[0] + line[1, x] * _GREY[1] + line[2, x] * _GREY[2]
        else:
            value = line[choice - 1, x]
        line[0, x] = value
        line[1, x] = value
        line[2, x] = value


def _store(line, out, y):
    """Write line (3, W) into row y of out (3, H, W): float32, or the upper halves of its bits, rounded to even."""


@numba.extending.overload(_store)
def _overload_store(line, out, y):
    if out.dtype == numba.types.float32:
        return lambda line, out, y: _store_float(line, out, y)
    return lambda line, out, y: _store_half(line, out, y)


@_jit
def _store_float(line, out, y):
    for channel in range(3):
        for x in range(line.shape[1]):
            out[channel, y, x] = line[channel, x]


@_jit
def _store_half(line, out, y):
    bits = line.view(np.uint32)
    for channel in range(3):
        for x in range(line.shape[1]):
            value = bits[channel, x]
            to_even = np.uint32(0x7FFF) + ((value >> np.uint32(16)) & np.uint32(1))
            out[channel, y, x] = (value + to_even) >> np.uint32(16)


@_jit
def _augment_one(image, row, pad_px, out):
    line, rgb = np.empty((3, image.shape[1]), dtype=np.float32), np.empty(3, dtype=np.float32)
    choice = int(row[EXCHANGE])
    for y in range(image.shape[0]):
        _source_row(image, row, y, pad_px, line, rgb)
        _erase(row, ERASE, y, _NORMALISED_FILL, line)
        _erase(row, CHANNEL_ERASE, y, _FILL, line)
        if choice > 0:
            _exchange(choice, line)
        _store(line, out, y)


@_jit
def _augment_serial(images, table, pad_px, out):
    for b in range(len(images)):
        _augment_one(images[b], table[b], pad_px, out[b])


@numba.njit(nogil=True, error_model="numpy", cache=True, parallel=True)
def _augment_parallel(images, table, pad_px, out):
    for b in numba.prange(len(images)):
        _augment_one(images[b], table[b], pad_px, out[b])
