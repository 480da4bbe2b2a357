"""Draws a pencil sketch of a person, as an artist would from a witness's account.

The figure is painted once onto a sheet whose first channel is the visible brightness of each part and whose second
channel is the number of the part. Lines are drawn where either changes or the figure ends; darker parts get more
graphite. Each artist has a style: hand, pencil, shading and paper. Colour and background are not drawn.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from ffcv_convert.synthetic.people.cloth import Portrait
from ffcv_convert.synthetic.people.figure import draw_figure
from ffcv_convert.synthetic.people.identity import Colour, Identity, Palette
from ffcv_convert.synthetic.people.shot import Shot

LUMINANCE = (0.299, 0.587, 0.114)
# Lines are thinner than a pixel of a small image, so it is drawn at least this high, then reduced.
BOARD_HEIGHT_PX = 480
TILE_PX = 768
WINDOW_PX = 288


@dataclass(frozen=True)
class Artist:
    """An artist's style. Lengths are in thousandths of the image height; graphite is a share of black (0..1)."""

    paper: int
    line: float
    line_width: float
    strokes: int
    wobble: float
    shade: float
    hatch: float
    hatch_period: float
    hatch_rad: tuple[float, ...]


# A to F: fine outlines; soft charcoal; cross-hatching; smudged graphite; quick strokes; outlines, hardly any shading.
ARTISTS = (
    Artist(246, 0.80, 1.2, 1, 2.5, 0.12, 0.50, 13.0, (0.9,)),
    Artist(236, 0.95, 3.0, 1, 3.5, 0.62, 0.18, 20.0, (0.5,)),
    Artist(250, 0.85, 1.5, 1, 2.0, 0.06, 0.45, 11.0, (0.8, -0.7)),
    Artist(226, 0.65, 1.1, 1, 2.0, 0.55, 0.00, 20.0, ()),
    Artist(242, 0.80, 1.6, 2, 5.5, 0.10, 0.42, 11.5, (1.2,)),
    Artist(252, 0.90, 1.9, 2, 4.0, 0.05, 0.00, 26.0, ()),
)


def draw_sketch(person: Identity, style: int, shot: Shot) -> np.ndarray:
    """Draw a sketch, (H, W, 3) uint8 with R = G = B. `style` 1 to 6 are the artists; higher numbers start again."""
    artist = ARTISTS[(style - 1) % len(ARTISTS)]
    sheet = _paint_parts(person, shot)
    graphite = _tones(sheet, artist, shot)
    for stroke in range(artist.strokes):
        graphite = np.maximum(graphite, _lines(sheet, artist, shot, stroke))
    size = (shot.width_px, shot.height_px)
    graphite = cv2.resize(graphite, size, interpolation=cv2.INTER_AREA)
    # Graphite sticks to the grain of the paper: light tones break up, bare paper hardly shows it.
    grain = _window(_grain_tile(), shot, size, 0)
    graphite = np.clip(graphite * (1.0 + 0.22 * grain), 0.0, 0.92)
    grey = np.clip((artist.paper + 2.0 * grain) * (1.0 - graphite), 0, 255).astype(np.uint8)
    return cv2.merge((grey, grey, grey))


def _paint_parts(person: Identity, shot: Shot) -> np.ndarray:
    """Paint brightness, part, 0 and mask: (H', W', 4) uint8, a whole multiple of the image's size."""
    times = -(-BOARD_HEIGHT_PX // shot.height_px)
    tones: dict[str, Colour] = {}
    for number, (part, colour) in enumerate(vars(person.visible).items()):
        brightness = sum(share * value for share, value in zip(LUMINANCE, colour, strict=True))
        # Artists leave faces and hands nearly white, whatever the colour of the skin.
        brightness = 200 + 0.2 * brightness if part == "skin" else brightness
        tones[part] = (int(brightness), 60 + 17 * number, 0)
    view = shot.view
    larger = replace(
        view, foot_x_px=view.foot_x_px * times, foot_y_px=view.foot_y_px * times, unit_px=view.unit_px * times
    )
    sheet = np.full((shot.height_px * times, shot.width_px * times, 4), (255, 0, 0, 0), np.uint8)
    draw_figure(Portrait(sheet, person, Palette(**tones), larger), shot.pose)
    return sheet


def _tones(sheet: np.ndarray, artist: Artist, shot: Shot) -> np.ndarray:
    """Draw the graphite of even shading, and of strokes that are broader on darker parts: (H', W') float32."""
    high, wide = sheet.shape[:2]
    dark = (1.0 - sheet[..., 0] * np.float32(1 / 255)) * (sheet[..., 3] * np.float32(1 / 255))
    dark = cv2.GaussianBlur(dark, (0, 0), 0.003 * high)
    graphite = artist.shade * dark * (1.0 + 0.15 * _window(_wave_tile(), shot, (wide, high), 0))
    rows = np.arange(high, dtype=np.float32)[:, None]
    columns = np.arange(wide, dtype=np.float32)[None]
    bend = 0.003 * high * _window(_wave_tile(), shot, (wide, high), 1)
    for number, turn in enumerate(artist.hatch_rad):
        across = rows * math.cos(turn) + columns * math.sin(turn) + bend
        wave = np.cos(across * np.float32(2000 * math.pi / (artist.hatch_period * high)))
        # A second direction of strokes is for the darkest parts only.
        breadth = 2.2 * dark - 1.2 - 0.5 * number
        graphite = np.maximum(graphite, artist.hatch * np.clip(1.5 * (wave + breadth), 0.0, 1.0))
    return graphite


def _lines(sheet: np.ndarray, artist: Artist, shot: Shot, stroke: int) -> np.ndarray:
    """Draw the graphite of outlines in an unsteady hand, the outer outline strongest: (H', W') float32."""
    high, wide = sheet.shape[:2]
    square = np.ones((2, 2), np.uint8)
    change = cv2.subtract(cv2.dilate(sheet, square), cv2.erode(sheet, square)).astype(np.float32)
    brightness, part, mask = change[..., 0] / 150, 0.8 * np.minimum(change[..., 1] / 12, 1), change[..., 3] / 128
    edge = np.minimum(np.maximum(np.maximum(brightness, part), mask), 1)
    spread = 0.001 * high * artist.line_width
    # A line of one pixel keeps its darkness when it is blurred, up to full black.
    edge = np.minimum(cv2.GaussianBlur(edge, (0, 0), 0.5 * spread + 0.3) * (0.8 + spread), 1)
    reach = 0.001 * high * artist.wobble
    hand = [reach * _window(_wave_tile(), shot, (wide, high), 2 + 3 * stroke + axis) for axis in range(3)]
    columns = np.arange(wide, dtype=np.float32)[None] + hand[0]
    rows = np.arange(high, dtype=np.float32)[:, None] + hand[1]
    pressure = 0.85 + 0.2 / reach * hand[2]
    return artist.line * np.clip(pressure, 0.2, 1.0) * cv2.remap(edge, columns, rows, cv2.INTER_LINEAR)


@lru_cache(maxsize=1)
def _wave_tile() -> np.ndarray:
    """Draw the slow waves of an unsteady hand: float32 about 0, spread 1."""
    cells = np.random.default_rng([51]).normal(size=(TILE_PX // 16, TILE_PX // 16)).astype(np.float32)
    tile = cv2.resize(cells, (TILE_PX, TILE_PX), interpolation=cv2.INTER_CUBIC)
    return tile / tile.std()


@lru_cache(maxsize=1)
def _grain_tile() -> np.ndarray:
    """Draw the grain of drawing paper: float32 about 0, spread 1."""
    noise = np.random.default_rng([52]).normal(size=(TILE_PX, TILE_PX)).astype(np.float32)
    tile = cv2.GaussianBlur(noise, (0, 0), 0.6)
    return tile / tile.std()


def _window(tile: np.ndarray, shot: Shot, size: tuple[int, int], number: int) -> np.ndarray:
    """Cut a window of `size` (width, height) out of the tile, where the shot's random numbers and `number` say."""
    high, wide = WINDOW_PX, WINDOW_PX * shot.width_px // shot.height_px
    top = int((shot.noise[0] + 0.31 * number) % 1 * (TILE_PX - high))
    left = int((shot.noise[1] + 0.43 * number) % 1 * (TILE_PX - wide))
    return cv2.resize(tile[top : top + high, left : left + wide], size)
