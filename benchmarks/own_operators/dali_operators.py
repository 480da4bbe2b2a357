"""Augments with NVIDIA DALI without a GPU: its operators in a pipeline, two batches ahead.

external_source passes views of the padded images without copying them, and the parameters, which come from our `draw`:
DALI's random operators cannot draw a rectangle again that does not fit. fn.erase fills on uint8 images, so the fill
values are rounded to whole grey levels; fn.crop_mirror_normalize then crops, flips and normalises in one pass. DALI has
no channel exchange: NumPy does it on the finished batch, in place. fn.hue rotates the hue by a matrix in YIQ, not HSV.

Slower on two cores: exec_dynamic, which does not reuse its buffers (half as fast); fn.crop before the erasing, or the
erasing after normalising; the exchange by conditional operators.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.own_operators.pool import CORES, Ready
from benchmarks.own_operators.shared import CHANNEL_LEVELS, LEVELS, MEAN, STD, exchange, pad
from pipelines.augment.draw import draw
from pipelines.augment.recipes import (
    CHANNEL_ERASE,
    CROP_LEFT,
    CROP_TOP,
    ERASE,
    EXCHANGE,
    FLIP,
    HUE,
    Recipe,
)

DEPTH = 2


@contextmanager
def opened(images_NHWC: np.ndarray, recipe: Recipe) -> Iterator[Ready]:
    images, size_px, made = pad(images_NHWC, recipe), images_NHWC.shape[1:3], count()
    rows_ahead: Iterator[np.ndarray] = iter(())
    exchanges = deque[list[int]]()  # channel exchanges of the batches that the pipeline has begun

    def source() -> tuple[Any, ...]:
        """Return images and parameters of the next batch. StopIteration tells DALI that the plan has ended."""
        rows = next(rows_ahead)
        drawn = draw(recipe, len(rows), *size_px, seed=0, epoch=0, iteration=next(made))
        exchanges.append(drawn[:, EXCHANGE].astype(int).tolist())
        return [images[row] for row in rows], *_parameters(drawn, size_px, recipe)

    def ready(plan: np.ndarray) -> Iterator[Tensor]:
        nonlocal rows_ahead
        rows_ahead = iter(plan)
        pipeline = built(plan.shape[1])
        try:
            while (out := _next_batch(pipeline)) is not None:
                for image, choice in zip(out, exchanges.popleft(), strict=True):
                    exchange(image, choice)
                yield torch.from_numpy(out)
        finally:
            rows_ahead = iter(())
            while _next_batch(pipeline) is not None:  # discard the rest of a plan that was not used to its end
                pass
            pipeline.reset()
            exchanges.clear()

    @cache
    def built(batch: int) -> Any:
        pipeline = _pipeline(source, batch, size_px, recipe)
        pipeline.build()
        return pipeline

    try:
        yield ready
    finally:
        built.cache_clear()  # a pipeline's threads end with it


def _pipeline(source: Any, batch: int, size_px: tuple[int, int], recipe: Recipe) -> Any:
    """Build the pipeline: uint8 views and parameters from `source` -> float32 (B, 3, H, W)."""
    from nvidia.dali import Pipeline, fn, types

    hues, erasings = _used(recipe)
    numbers = [(types.FLOAT, 1), (types.INT32, 0), *[(types.FLOAT, 0)] * hues, *[(types.FLOAT, 1)] * 2 * len(erasings)]
    kinds, dimensions = zip((types.UINT8, 3), *numbers, strict=True)
    pipeline = Pipeline(batch, num_threads=CORES, device_id=None, prefetch_queue_depth=DEPTH, exec_dynamic=False)
    with pipeline:
        images, crop, flip, *more = fn.external_source(
            source, num_outputs=len(kinds), no_copy=True, dtype=list(kinds), ndim=list(dimensions),
            layout=["HWC", *[""] * len(numbers)],
        )  # fmt: skip
        if hues:
            images = fn.hue(images, hue=more.pop(0))
        for _, levels in erasings:
            anchor, shape = more.pop(0), more.pop(0)
            images = fn.erase(images, anchor=anchor, shape=shape, axis_names="HW", fill_value=levels)
        out = fn.crop_mirror_normalize(
            images, crop=size_px, crop_pos_y=crop[0], crop_pos_x=crop[1], mirror=flip, output_layout="CHW",
            dtype=types.FLOAT, mean=[255 * value for value in MEAN], std=[255 * value for value in STD],
        )  # fmt: skip
        pipeline.set_outputs(out)
    return pipeline


def _next_batch(pipeline: Any) -> np.ndarray | None:
    """Return the pipeline's next batch, valid until the pipeline runs again; None at the end."""
    try:
        (out,) = pipeline.run()
    except StopIteration:
        return None
    return np.asarray(out.as_tensor())


def _used(recipe: Recipe) -> tuple[bool, list[tuple[int, tuple[int, ...]]]]:
    """Return whether the recipe shifts hues, and the first column and the fill value of each erasing that it has."""
    either = (recipe.visible, recipe.other)
    erasings = [(ERASE, LEVELS)] if any(half.erase for half in either) else []
    erasings += [(CHANNEL_ERASE, CHANNEL_LEVELS)] if any(half.channel_erase for half in either) else []
    return any(half.hue for half in either), erasings


def _parameters(drawn: np.ndarray, size_px: tuple[int, int], recipe: Recipe) -> list[np.ndarray]:
    """Return drawn parameters (B, COLUMNS) as the pipeline takes them: crop as shares of the margin; flip; hue in
    degrees, if any; anchor and shape of each erasing, in the padded image before the flip."""
    offset, flip = drawn[:, [CROP_TOP, CROP_LEFT]] + recipe.pad_px, drawn[:, FLIP]
    hues, erasings = _used(recipe)
    found = [offset / max(2 * recipe.pad_px, 1), flip.astype(np.int32), *[360 * drawn[:, HUE]] * hues]
    for first, _ in erasings:
        top, left, high, wide = drawn[:, first : first + 4].T
        left = np.where(flip > 0, size_px[1] - wide - left, left)
        found += [offset + np.stack([top, left], axis=1), np.stack([high, wide], axis=1)]
    return [np.ascontiguousarray(array) for array in found]
