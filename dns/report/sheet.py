"""Ranked lists as one picture, for papers and TensorBoard: a row for each query, then its nearest images."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from dns.report.ranked import Neighbour, RankedQuery

ROWS, NEAREST = 3, 8
GREEN, RED, GREY, LIGHT = "#2e9e4f", "#d1453b", "#555555", "#bbbbbb"
FRAME_PX, GAP_PX, HEIGHT_PX, COLOURS = 4, 10, 192, 128


def sheet(queries: Sequence[RankedQuery], pixels: Mapping[int, np.ndarray]) -> Image.Image:
    """The query, then the nearest images that count: framed in green where the identity is right, in red where not.

    queries: one at least; pixels: uint8 (H, W, 3) by row of the test set.
    """
    lines = [
        [_framed(pixels[query.row], GREY), *(_framed(pixels[near.row], _colour(near)) for near in _counting(query))]
        for query in queries
    ]
    width, height = lines[0][0].size
    columns = max(len(line) for line in lines)
    size = (columns * (width + GAP_PX) + 2 * GAP_PX, len(lines) * (height + GAP_PX) + GAP_PX)
    picture = Image.new("RGB", size, "white")
    for y, line in enumerate(lines):
        for x, cell in enumerate(line):
            picture.paste(cell, (GAP_PX + x * (width + GAP_PX) + (GAP_PX if x else 0), GAP_PX + y * (height + GAP_PX)))
    middle = 2 * GAP_PX + width - GAP_PX // 2
    ImageDraw.Draw(picture).line((middle, GAP_PX, middle, picture.height - GAP_PX), fill=LIGHT, width=2)
    return picture


def to_png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.quantize(COLOURS).save(file, "png", optimize=True)
    return file.getvalue()


def spread(queries: Sequence[RankedQuery]) -> list[RankedQuery]:
    """ROWS of the queries, from the one with the highest AP to the one with the lowest."""
    order = sorted(queries, key=lambda query: -query.precision)
    return [order[place] for place in np.unique(np.linspace(0, len(order) - 1, ROWS).astype(int))] if order else []


def _counting(query: RankedQuery) -> list[Neighbour]:
    return [near for near in query.neighbours if near.rank is not None][:NEAREST]


def _colour(near: Neighbour) -> str:
    return GREEN if near.right else RED


def _framed(pixels: np.ndarray, colour: str) -> Image.Image:
    image = Image.fromarray(pixels)
    width_px = max(1, round(image.width * HEIGHT_PX / image.height))
    return ImageOps.expand(image.resize((width_px, HEIGHT_PX), Image.Resampling.LANCZOS), FRAME_PX, colour)
