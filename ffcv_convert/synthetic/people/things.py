"""Draws things that synthetic people carry or wear over their clothes: bags, suitcase, umbrella, reflective bands."""

import math

from ffcv_convert.synthetic.people.cloth import Point, Portrait, Sheet, View, darker, disc, fill, limb_outline
from ffcv_convert.synthetic.people.identity import Colour


def back_bag(portrait: Portrait) -> None:
    """Paint a backpack: the whole bag from behind, its profile from the side, its rim from the front."""
    sheet, person, palette, view = portrait.sheet, portrait.person, portrait.palette, portrait.view
    size = person.backpack
    behind = 0.07 * person.build + 0.05 * size
    half = view.half_width(0.098 * size, 0.062 * size)
    across = -behind * math.sin(view.yaw_rad)
    middle, tall = 0.7, 0.115 * size
    _rounded_box(sheet, view, (across, middle), (half, tall), palette.bag)
    if math.cos(view.yaw_rad) < 0.3:
        _rounded_box(sheet, view, (across, middle - tall * 0.45), (half * 0.72, tall * 0.36), palette.bag_second)


def back_bag_straps(portrait: Portrait) -> None:
    """Paint the two straps of a backpack over the front of the shoulders."""
    sheet, person, palette, view = portrait.sheet, portrait.person, portrait.palette, portrait.view
    toward, aside = math.cos(view.yaw_rad), math.sin(view.yaw_rad)
    half = 0.017 * person.backpack * view.unit_px
    for side in (-1, 1):
        across = side * person.shoulder_half * 0.62 * toward + 0.03 * aside
        top, bottom = view.place(across, 0.838), view.place(across * 1.15, 0.64)
        fill(sheet, limb_outline(top, bottom, half, half), palette.bag)


def bag_strap(portrait: Portrait) -> None:
    """Paint the strap of a shoulder bag, across chest or back from the other shoulder."""
    person, view = portrait.person, portrait.view
    shoulder = view.place(-person.strap_side * person.shoulder_half * 0.55 * math.cos(view.yaw_rad), 0.84)
    half = 0.0135 * person.strap_bag * view.unit_px
    outline = limb_outline(shoulder, view.place(_bag_across(portrait), 0.56), half, half)
    fill(portrait.sheet, outline, portrait.palette.bag_second)


def strap_bag(portrait: Portrait) -> None:
    """Paint a shoulder bag at the hip."""
    palette, view, size = portrait.palette, portrait.view, portrait.person.strap_bag
    across = _bag_across(portrait)
    wide = view.half_width(0.055 * size, 0.085 * size)
    _rounded_box(portrait.sheet, view, (across, 0.5), (wide, 0.06 * size), palette.bag)
    _rounded_box(portrait.sheet, view, (across, 0.525), (wide * 0.96, 0.026 * size), palette.bag_second)


def _bag_across(portrait: Portrait) -> float:
    person, view = portrait.person, portrait.view
    return person.strap_side * (person.hip_half + 0.035) * math.cos(view.yaw_rad) - 0.01 * math.sin(view.yaw_rad)


def hand_item(portrait: Portrait, hand_px: Point) -> None:
    """Paint the bag, suitcase or umbrella held by the hand at `hand_px`."""
    sheet, person, palette, view = portrait.sheet, portrait.person, portrait.palette, portrait.view
    unit, size = view.unit_px, person.item_size
    x, y = hand_px
    if person.hand_item in ("handbag", "shopping bag"):
        wide, tall = (0.068, 0.042) if person.hand_item == "handbag" else (0.055, 0.085)
        wide = view.half_width(wide * 0.7, wide) * size * unit
        tall *= size * unit
        top = y + 0.045 * unit
        for side in (-0.6, 0.6):
            fill(sheet, limb_outline((x, y), (x + side * wide, top), 1.2, 1.2), darker(palette.bag, 0.7))
        corners = [(x - wide * 0.85, top), (x + wide * 0.85, top)]
        fill(sheet, [*corners, (x + wide, top + 2 * tall), (x - wide, top + 2 * tall)], palette.bag)
        band = (top + 0.7 * tall, top + 1.3 * tall)
        fill(sheet, _upright_box(x, wide * 0.93, band), palette.bag_second)
    if person.hand_item == "suitcase":
        _suitcase(portrait, hand_px)
    if person.hand_item == "umbrella":
        tip = (x + 0.07 * unit * math.sin(view.yaw_rad), y + 0.33 * unit)
        handle = (x - 0.02 * unit * math.sin(view.yaw_rad), y - 0.05 * unit)
        fill(sheet, limb_outline(handle, tip, 0.008 * unit, 0.006 * unit), palette.bag_second)
        middle = (0.75 * x + 0.25 * tip[0], 0.75 * y + 0.25 * tip[1])
        fill(sheet, limb_outline(middle, tip, 0.027 * size * unit, 0.009 * unit), palette.bag)


def _suitcase(portrait: Portrait, hand_px: Point) -> None:
    """Paint a suitcase on wheels behind the person, with a handle up to the hand."""
    sheet, palette, view, size = portrait.sheet, portrait.palette, portrait.view, portrait.person.item_size
    unit = view.unit_px
    trail = -0.1 * math.sin(view.yaw_rad) * unit
    x, ground = hand_px[0] + trail, view.foot_y_px + 0.012 * unit * math.cos(view.yaw_rad)
    wide, tall = view.half_width(0.085, 0.055) * size * unit, 0.27 * size * unit
    top = ground - 0.02 * unit - tall
    for side in (-0.5, 0.5):
        start = (x + side * wide, top)
        fill(sheet, limb_outline(start, hand_px, 1.2, 1.2), darker(palette.bag, 0.6))
    for side in (-0.75, 0.75):
        disc(sheet, (x + side * wide, ground - 0.015 * unit), 0.015 * unit, (28, 28, 28))
    fill(sheet, _upright_box(x, wide, (top, top + tall)), palette.bag)
    for share in (0.2, 0.62):
        band = (top + share * tall, top + (share + 0.14) * tall)
        fill(sheet, _upright_box(x, wide, band), palette.bag_second)


def trim_bands(portrait: Portrait, half_width: float) -> None:
    """Paint reflective bands around the trunk."""
    view = portrait.view
    for index in range(portrait.person.trim_bands):
        up = 0.6 - 0.055 * index
        ends = view.place(-half_width, up), view.place(half_width, up)
        half = 0.011 * view.unit_px
        fill(portrait.sheet, limb_outline(*ends, half, half), portrait.palette.trim)


def _upright_box(x: float, half: float, top_bottom: tuple[float, float]) -> list[Point]:
    top, bottom = top_bottom
    return [(x - half, top), (x + half, top), (x + half, bottom), (x - half, bottom)]


def _rounded_box(sheet: Sheet, view: View, centre: Point, halves: Point, colour: Colour) -> None:
    """Paint an upright box with cut corners and a dark rim around a point in the image plane."""
    for grow, tone in ((0.006, darker(colour, 0.55)), (0.0, colour)):
        half, tall = halves[0] + grow, halves[1] + grow
        corner = 0.3 * min(half, tall)
        outline = [
            (half - corner, tall),
            (half, tall - corner),
            (half, corner - tall),
            (half - corner, -tall),
            (corner - half, -tall),
            (-half, corner - tall),
            (-half, tall - corner),
            (corner - half, tall),
        ]
        fill(sheet, [view.place(centre[0] + across, centre[1] + up) for across, up in outline], tone)
