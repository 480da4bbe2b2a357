"""Cuts the boxes of sightings out of their images.

Each image is decoded once, as conversion decodes it: upright, transparent parts white. Boxes are in pixels of that
upright image, as a viewer shows it. A crop is then resized as conversion resizes an image, so that a network sees the
pixels that it would see of a file with this crop alone.
"""

import math
import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dns.search.sightings import Box, LeftOut, Sighting
from ffcv_convert.common.errors import DataError
from ffcv_convert.decoding import decode
from ffcv_convert.images import in_order
from ffcv_convert.lanczos import resize

AHEAD_BYTES = 1 << 25  # of the crops of an image that are made ahead, some 270; a list may name a million
MISSING = "sightings in images that are missing"
UNREADABLE = "sightings in images that cannot be used"
NOT_FINITE = "boxes of numbers that are not finite"
NO_PIXEL = "boxes of less than a pixel"
OUTSIDE = "boxes outside their image"
CUT = "boxes cut at the edge of their image (used)"


class _Crop(NamedTuple):
    """What became of a sighting. pixels: uint8 RGB (H, W, 3), None where it is left out; note: why, or what is worth a
    note, "" for nothing; detail: more about its image."""

    sighting: Sighting
    pixels: np.ndarray | None
    note: str
    detail: str = ""


def crops(
    folder: Path, sightings: Iterable[Sighting], size_px: tuple[int, int], left_out: LeftOut, workers: int
) -> Iterator[tuple[Sighting, np.ndarray]]:
    """Yield each sighting with its crop, uint8 RGB (H, W, 3), image by image as they first appear in the list.

    folder: holds the images; size_px: height and width of a crop; workers: threads that decode and resize. Sightings
    that cannot be used are counted in left_out, by reason; so are boxes that reach beyond their image, which are cut
    at its edge and used. Box edges are rounded to whole pixels, halves up.
    """
    by_image: dict[str, list[Sighting]] = {}
    for sighting in sightings:
        by_image.setdefault(sighting.image, []).append(sighting)
    for found in in_order(partial(_crops_of, folder, size_px), by_image.items(), workers):
        for sighting, pixels, note, detail in found:
            if note:
                left_out.add(note, _name(sighting, detail))
            if pixels is not None:
                yield sighting, pixels


def _crops_of(folder: Path, size_px: tuple[int, int], of_image: tuple[str, list[Sighting]]) -> Iterable[_Crop]:
    """Decode an image and cut its boxes out: at once, or one by one where all of them would fill the memory."""
    image, sightings = of_image
    path = folder / image
    try:
        frame_HWC = decode(path).pixels
    except DataError as error:
        if not os.path.exists(path):
            return [_Crop(sighting, None, MISSING) for sighting in sightings]
        why = str(error).removeprefix(f"{path}: ").rpartition(". ")[0]  # without the advice
        return [_Crop(sighting, None, UNREADABLE, why) for sighting in sightings]
    found = (_Crop(sighting, *cut_out(frame_HWC, sighting.box, size_px)) for sighting in sightings)
    return list(found) if 3 * math.prod(size_px) * len(sightings) <= AHEAD_BYTES else found


def cut_out(frame_HWC: np.ndarray, box: Box | None, size_px: tuple[int, int]) -> tuple[np.ndarray | None, str]:
    """Return what a box holds of an upright image, resized, uint8 RGB (H, W, 3); None where it holds nothing. And why,
    or what is worth a note, "" for nothing. box: None for the whole image; size_px: height and width of the crop."""
    high, wide, _ = frame_HWC.shape
    left, top, right, bottom = 0, 0, wide, high
    if box is not None:
        edges = _edges(box)
        if edges is None:
            return None, NOT_FINITE
        left, top, right, bottom = edges
    if left >= right or top >= bottom:
        return None, NO_PIXEL
    if left >= wide or top >= high or right <= 0 or bottom <= 0:
        return None, OUTSIDE
    inside = max(left, 0), max(top, 0), min(right, wide), min(bottom, high)
    note = CUT if inside != (left, top, right, bottom) else ""
    left, top, right, bottom = inside
    # Copied, because resize returns a crop of the right size as it is, and that would keep the whole image in memory.
    return resize(frame_HWC[top:bottom, left:right].copy(), *size_px), note


def _edges(box: Box) -> tuple[int, int, int, int] | None:
    """Return the left, top, right and bottom edge in whole pixels, halves up; None if one is not finite."""
    edges = box.x, box.y, box.x + box.width, box.y + box.height
    if not all(map(math.isfinite, edges)):
        return None
    left, top, right, bottom = (math.floor(edge + 0.5) for edge in edges)
    return left, top, right, bottom


def _name(sighting: Sighting, detail: str) -> str:
    image = f"{sighting.image}: {detail}" if detail else sighting.image
    return f"{sighting.source} ({image})" if sighting.source else image
