"""Draws cloth and limbs: the strokes that make up synthetic people.

People are painted onto a `Sheet`: RGB plus a mask channel, 0 on the background and 255 on the body, which every stroke
updates at no cost. A `View` maps body coordinates (across, up, forward; in body heights) to positions in the image.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ffcv_convert.synthetic.people.identity import Cloth, Colour, Identity, Palette

Point = tuple[float, float]
Sheet = np.ndarray

SUBPIXEL_BITS = 4
SUBPIXELS = 1 << SUBPIXEL_BITS
# The camera looks slightly down, so that nearer parts appear lower.
LOOK_DOWN = 0.18


@dataclass(frozen=True)
class View:
    """An orthographic camera: where the feet stand, the body height in pixels, the body's turn and lean.

    yaw_rad 0 faces the camera (the body's left at the image's right), pi shows the back.
    """

    foot_x_px: float
    foot_y_px: float
    unit_px: float
    yaw_rad: float
    lean_rad: float

    def place(self, across: float, up: float) -> Point:
        """Return the position in the image of a point in the image plane, relative to the feet."""
        sine, cosine = math.sin(self.lean_rad), math.cos(self.lean_rad)
        x = across * cosine + up * sine
        y = up * cosine - across * sine
        return self.foot_x_px + x * self.unit_px, self.foot_y_px - y * self.unit_px

    def project(self, left: float, up: float, forward: float) -> Point:
        """Return the position in the image of a point in the body's own axes."""
        across = left * math.cos(self.yaw_rad) + forward * math.sin(self.yaw_rad)
        return self.place(across, up - LOOK_DOWN * self.depth(left, forward))

    def depth(self, left: float, forward: float) -> float:
        """Return the nearness to the camera: positive in front of the body's axis."""
        return forward * math.cos(self.yaw_rad) - left * math.sin(self.yaw_rad)

    def half_width(self, half_across: float, half_deep: float) -> float:
        """Return half the apparent width of an elliptic cross-section."""
        return math.hypot(half_across * math.cos(self.yaw_rad), half_deep * math.sin(self.yaw_rad))


@dataclass(frozen=True)
class Portrait:
    """One identity to be painted in one modality's palette; painting changes `sheet` in place."""

    sheet: Sheet
    person: Identity
    palette: Palette
    view: View


def darker(colour: Colour, share: float) -> Colour:
    """Return the colour at `share` of its brightness."""
    return int(colour[0] * share), int(colour[1] * share), int(colour[2] * share)


def fill(sheet: Sheet, points: list[Point], colour: Colour) -> None:
    """Paint a filled polygon with smooth edges."""
    corners = np.rint(np.array(points) * SUBPIXELS).astype(np.int32)
    cv2.fillPoly(sheet, [corners], (*colour, 255), cv2.LINE_AA, SUBPIXEL_BITS)


def disc(sheet: Sheet, centre: Point, radius_px: float, colour: Colour) -> None:
    """Paint a filled circle."""
    ellipse(sheet, centre, (radius_px, radius_px), 0.0, colour)


def ellipse(sheet: Sheet, centre: Point, radii_px: Point, turn_rad: float, colour: Colour) -> None:
    """Paint a filled ellipse, turned clockwise."""
    whole_centre = (round(centre[0] * SUBPIXELS), round(centre[1] * SUBPIXELS))
    whole_radii = (round(radii_px[0] * SUBPIXELS), round(radii_px[1] * SUBPIXELS))
    turn_deg = math.degrees(turn_rad)
    cv2.ellipse(sheet, whole_centre, whole_radii, turn_deg, 0, 360, (*colour, 255), -1, cv2.LINE_AA, SUBPIXEL_BITS)


def limb_outline(start: Point, end: Point, start_px: float, end_px: float) -> list[Point]:
    """Return the four corners of a tapering limb with the given half widths."""
    run, fall = end[0] - start[0], end[1] - start[1]
    length = math.hypot(run, fall) or 1.0
    run, fall = run / length, fall / length
    return [
        (start[0] - fall * start_px, start[1] + run * start_px),
        (start[0] + fall * start_px, start[1] - run * start_px),
        (end[0] + fall * end_px, end[1] - run * end_px),
        (end[0] - fall * end_px, end[1] + run * end_px),
    ]


def limb(sheet: Sheet, start: Point, end: Point, start_px: float, end_px: float, colour: Colour) -> None:
    """Paint a tapering limb with round ends."""
    disc(sheet, start, start_px, colour)
    disc(sheet, end, end_px, colour)
    fill(sheet, limb_outline(start, end, start_px, end_px), colour)


def paint_cloth(
    portrait: Portrait,
    outline: list[Point],
    cloth: Cloth,
    tones: tuple[Colour, Colour],
    top: float,
    half_width: float,
) -> None:
    """Fill a garment's outline with its pattern, which starts at body height `top` on the body's axis."""
    sheet, view = portrait.sheet, portrait.view
    if cloth.pattern == "plain":
        fill(sheet, outline, tones[0])
        return
    corners = np.array(outline)
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 2, (sheet.shape[1], sheet.shape[0]))
    if (high <= low).any():
        return
    stencil = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    local = np.rint((corners - low) * SUBPIXELS).astype(np.int32)
    cv2.fillPoly(stencil, [local], 255, cv2.LINE_AA, SUBPIXEL_BITS)
    origin_x, origin_y = view.place(0.0, top)
    x = ((np.arange(low[0], high[0], dtype=np.float32) - origin_x) / view.unit_px)[None, :]
    y = ((np.arange(low[1], high[1], dtype=np.float32) - origin_y) / view.unit_px)[:, None]
    sine, cosine = math.sin(view.lean_rad), math.cos(view.lean_rad)
    second = pattern_share(cloth, x * cosine - y * sine, y * cosine + x * sine, half_width, view)
    _blend(sheet[low[1] : high[1], low[0] : high[0]], stencil, second, tones)


def _blend(window: Sheet, stencil: np.ndarray, second: np.ndarray, tones: tuple[Colour, Colour]) -> None:
    """Lay the two tones, mixed by `second` (0..1), over the window where the stencil (0..255) is set."""
    alpha = stencil.astype(np.float32) * np.float32(1 / 255)
    first_tone, second_tone = (np.array((*tone, 255), np.float32) for tone in tones)
    ink = first_tone + second[..., None] * (second_tone - first_tone)
    ink -= window
    ink *= alpha[..., None]
    ink += window
    np.rint(ink, out=ink)
    window[:] = ink


def pattern_share(cloth: Cloth, across: np.ndarray, down: np.ndarray, half_width: float, view: View) -> np.ndarray:
    """Return the second tone's share (0..1) at each point; `across` and `down` are in body heights."""
    edge = 1.0 / view.unit_px
    period, offset, duty = cloth.period, cloth.offset, cloth.duty
    # Turning the body moves the printed pattern; only the sideways part of the turn matters.
    turned = across + half_width * 0.6 * math.sin(view.yaw_rad)
    if cloth.pattern == "horizontal stripes":
        return _wave(down + offset * period, period, duty, edge)
    if cloth.pattern == "vertical stripes":
        return _wave(turned, period, duty, edge)
    if cloth.pattern == "checks":
        rows, columns = _wave(down, period * 1.1, 0.5, edge), _wave(turned, period * 1.1, 0.5, edge)
        return rows + columns - 2 * rows * columns
    if cloth.pattern == "dots":
        row = np.floor(down / period)
        shifted = (turned / period + 0.5 * (row % 2)) % 1 - 0.5
        distance = np.hypot(shifted, (down / period) % 1 - 0.5) * period
        return _within(distance, period * (0.2 + 0.25 * duty), edge)
    if cloth.pattern == "diagonal band":
        slope = math.copysign(1.0, (offset - 0.5) * math.cos(view.yaw_rad)) * 0.8
        return _within(np.abs(slope * across + 0.62 * (down - 0.16)), period * 0.45 + 0.008, edge)
    if cloth.pattern == "chest block":
        width = _within(np.abs(across), period * 0.75, edge)
        return width * _within(np.abs(down - 0.1 - 0.06 * offset), 0.03 + 0.07 * duty, edge)
    if cloth.pattern == "chest band":
        return _within(np.abs(down - 0.07 - 0.18 * offset), period * 0.4, edge) + 0 * across
    if cloth.pattern == "two-tone":
        return _within(-down, -(0.09 + 0.14 * offset), edge) + 0 * across
    if cloth.pattern == "side panels":
        return _within(-np.abs(across), -half_width * (0.3 + 0.5 * duty), edge) + 0 * down
    if cloth.pattern == "hem band":
        return _within(-down, -(0.1 + 0.1 * offset), edge) + 0 * across
    raise ValueError(f"unknown pattern {cloth.pattern!r}")


def _wave(position: np.ndarray, period: float, duty: float, edge: float) -> np.ndarray:
    """Return a square wave, 1 for the share `duty` of each period, with edges one pixel wide."""
    distance = np.abs((position / period) % 1 - 0.5) * period
    return _within(distance, duty * period / 2, edge)


def _within(distance: np.ndarray, limit: float, edge: float) -> np.ndarray:
    return np.clip((limit - distance) / edge + 0.5, 0.0, 1.0)
