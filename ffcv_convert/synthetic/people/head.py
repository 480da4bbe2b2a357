"""Draws the head of a synthetic person: face, hair and headwear, turned slightly against the body."""

import math

from ffcv_convert.synthetic.people.cloth import Point, Portrait, darker, disc, ellipse, fill, limb


def draw_head(portrait: Portrait, turn_rad: float) -> None:
    """Paint head, hair and headwear; the face shows as far as it is turned to the camera."""
    sheet, person, palette, view = portrait.sheet, portrait.person, portrait.palette, portrait.view
    yaw = view.yaw_rad + turn_rad
    half_up = person.head_height / 2
    half_across = half_up * 0.78
    toward, aside = math.cos(yaw), math.sin(yaw)
    up, unit = 1.0 - half_up, view.unit_px
    centre = view.place(0.012 * aside, up)
    radii = (half_across * unit, half_up * unit)
    _long_hair(portrait, (toward, aside))
    hair = palette.skin if person.hair == "bald" else palette.hair
    if person.hair == "afro":
        disc(sheet, view.place(0.0, up + 0.012), half_up * 1.22 * unit, hair)
    ellipse(sheet, centre, (radii[0] * 1.08, radii[1] * 1.02), view.lean_rad, hair)
    if toward > -0.45:
        # From the side, the face covers only the front half; from the front, all but the hairline.
        shift = half_across * 0.5 * aside
        face = (radii[0] * (0.6 + 0.3 * max(toward, 0.0)), radii[1] * 0.78)
        ellipse(sheet, view.place(0.012 * aside + shift, up - half_up * 0.2), face, view.lean_rad, palette.skin)
    if toward > 0.35:
        for side in (-1, 1):
            eye = view.place(0.012 * aside + half_across * (0.36 * side * toward + 0.5 * aside), up - 0.004)
            ellipse(sheet, eye, (0.009 * unit, 0.005 * unit), 0.0, darker(palette.skin, 0.55))
    _headwear(portrait, (toward, aside))


def _long_hair(portrait: Portrait, facing: Point) -> None:
    """Paint hair that hangs or is tied outside the outline of the skull."""
    toward, aside = facing
    sheet, person, palette, view = portrait.sheet, portrait.person, portrait.palette, portrait.view
    half_up, unit, hair = person.head_height / 2, view.unit_px, palette.hair
    up = 1.0 - half_up
    if person.hair in ("bob", "long"):
        length = 0.035 if person.hair == "bob" else 0.12
        # From the front, long hair is behind the shoulders: only its sides show beside the neck.
        end = up - half_up * 0.55 - length * (0.7 if toward > 0.4 else 1.0)
        wide = half_up * (0.98 if person.hair == "bob" else 0.88)
        crown, tips = view.place(-0.012 * aside, up + 0.01), view.place(-0.03 * aside, end)
        limb(sheet, crown, tips, half_up * 0.86 * unit, wide * 0.86 * unit, hair)
        if toward > 0.4:
            neck = view.place(0.0, up - half_up * 1.05)
            ellipse(sheet, neck, (0.03 * unit, 0.045 * unit), 0.0, darker(palette.skin, 0.85))
    if person.hair == "ponytail":
        root = view.place(-0.06 * aside, up + 0.02)
        tip = view.place(-0.1 * aside + (0.05 if toward > 0.4 else 0.0), up - 0.14)
        limb(sheet, root, tip, 0.026 * unit, 0.014 * unit, hair)
    if person.hair == "bun":
        disc(sheet, view.place(-0.045 * aside, 1.0 + 0.006), 0.034 * unit, hair)


def _headwear(portrait: Portrait, facing: Point) -> None:
    """Paint a cap, beanie, brimmed hat or hood over the hair."""
    toward, aside = facing
    sheet, headwear, tone, view = (
        portrait.sheet,
        portrait.person.headwear,
        portrait.palette.headwear,
        portrait.view,
    )
    half_up, unit = portrait.person.head_height / 2, view.unit_px
    up, half_across, shift = 1.0 - half_up, 0.84 * half_up, 0.012 * aside
    if headwear == "hood":
        _hood(portrait, facing)
    elif headwear != "none":
        rise = {"cap": 1.06, "beanie": 1.24, "brimmed hat": 1.16}[headwear] - 0.26
        dome = []
        for step in range(10):
            turn = math.pi * step / 9
            across = shift + half_across * 1.1 * math.cos(turn)
            dome.append(view.place(across, up + half_up * (0.26 + rise * math.sin(turn))))
        fill(sheet, dome, tone)
    if headwear == "cap" and toward > -0.5:
        peak = view.place(shift + aside * 0.06, up + half_up * 0.26)
        ellipse(sheet, peak, ((0.035 + 0.02 * toward) * unit, 0.012 * unit), 0.0, darker(tone, 0.7))
    if headwear == "brimmed hat":
        brim = view.place(shift, up + half_up * 0.28)
        ellipse(sheet, brim, (half_across * 1.95 * unit, 0.016 * unit), view.lean_rad, tone)


def _hood(portrait: Portrait, facing: Point) -> None:
    """Paint a hood in the colour of the sleeves, open at the face."""
    toward, aside = facing
    sheet, person, palette, view = portrait.sheet, portrait.person, portrait.palette, portrait.view
    half_up, unit = person.head_height / 2, view.unit_px
    up, half_across = 1.0 - half_up, 0.84 * half_up
    tone = palette.upper_second if person.contrast_sleeve else palette.upper
    radii = (half_across * 1.28 * unit, half_up * 1.2 * unit)
    ellipse(sheet, view.place(0.0, up - 0.004), radii, view.lean_rad, darker(tone, 0.9))
    if toward > -0.45:
        opening = (half_across * (0.5 + 0.3 * max(toward, 0.0)) * unit, half_up * 0.75 * unit)
        centre = view.place(half_across * 0.5 * aside, up - half_up * 0.16)
        ellipse(sheet, centre, opening, view.lean_rad, palette.skin)
