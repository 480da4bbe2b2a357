"""Sketches of synthetic people: grey pencil on paper, with the form of the photos, in six styles."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from ffcv_convert.beton import Modality
from ffcv_convert.synthetic.people import draw_person
from ffcv_convert.synthetic.people.cloth import View
from ffcv_convert.synthetic.people.figure import Pose
from ffcv_convert.synthetic.people.identity import Cloth, Identity, draw_identity
from ffcv_convert.synthetic.people.shot import Shot, draw_shot
from ffcv_convert.synthetic.people.sketch import ARTISTS, draw_sketch

STYLES = range(1, 7)
NOTHING_CARRIED: dict[str, Any] = {"backpack": 0.0, "strap_bag": 0.0, "hand_item": "none"}


def standing(height_px: int = 96, yaw_rad: float = 0.0) -> Shot:
    """The same pose and crop for every identity."""
    view = View(height_px / 4, 0.96 * height_px, 0.9 * height_px, yaw_rad, 0.0)
    pose = Pose(step_rad=0.6, stride_rad=0.3, swing_rad=0.3, bend_rad=0.2, head_turn_rad=0.0)
    shot = draw_shot(np.random.default_rng(0), height_px)
    return replace(shot, height_px=height_px, width_px=height_px // 2, view=view, pose=pose)


def graphite(person: Identity, style: int, yaw_rad: float = 0.0) -> np.ndarray:
    """(48, 24) float: how dark the sketch is, beyond the paper; strokes and grain are averaged out."""
    grey = draw_sketch(person, style, standing(192, yaw_rad))[..., 0].astype(np.float32)
    return cv2.resize(np.percentile(grey, 95) - grey, (24, 48), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("style", STYLES)
def test_a_sketch_is_grey_on_light_paper(style: int) -> None:
    for identity in range(5):
        image = draw_person(identity, style, 0, Modality.SKETCH, height_px=96)
        assert image.dtype == np.uint8
        assert np.ptp(image.astype(int), axis=2).max() == 0
        border = np.concatenate([image[:, :2].ravel(), image[:, -2:].ravel()])
        assert np.median(border) > 215
        assert image.min() < 150
        assert image.std() > 12


def test_same_arguments_give_the_same_pixels_and_any_other_argument_does_not() -> None:
    base: dict[str, Any] = {"identity": 3, "camera": 2, "frame": 5, "seed": 1}
    first = draw_person(**base, modality=Modality.SKETCH)
    for style in STYLES:
        draw_person(8, style, 0, Modality.SKETCH)
    assert np.array_equal(first, draw_person(**base, modality=Modality.SKETCH))
    for name, other in {"identity": 4, "camera": 3, "frame": 6, "seed": 2}.items():
        assert not np.array_equal(first, draw_person(**{**base, name: other}, modality=Modality.SKETCH)), name
    assert not np.array_equal(first, draw_person(**base, modality=Modality.INFRARED))


def test_styles_differ_in_tone_and_begin_again_after_the_sixth() -> None:
    person, shot = draw_identity(0, 2), standing()
    images = [draw_sketch(person, style, shot).astype(int) for style in STYLES]
    for index, first in enumerate(images):
        for second in images[index + 1 :]:
            assert np.abs(first - second).mean() > 3
    assert np.array_equal(draw_sketch(person, len(ARTISTS) + 1, shot), images[0])


@pytest.mark.parametrize("height_px", [32, 96, 288, 1000])
def test_a_sketch_has_the_size_of_its_shot(height_px: int) -> None:
    image = draw_sketch(draw_identity(0, 1), 1, standing(height_px))
    assert image.shape == (height_px, height_px // 2, 3)
    assert image.min() < 150


@pytest.mark.parametrize("style", STYLES)
def test_what_is_worn_and_carried_is_drawn(style: int) -> None:
    person = replace(
        draw_identity(0, 1), **NOTHING_CARRIED, upper_cloth=Cloth("plain", 0.09, 0.3, 0.5), contrast_sleeve=False
    )
    plain = graphite(person, style)
    changes: dict[str, dict[str, Any]] = {
        "pattern": {"upper_cloth": Cloth("horizontal stripes", 0.1, 0.3, 0.5)},
        "bag": {"strap_bag": 1.2},
        "suitcase": {"hand_item": "suitcase"},
        "skirt": {"lower": "skirt"},
        "hat": {"headwear": "brimmed hat"},
    }
    for name, change in changes.items():
        assert np.abs(graphite(replace(person, **change), style) - plain).max() > 15, name


@pytest.mark.parametrize("style", [style for style in STYLES if style != 6])
def test_a_dark_garment_is_drawn_darker(style: int) -> None:
    person = replace(draw_identity(0, 1), **NOTHING_CARRIED, upper_cloth=Cloth("plain", 0.09, 0.3, 0.5), trim_bands=0)
    chest = [
        graphite(replace(person, visible=replace(person.visible, upper=(tone, tone, tone))), style)[14:20, 10:14].mean()
        for tone in (30, 130, 230)
    ]
    assert chest[0] > chest[1] + 5 > chest[2] + 10


def test_identities_differ_more_than_hands() -> None:
    """In one pose, a sketch resembles another artist's of the same identity more than one of another identity."""
    people = [draw_identity(0, identity) for identity in range(30)]

    def shape(person: Identity, style: int) -> np.ndarray:
        flat = graphite(person, style).ravel()
        return (flat - flat.mean()) / flat.std()

    first, second = (np.array([shape(person, style) for person in people]) for style in (1, 2))
    distance = np.abs(first[:, None] - second[None]).mean(axis=2)
    assert (distance.argmin(axis=1) == np.arange(30)).mean() > 0.9
