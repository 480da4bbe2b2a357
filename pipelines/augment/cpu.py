"""Augments on a CPU: one pass from uint8 pixels to a reused float buffer, with the same results as apply.py.

Each image row passes through three planes, which stay in the first-level cache, and is written once. Every step loops
over contiguous float32 without branches, so that the compiler can vectorise it. This needs unsigned indices (Numba lets
a negative one count from the end) and no array slices (each view costs two atomic reference counts).
"""

import numba
import numpy as np
import torch
from llvmlite import ir
from torch import Tensor

from pipelines import numba_setup
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
    Recipe,
)

# Computed in float32 and in the same order of operations as apply.py, so that the results are equal bit for bit.
_GREY, _LUMINANCE = (tuple(np.float32(value) for value in values) for values in (GREY, LUMINANCE))
SCALE, SHIFT = 2, 3  # rows of the colours, see colours_of; the first two are the fills
_HALF, _WHOLE = np.float32(32768), np.float32(65536)
_ZERO, _ONE, _TWO, _THREE, _FOUR, _FIVE, _SIX = (np.float32(value) for value in range(7))

_jit = numba.njit(nogil=True, error_model="numpy", cache=True)


@_jit
def _load(pixels, begin, first, last, red, green, blue):
    """Fill columns first..last of the planes from uint8 RGB that starts at pixels[begin]."""
    at = np.uintp(begin)
    for x in range(np.uintp(first), np.uintp(last)):
        red[x] = np.float32(pixels[at])
        green[x] = np.float32(pixels[at + np.uintp(1)])
        blue[x] = np.float32(pixels[at + np.uintp(2)])
        at += np.uintp(3)


@_jit
def _fill(plane, value, first, last):
    for x in range(np.uintp(first), np.uintp(last)):
        plane[x] = value


@_jit
def _blacken(plane, first, last):
    """Set all columns but first..last to black."""
    _fill(plane, _ZERO, 0, first)
    _fill(plane, _ZERO, last, len(plane))


@_jit
def _copy(source, target):
    for x in range(len(source)):
        target[x] = source[x]


@_jit
def _to_luminance(red, green, blue):
    """Set all channels to their luminance, as _luminance in apply.py does: exact, whole numbers below 2^24."""
    for x in range(len(red)):
        weighted = red[x] * _LUMINANCE[0] + green[x] * _LUMINANCE[1] + blue[x] * _LUMINANCE[2]
        red[x] = np.floor((weighted + _HALF) / _WHOLE)
    _copy(red, green)
    _copy(red, blue)


@numba.extending.register_jitable
def _of_hue(value, chroma, circle, sector):
    sector = sector - circle if sector >= circle else sector
    mirrored = _FOUR * chroma - sector
    inner = sector if sector < mirrored else mirrored
    inner = inner if inner < chroma else chroma
    return value - (inner if inner > _ZERO else _ZERO)


@_jit
def _shift_hue(red, green, blue, turns):
    """Rotate the hue in place, as shift_hue in apply.py does."""
    sixths = _SIX * turns
    for x in range(len(red)):
        r, g, b = red[x], green[x], blue[x]
        value, least = (r if r > g else g), (r if r < g else g)
        value, least = (value if value > b else b), (least if least < b else b)
        chroma = value - least
        arc = (b - r) + _TWO * chroma if value == g else (r - g) + _FOUR * chroma
        arc = (g - b if value == r else arc) + sixths * chroma
        circle = _SIX * chroma
        arc = arc + circle if arc < _ZERO else arc
        arc = arc - circle if arc >= circle else arc
        red[x] = _of_hue(value, chroma, circle, arc + _FIVE * chroma)
        green[x] = _of_hue(value, chroma, circle, arc + _THREE * chroma)
        blue[x] = _of_hue(value, chroma, circle, arc + chroma)


@_jit
def _normalise(plane, scale, shift, flip, line):
    if flip:
        last = len(plane) - 1
        for x in range(len(plane)):
            line[x] = plane[np.uintp(last - x)] * scale - shift
    else:
        for x in range(len(plane)):
            line[x] = plane[x] * scale - shift


@_jit
def _exchange(choice, red, green, blue):
    """Set all channels to R, G, B or grey."""
    if choice == 4:
        for x in range(len(red)):
            red[x] = red[x] * _GREY[0] + green[x] * _GREY[1] + blue[x] * _GREY[2]
    elif choice == 2:
        _copy(green, red)
    elif choice == 3:
        _copy(blue, red)
    _copy(red, green)
    _copy(red, blue)


def _store(red, green, blue, out, y):
    """Write row y of out (3, H, W), as float32 or as bfloat16 (the upper 16 bits, rounded to even)."""


@numba.extending.overload(_store)
def _overload_store(red, green, blue, out, y):
    if out.dtype == numba.types.float32:
        return lambda red, green, blue, out, y: _store_float(red, green, blue, out, np.uintp(y))
    return lambda red, green, blue, out, y: _store_bfloat16(red, green, blue, out, np.uintp(y))


@_jit
def _store_float(red, green, blue, out, y):
    for x in range(len(red)):
        out[0, y, x] = red[x]
    for x in range(len(red)):
        out[1, y, x] = green[x]
    for x in range(len(red)):
        out[2, y, x] = blue[x]


@numba.extending.intrinsic
def _copy_past_the_caches(typing_context, source, target):
    """Copy 64 bytes to another address, which must be a multiple of 64, without going through the caches."""

    def generate(context, builder, signature, arguments):
        vector = ir.VectorType(ir.FloatType(), 16)
        begin, end = (builder.inttoptr(address, vector.as_pointer()) for address in arguments)
        store = builder.store(builder.load(begin, align=4), end, align=64)
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return numba.types.void(numba.types.uintp, numba.types.uintp), generate


@numba.extending.intrinsic
def _fence(typing_context):
    """Make earlier copies past the caches visible to other threads."""

    def generate(context, builder, signature, arguments):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return numba.types.void(), generate


@_jit
def _stream_row(source, target, size):
    """Copy `size` bytes past the caches: a batch exceeds them, and a normal write would first read the old contents."""
    for at in range(np.uintp(0), np.uintp(size), np.uintp(64)):
        _copy_past_the_caches(np.uintp(source) + at, np.uintp(target) + at)


@_jit
def _can_stream(out):
    row = out.itemsize * out.shape[2]
    return out.itemsize == 4 and out.flags.c_contiguous and row % 64 == 0 and out.ctypes.data % 64 == 0


@_jit
def _store_bfloat16(red, green, blue, out, y):
    r, g, b = red.view(np.uint32), green.view(np.uint32), blue.view(np.uint32)
    for x in range(len(r)):
        out[0, y, x] = _to_bfloat16(r[x])
    for x in range(len(g)):
        out[1, y, x] = _to_bfloat16(g[x])
    for x in range(len(b)):
        out[2, y, x] = _to_bfloat16(b[x])


@numba.extending.register_jitable
def _to_bfloat16(bits):
    to_even = np.uint32(0x7FFF) + np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1))
    return np.uint32(bits + to_even) >> np.uint32(16)


@_jit
def _erase(row, first, colours, number, pixel, out):
    """Fill the rectangle given by four parameters, starting at column `first`, with colours[number] after the channel
    exchange.

    pixel: three arrays of one number each, as scratch memory.
    """
    top, left, high, wide = int(row[first]), int(row[first + 1]), int(row[first + 2]), int(row[first + 3])
    if high == 0:
        return
    red, green, blue = pixel
    red[0], green[0], blue[0] = colours[number, 0], colours[number, 1], colours[number, 2]
    if row[EXCHANGE] > 0:
        _exchange(int(row[EXCHANGE]), red, green, blue)
    filled = out[:, top : top + high, left : left + wide]
    _store(red, green, blue, out[:, top:, left:], 0)
    for channel in range(3):
        value = filled[channel, 0, 0]
        for y in range(high):
            for x in range(np.uintp(wide)):
                filled[channel, y, x] = value


@_jit
def _augment_one(pixels, row, colours, planes, lines, out):
    """Augment one image, see augment_one. planes, lines: scratch, float32 (3, W).

    It erases last, with the fill value that the channel exchange would give.
    """
    height, width = out.shape[1:]
    red, green, blue = planes[0], planes[1], planes[2]
    line_r, line_g, line_b = lines[0], lines[1], lines[2]
    shift_y, shift_x = int(row[CROP_TOP]), int(row[CROP_LEFT])
    flip, turns, choice, greyed = row[FLIP] > 0, row[HUE], int(row[EXCHANGE]), row[GREYED] > 0
    scale_r, scale_g, scale_b = colours[SCALE, 0], colours[SCALE, 1], colours[SCALE, 2]
    shift_r, shift_g, shift_b = colours[SHIFT, 0], colours[SHIFT, 1], colours[SHIFT, 2]
    streamed, start, row_bytes = _can_stream(out), out.ctypes.data, out.itemsize * width
    plane_bytes = row_bytes * height
    address_r, address_g, address_b = line_r.ctypes.data, line_g.ctypes.data, line_b.ctypes.data
    for y in range(height):
        source_y = y + shift_y
        first, last = max(0, -shift_x), min(width, width - shift_x)
        if source_y < 0 or source_y >= height or first >= last:
            first, last = width, width
        else:
            _load(pixels, 3 * (source_y * width + first + shift_x), first, last, red, green, blue)
        _blacken(red, first, last)
        _blacken(green, first, last)
        _blacken(blue, first, last)
        if greyed:
            _to_luminance(red, green, blue)
        if turns != 0:
            _shift_hue(red, green, blue, turns)
        _normalise(red, scale_r, shift_r, flip, line_r)
        _normalise(green, scale_g, shift_g, flip, line_g)
        _normalise(blue, scale_b, shift_b, flip, line_b)
        if choice > 0:
            _exchange(choice, line_r, line_g, line_b)
        if streamed:
            _stream_row(address_r, start + y * row_bytes, row_bytes)
            _stream_row(address_g, start + y * row_bytes + plane_bytes, row_bytes)
            _stream_row(address_b, start + y * row_bytes + 2 * plane_bytes, row_bytes)
        else:
            _store(line_r, line_g, line_b, out, y)
    _fence()
    pixel = line_r[:1], line_g[:1], line_b[:1]
    _erase(row, ERASE, colours, 0, pixel, out)
    _erase(row, CHANNEL_ERASE, colours, 1, pixel, out)


@_jit
def augment_one(pixels, row, colours, out):
    """Augment one image: uint8 (H * W * 3,) -> out (3, H, W). row: its parameters. colours: see colours_of."""
    shape = (3, out.shape[2])
    _augment_one(pixels, row, colours, np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32), out)


@_jit
def augment_views(pixels, image, images, parameters, colours, out):
    """Augment one of 2PK images into its row of `out`, or into both rows if `out` has two views of the visible ones.

    image: its number among `images`. parameters, out: in the blocks of recipes.blocks.
    """
    more = len(out) - images  # PK where there are two views, else none
    if image < more:
        augment_one(pixels, parameters[image], colours, out[image])
    augment_one(pixels, parameters[image + more], colours, out[image + more])


@_jit
def share_evenly(number, images, rows):
    """Return which image to augment as `number`. Each thread takes a part of the numbers, and a visible image with two
    views takes twice as long: so visible and infrared ones alternate."""
    number = np.intp(number)  # of prange it is unsigned, and Numba makes a float of unsigned + signed
    return number if rows == images else (number % 2) * (images // 2) + number // 2


@_jit
def _augment_serial(images, parameters, colours, out):
    for b in range(len(images)):
        augment_views(images[b].reshape(-1), b, len(images), parameters, colours, out)


@numba.njit(nogil=True, error_model="numpy", cache=True, parallel=True)
def _augment_parallel(images, parameters, colours, out):
    for number in numba.prange(len(images)):
        b = share_evenly(number, len(images), len(out))
        augment_views(images[b].reshape(-1), b, len(images), parameters, colours, out)


def colours_of(recipe: Recipe) -> np.ndarray:
    """Return the fills of both erasings, scale and shift as the compiled code takes them: float32 (4, 3)."""
    normalisation = recipe.normalisation
    return np.array([*recipe.fills, normalisation.scale, normalisation.shift], dtype=np.float32)


def augment(images_BHWC: np.ndarray, parameters: np.ndarray, recipe: Recipe, out: Tensor, *, workers: int) -> Tensor:
    """Fill `out`, float32 or bfloat16 (rows, 3, H, W) in any memory format, with the augmented images and return it.

    parameters: from draw, a row for each of out. Several workers are as many threads as numba.set_num_threads set in
    the calling thread.
    """
    run = _augment_parallel if numba_setup.allowed_workers(workers) > 1 else _augment_serial
    stored = out.view(torch.uint16).numpy() if out.dtype == torch.bfloat16 else out.numpy()
    run(images_BHWC, parameters, colours_of(recipe), stored)
    return out
