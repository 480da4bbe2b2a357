"""Test images as small JPEGs inside the page, as many bytes as it has left for them."""

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

HEIGHTS_PX = (128, 104, 84, 64)  # tried in turn, until the images fit
QUALITY = 72


def thumbnails(pixels: Mapping[int, np.ndarray], shown: Sequence[int], *, bytes_left: int) -> dict[int, str]:
    """Row of the test set -> data URI of its image. pixels: uint8 (H, W, 3) by row; shown: the rows in the order of the
    page, each as often as it stands there. Empty where even the smallest images need more bytes than are left."""
    tallest = max((image.shape[0] for image in pixels.values()), default=0)
    for height in HEIGHTS_PX:
        if height > tallest and height != HEIGHTS_PX[-1]:
            continue
        found = {row: data_uri(image, height) for row, image in pixels.items()}
        if sum(len(found[row]) for row in shown) <= bytes_left:
            return found
    return {}


def data_uri(pixels: np.ndarray, height_px: int) -> str:
    """A JPEG of this height, or of the image's own if that is less."""
    image = Image.fromarray(pixels)
    if image.height > height_px:
        width_px = max(1, round(image.width * height_px / image.height))
        image = image.resize((width_px, height_px), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "jpeg", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
