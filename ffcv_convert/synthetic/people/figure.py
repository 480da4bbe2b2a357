"""Draws the body of a synthetic person: legs, garments, arms and head on a small walking skeleton.

Joints are computed in the body's own axes (left, up, forward; in body heights) and projected by the `View`, so turned
bodies need no special cases. Parts are painted from far to near.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from ffcv_convert.synthetic.people.cloth import (
    Point,
    Portrait,
    View,
    darker,
    disc,
    fill,
    limb,
    limb_outline,
    paint_cloth,
)
from ffcv_convert.synthetic.people.head import draw_head
from ffcv_convert.synthetic.people.identity import Identity
from ffcv_convert.synthetic.people.things import back_bag, back_bag_straps, bag_strap, hand_item, strap_bag, trim_bands

SHOULDER = 0.815
SLEEVE_PATTERNS = ("horizontal stripes", "checks", "dots")


@dataclass(frozen=True)
class Pose:
    """How a person walks in one image: angles of step, stride, arm swing, arm bend and head turn."""

    step_rad: float
    stride_rad: float
    swing_rad: float
    bend_rad: float
    head_turn_rad: float


def draw_figure(portrait: Portrait, pose: Pose) -> None:
    """Paint the whole figure onto the portrait's sheet."""
    person, view = portrait.person, portrait.view
    parts: list[tuple[float, Callable[..., None], tuple]] = [
        (0.0, _trunk, (portrait,)),
        (0.8, draw_head, (portrait, pose.head_turn_rad)),
    ]
    for side in (-1, 1):
        parts.append((view.depth(side * person.hip_half, 0.0) - 2.0, _leg, (portrait, pose, side)))
        joints = _arm_joints(portrait, pose, side)
        forward = 0.5 * _arm_swing(person, pose, side)
        near = view.depth(side * person.shoulder_half, forward) > -0.02
        arm_depth = (1.0 if near else -1.0) + 0.1 * view.depth(side, 0.0)
        parts.append((arm_depth, _arm, (portrait, joints)))
        if _holds(person, side):
            parts.append((arm_depth - 0.01, hand_item, (portrait, joints[2])))
    if person.backpack and math.cos(view.yaw_rad) < 0.1:
        parts.append((0.5, back_bag, (portrait,)))
    elif person.backpack:
        parts += [(-1.5, back_bag, (portrait,)), (0.05, back_bag_straps, (portrait,))]
    if person.strap_bag:
        bag_depth = 1.5 if view.depth(person.strap_side, 0.3) > 0 else -1.4
        parts += [(bag_depth, strap_bag, (portrait,)), (0.1, bag_strap, (portrait,))]
    for _, paint, arguments in sorted(parts, key=lambda part: part[0]):
        paint(*arguments)


def _leg(portrait: Portrait, pose: Pose, side: int) -> None:
    """Paint one leg, its garment and its shoe."""
    person, palette, view = portrait.person, portrait.palette, portrait.view
    sheet, unit = portrait.sheet, view.unit_px
    hip, knee, ankle, toe = _leg_joints(portrait, pose, side)
    shade = 1.0 if view.depth(side, 0.0) >= 0 else 0.84
    shoe = darker(palette.shoes, shade)
    toes_ahead = math.cos(view.yaw_rad) >= 0
    if not toes_ahead:
        limb(sheet, ankle, toe, 0.025 * unit, 0.021 * unit, shoe)
    if person.lower in ("trousers", "wide trousers"):
        _trouser_leg(portrait, (hip, knee, ankle), shade)
    else:
        _bare_leg(portrait, (hip, knee, ankle), shade)
    if person.boots and person.lower != "wide trousers":
        top = (0.45 * ankle[0] + 0.55 * knee[0], 0.45 * ankle[1] + 0.55 * knee[1])
        limb(sheet, top, ankle, 0.037 * person.build**0.6 * unit, 0.03 * unit, shoe)
    if toes_ahead:
        limb(sheet, ankle, toe, 0.025 * unit, 0.023 * unit, shoe)


def _leg_joints(portrait: Portrait, pose: Pose, side: int) -> tuple[Point, Point, Point, Point]:
    """Return the positions in the image of the hip, knee, ankle and toe of one side."""
    person, view = portrait.person, portrait.view
    swing = side * pose.stride_rad * math.sin(pose.step_rad)
    # The knee bends most while its leg passes under the body.
    bend = 0.12 + 1.1 * max(0.0, side * math.cos(pose.step_rad)) * pose.stride_rad
    half = person.leg_length / 2 - 0.012
    left = side * person.hip_half * 0.52
    knee = (left, person.leg_length - half * math.cos(swing), half * math.sin(swing))
    ankle = (left, knee[1] - half * math.cos(swing - bend), knee[2] + half * math.sin(swing - bend))
    toe = (left * 1.25, ankle[1] - 0.016, ankle[2] + 0.085)
    return (
        view.project(left, person.leg_length, 0.0),
        view.project(*knee),
        view.project(*ankle),
        view.project(*toe),
    )


def _bare_leg(portrait: Portrait, joints: tuple[Point, Point, Point], shade: float) -> None:
    """Paint a leg under a skirt, or in shorts."""
    hip, knee, ankle = joints
    sheet, palette = portrait.sheet, portrait.palette
    thick = portrait.person.build**0.6 * portrait.view.unit_px
    skin = darker(palette.skin, shade)
    limb(sheet, knee, ankle, 0.034 * thick, 0.021 * thick, skin)
    limb(sheet, hip, knee, 0.05 * thick, 0.034 * thick, skin)
    if portrait.person.lower == "shorts":
        end = (0.2 * hip[0] + 0.8 * knee[0], 0.2 * hip[1] + 0.8 * knee[1])
        limb(sheet, hip, end, 0.058 * thick, 0.058 * thick, darker(palette.lower, shade))


def _trouser_leg(portrait: Portrait, joints: tuple[Point, Point, Point], shade: float) -> None:
    """Paint a trouser leg with a dark rim, and perhaps a stripe, a band at the hem, or a knee patch."""
    hip, knee, ankle = joints
    sheet, unit = portrait.sheet, portrait.view.unit_px
    thick = portrait.person.build**0.6 * unit
    wide = 1.35 if portrait.person.lower == "wide trousers" else 1.0
    cloth = darker(portrait.palette.lower, shade)
    second = darker(portrait.palette.lower_second, shade)
    halves = (0.058 * wide**0.5 * thick, 0.04 * wide * thick, 0.03 * wide**1.6 * thick)
    for rim, tone in ((0.005 * unit, darker(cloth, 0.6)), (0.0, cloth)):
        limb(sheet, knee, ankle, halves[1] + rim, halves[2] + rim, tone)
        limb(sheet, hip, knee, halves[0] + rim, halves[1] + rim, tone)
    pattern = portrait.person.lower_cloth.pattern
    if pattern == "side stripe":
        half = 0.012 * unit
        fill(sheet, limb_outline(hip, knee, half, half), second)
        fill(sheet, limb_outline(knee, ankle, half, half), second)
    if pattern == "hem band":
        start = (0.55 * ankle[0] + 0.45 * knee[0], 0.55 * ankle[1] + 0.45 * knee[1])
        fill(sheet, limb_outline(start, ankle, 0.55 * halves[1] + 0.45 * halves[2], halves[2]), second)
    if pattern == "knee patch":
        disc(sheet, knee, 0.037 * thick, second)


def _holds(person: Identity, side: int) -> bool:
    return person.hand_item != "none" and side == person.hand_side


def _arm_swing(person: Identity, pose: Pose, side: int) -> float:
    # Arms swing against the legs; a loaded arm hardly swings.
    return -side * pose.swing_rad * math.sin(pose.step_rad) * (0.25 if _holds(person, side) else 1.0)


def _arm_joints(portrait: Portrait, pose: Pose, side: int) -> tuple[Point, Point, Point]:
    """Return the positions in the image of the shoulder, elbow and hand of one side."""
    person, view = portrait.person, portrait.view
    swing = _arm_swing(person, pose, side)
    forearm = swing + (0.1 if _holds(person, side) else pose.bend_rad)
    left, top = side * person.shoulder_half * 0.93, SHOULDER - 0.025
    out = side * (0.022 + 0.012 * person.build)
    elbow = (left + out, top - 0.165 * math.cos(swing), 0.165 * math.sin(swing))
    hand = (left + out * 1.3, elbow[1] - 0.17 * math.cos(forearm), elbow[2] + 0.17 * math.sin(forearm))
    return view.project(left, top, 0.0), view.project(*elbow), view.project(*hand)


def _arm(portrait: Portrait, joints: tuple[Point, Point, Point]) -> None:
    """Paint one arm in its sleeve, with a dark rim that separates it from the trunk."""
    shoulder, elbow, hand = joints
    sheet, person, palette, unit = portrait.sheet, portrait.person, portrait.palette, portrait.view.unit_px
    upper, lower, wrist = 0.037 * person.build**0.7 * unit, 0.029 * unit, 0.02 * unit
    tone = palette.upper_second if person.contrast_sleeve else palette.upper
    rim, rim_tone = 0.006 * unit, darker(tone, 0.62)
    limb(sheet, shoulder, elbow, upper + rim, lower + rim, rim_tone)
    disc(sheet, hand, 0.024 * unit, palette.skin)
    if person.sleeve == "short":
        limb(sheet, elbow, hand, lower * 0.86, wrist, palette.skin)
        limb(sheet, shoulder, elbow, upper * 0.8, lower * 0.86, palette.skin)
        elbow = (0.35 * shoulder[0] + 0.65 * elbow[0], 0.35 * shoulder[1] + 0.65 * elbow[1])
    else:
        limb(sheet, elbow, hand, lower + rim, wrist + rim, rim_tone)
        limb(sheet, elbow, hand, lower, wrist, tone)
    limb(sheet, shoulder, elbow, upper, lower, tone)
    if person.upper_cloth.pattern in SLEEVE_PATTERNS and not person.contrast_sleeve:
        outline = limb_outline(shoulder, elbow, upper, lower)
        tones = (palette.upper, palette.upper_second)
        paint_cloth(portrait, outline, person.upper_cloth, tones, SHOULDER, person.shoulder_half)


def _trunk(portrait: Portrait) -> None:
    """Paint the neck, the top of the lower garment or skirt, the upper garment and its trim."""
    person, palette, view = portrait.person, portrait.palette, portrait.view
    hip, hem = person.leg_length, person.leg_length - person.hem_drop
    hips = view.half_width(person.hip_half, 0.078 * person.build)
    shoulders = view.half_width(person.shoulder_half, 0.066 * person.build)
    waist = 0.5 * (hips + shoulders) * 0.93
    if person.lower in ("skirt", "long skirt"):
        drop, flare = (0.21, 1.35) if person.lower == "skirt" else (0.37, 1.6)
        outline = _mirrored(view, [(hips * 0.9, hip + 0.09), (hips, hip), (hips * flare, hip - drop)])
        lower_tones = (palette.lower, palette.lower_second)
        paint_cloth(portrait, outline, person.lower_cloth, lower_tones, hip + 0.06, hips)
    else:
        seat = _mirrored(view, [(waist, hip + 0.1), (hips, hip), (hips * 0.8, hip - 0.045)])
        fill(portrait.sheet, seat, palette.lower)
    neck = view.place(0.0, 0.8), view.place(0.0, 0.88)
    limb(portrait.sheet, *neck, 0.034 * view.unit_px, 0.03 * view.unit_px, palette.skin)
    garment = [
        (0.032, SHOULDER + 0.035),
        (shoulders * 0.72, SHOULDER + 0.018),
        (shoulders, SHOULDER - 0.018),
        (shoulders * 0.97, SHOULDER - 0.1),
        (waist, hip + 0.13),
        (hips * 1.04, hip + 0.01),
        (hips * (1.0 + 1.1 * max(person.hem_drop, 0.0)), hem),
    ]
    tones = (palette.upper, palette.upper_second)
    paint_cloth(portrait, _mirrored(view, garment), person.upper_cloth, tones, SHOULDER, shoulders)
    trim_bands(portrait, shoulders * 0.97)


def _mirrored(view: View, half: list[Point]) -> list[Point]:
    """Return the whole outline from its right half, given as (across, up) from top to bottom."""
    right = [view.place(across, up) for across, up in half]
    left = [view.place(-across, up) for across, up in reversed(half)]
    return right + left
