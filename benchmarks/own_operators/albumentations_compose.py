"""albumentations 2.0.8, the last release under the MIT licence: Compose, image by image, in worker processes.

It requires opencv-python-headless, whose files overwrite those of FFCV's opencv-python. So it lies in a folder of its
own, which the worker processes alone read: make build/benchmarks/albumentations.

Differences from the recipe: both erasings write fill values rounded to whole grey levels into the uint8 image, and
draw no area at which one of the aspect ratios would not fit, so at most 15 % of an image of 288 x 144. The channel
exchange is a transform of our own around cv2.transform. The hue has OpenCV's 180 steps.

Slower on two cores: threads, which wait for the interpreter lock. Erasing after normalising was no faster.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmarks.harness import WORK
from benchmarks.own_operators.pool import Fill, Ready, in_processes
from benchmarks.own_operators.shared import CHANNEL_LEVELS, LEVELS, pad
from pipelines.augment.recipes import GREY, MEAN, STD, ModalityRecipe, Recipe

PACKAGES = WORK / "albumentations"


@contextmanager
def opened(images_NHWC: np.ndarray, recipe: Recipe) -> Iterator[Ready]:
    images, size_px = pad(images_NHWC, recipe), images_NHWC.shape[1:3]
    with in_processes("albumentations_compose", images, size_px, recipe, packages=PACKAGES) as ready:
        yield ready


def filler(images_NHWC: np.ndarray, recipe: Recipe, worker: int) -> Fill:
    import cv2

    cv2.setNumThreads(0)  # the processes share the cores
    height, width = (side - 2 * recipe.pad_px for side in images_NHWC.shape[1:3])
    visible, other = (_compose(half, height, width) for half in (recipe.visible, recipe.other))

    def fill(rows: np.ndarray, out_BCHW: np.ndarray, batch: int) -> None:
        for place, (row, out) in enumerate(zip(rows, out_BCHW, strict=True)):
            compose = visible if place < len(rows) // 2 else other
            out[:] = compose(image=images_NHWC[row])["image"].transpose(2, 0, 1)

    return fill


def _compose(half: ModalityRecipe, height: int, width: int) -> Any:
    """padded uint8 (H + 2 pad, W + 2 pad, 3) -> normalised float32 (H, W, 3)."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the network for a newer release
    import albumentations
    import cv2

    mixes = [np.eye(3, dtype=np.float32)[[channel] * 3] for channel in range(3)]
    if half.exchange == 3:
        mixes.append(np.array([GREY] * 3, np.float32))

    class ChannelExchange(albumentations.ImageOnlyTransform):
        """All channels become one of R, G, B and perhaps grey."""

        def get_params(self) -> dict[str, Any]:
            return {"mix": self.py_random.choice(mixes)}

        def apply(self, image: np.ndarray, mix: np.ndarray, **_: Any) -> np.ndarray:
            return cv2.transform(image, mix)

    steps = [albumentations.RandomCrop(height, width), albumentations.HorizontalFlip()]
    if half.hue:
        steps.append(albumentations.HueSaturationValue(180 * half.hue, 0, 0, p=1))
    if half.erase:
        steps.append(albumentations.Erasing((0.02, 0.33), (1 / 3.3, 1 / 0.3), fill=LEVELS))
    if half.channel_erase:
        steps.append(albumentations.Erasing((0.02, 0.4), (0.3, 1 / 0.3), fill=CHANNEL_LEVELS))
    steps.append(albumentations.Normalize(MEAN, STD))
    if half.exchange:
        steps.append(ChannelExchange(p=2 / 3))
    return albumentations.Compose(steps)  # a seed would give both erasings the same rectangles
