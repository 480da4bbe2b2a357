"""Synthetic people: form is shared between the modalities, colour is not, and images repeat exactly."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest

from ffcv_convert.beton import Modality
from ffcv_convert.synthetic.people import draw_person
from ffcv_convert.synthetic.people.cloth import Portrait, View, pattern_share
from ffcv_convert.synthetic.people.figure import Pose, draw_figure
from ffcv_convert.synthetic.people.identity import HAND_ITEMS, PATTERNS, Cloth, Identity, draw_identity
from tests.support.refusals import refusal

SMALL_PX = 96
LUMINANCE = np.array([0.299, 0.587, 0.114])
POSE = Pose(step_rad=0.6, stride_rad=0.3, swing_rad=0.3, bend_rad=0.2, head_turn_rad=0.0)
EIGHT_TURNS_RAD = [math.pi * step / 4 for step in range(8)]
NOTHING_CARRIED: dict[str, Any] = {"backpack": 0.0, "strap_bag": 0.0, "hand_item": "none"}


def paint_alone(person: Identity, yaw_rad: float) -> np.ndarray:
    """The figure without background, light or noise: (288, 144, 4), the last channel is the mask."""
    sheet = np.zeros((288, 144, 4), np.uint8)
    draw_figure(Portrait(sheet, person, person.infrared, View(72.0, 280.0, 250.0, yaw_rad, 0.0)), POSE)
    return sheet


def torso_level(identity: int, camera: int, frame: int, modality: Modality) -> float:
    """Mean luminance of the middle of the trunk."""
    image = draw_person(identity, camera, frame, modality, height_px=SMALL_PX)
    high, wide = image.shape[:2]
    window = image[int(0.3 * high) : int(0.45 * high), int(0.4 * wide) : int(0.6 * wide)]
    return float((window @ LUMINANCE).mean())


def test_same_arguments_give_the_same_pixels_and_any_other_argument_does_not() -> None:
    base: dict[str, Any] = {"identity": 3, "camera": 2, "frame": 5, "modality": Modality.VISIBLE, "seed": 1}
    first = draw_person(**base)
    assert np.array_equal(first, draw_person(**base))
    others = {"identity": 4, "camera": 3, "frame": 6, "modality": Modality.INFRARED, "seed": 2}
    for name, other in others.items():
        assert not np.array_equal(first, draw_person(**{**base, name: other})), name


def test_images_do_not_depend_on_what_was_drawn_before() -> None:
    """Painting into a cached scene or identity would leak into the next image."""
    before = draw_person(7, 1, 0, Modality.VISIBLE)
    for frame in range(20):
        draw_person(8, 1, frame, Modality.VISIBLE)
    draw_identity.cache_clear()
    assert np.array_equal(before, draw_person(7, 1, 0, Modality.VISIBLE))


def test_threads_draw_the_same_pixels() -> None:
    def draw(identity: int) -> np.ndarray:
        return draw_person(identity, identity % 9 + 1, 0, Modality(identity % 3), seed=5, height_px=SMALL_PX)

    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(draw, range(24)))
    assert all(np.array_equal(image, draw(identity)) for identity, image in enumerate(threaded))


def test_infrared_is_grey_and_visible_is_not() -> None:
    for camera in range(1, 10):
        infrared = draw_person(camera, camera, 0, Modality.INFRARED).astype(int)
        assert np.ptp(infrared, axis=2).max() == 0
        assert infrared.std() > 10
        assert np.ptp(draw_person(camera, camera, 0, Modality.VISIBLE).astype(int), axis=2).mean() > 4


@pytest.mark.parametrize("height_px", [32, 96, 288, 700])
def test_size_varies_within_its_range(height_px: int) -> None:
    shapes = [draw_person(1, 1, frame, Modality.VISIBLE, height_px=height_px).shape for frame in range(12)]
    assert all(shape[2] == 3 for shape in shapes)
    assert len({shape[:2] for shape in shapes}) > 6
    for high, wide, _ in shapes:
        assert 0.85 * height_px - 1 <= high <= 1.15 * height_px + 1
        assert 0.425 * high - 1 <= wide <= 0.575 * high + 1


@pytest.mark.parametrize("wrong", [{"height_px": 31}, {"identity": -1}, {"frame": -1}, {"seed": -1}])
def test_bad_arguments_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"pixels|non-negative"):
        draw_person(**{"identity": 0, "camera": 1, "frame": 0, "modality": Modality.VISIBLE, **wrong})


def test_torso_brightness_is_unrelated_between_the_modalities() -> None:
    visible = [torso_level(i, camera=1, frame=0, modality=Modality.VISIBLE) for i in range(300)]
    again = [torso_level(i, camera=1, frame=1, modality=Modality.VISIBLE) for i in range(300)]
    infrared = [torso_level(i, camera=3, frame=0, modality=Modality.INFRARED) for i in range(300)]
    # The measure does see the clothes: within one modality it repeats.
    assert np.corrcoef(visible, again)[0, 1] > 0.6
    assert abs(np.corrcoef(visible, infrared)[0, 1]) < 0.15


@pytest.mark.parametrize(("first", "second"), [("upper", "upper_second"), ("lower", "lower_second")])
def test_pattern_contrast_is_clear_and_its_sign_independent(first: str, second: str) -> None:
    def contrasts(modality: str) -> np.ndarray:
        palettes = [getattr(draw_identity(0, identity), modality) for identity in range(400)]
        return np.array([LUMINANCE @ np.subtract(getattr(p, first), getattr(p, second)) for p in palettes])

    visible, infrared = contrasts("visible"), contrasts("infrared")
    assert np.abs(visible).min() > 30
    assert np.abs(infrared).min() > 30
    assert 0.4 < (visible * infrared > 0).mean() < 0.6


def test_hundreds_of_identities_differ_in_form() -> None:
    def form(person: Identity) -> tuple:
        carried = person.backpack > 0, person.strap_bag > 0, person.hand_item
        head, legs = (person.hair, person.headwear), (person.lower, person.lower_cloth.pattern, person.boots)
        upper = person.upper_cloth.pattern, person.sleeve, person.contrast_sleeve, person.coat
        return upper + head + legs + carried

    forms = {form(draw_identity(0, identity)) for identity in range(1000)}
    assert len(forms) > 950


@pytest.mark.parametrize("yaw_rad", EIGHT_TURNS_RAD)
def test_body_stands_on_its_feet_and_fills_its_height(yaw_rad: float) -> None:
    for identity in range(20):
        bare = replace(draw_identity(0, identity), headwear="none", hair="short")
        rows = np.flatnonzero((paint_alone(bare, yaw_rad)[..., 3] > 128).any(axis=1))
        assert abs(rows[0] - 30) < 10
        assert abs(rows[-1] - 280) < 25


@pytest.mark.parametrize("yaw_rad", EIGHT_TURNS_RAD)
@pytest.mark.parametrize(
    "carried", [{"backpack": 1.0}, {"strap_bag": 1.0}, *({"hand_item": n} for n in HAND_ITEMS[1:])]
)
def test_things_carried_show_from_every_side(carried: dict, yaw_rad: float) -> None:
    empty = replace(draw_identity(0, 1), **NOTHING_CARRIED)
    change = cv2.absdiff(paint_alone(empty, yaw_rad), paint_alone(replace(empty, **carried), yaw_rad))
    assert (change.max(axis=2) > 20).sum() > 150


@pytest.mark.parametrize("yaw_rad", EIGHT_TURNS_RAD)
@pytest.mark.parametrize("pattern", PATTERNS[1:])
def test_patterns_show_from_every_side(pattern: str, yaw_rad: float) -> None:
    person = replace(draw_identity(0, 1), **NOTHING_CARRIED, contrast_sleeve=False, trim_bands=0)
    plain = replace(person, upper_cloth=Cloth("plain", 0.09, 0.3, 0.5))
    patterned = replace(person, upper_cloth=Cloth(pattern, 0.09, 0.3, 0.5))
    change = cv2.absdiff(paint_alone(plain, yaw_rad), paint_alone(patterned, yaw_rad))
    assert (change.max(axis=2) > 20).sum() > 150
    # Rounding at smooth edges apart, the outline stays.
    assert change[..., 3].max() <= 1


def test_unknown_pattern_is_refused() -> None:
    view = View(0.0, 0.0, 100.0, 0.0, 0.0)
    with refusal(ValueError, "'paisley'"):
        pattern_share(Cloth("paisley", 0.1, 0.0, 0.5), np.zeros((1, 3)), np.zeros((2, 1)), 0.1, view)


def test_stripes_have_their_period_and_share() -> None:
    view = View(0.0, 0.0, 200.0, 0.0, 0.0)
    down, across = np.arange(400)[:, None] / 200, np.arange(6)[None] / 200
    share = pattern_share(Cloth("horizontal stripes", 0.1, 0.0, 0.35), across, down, 0.1, view)[:, 0]
    assert np.flatnonzero(np.diff((share > 0.5).astype(int)) == 1).tolist() == list(range(6, 400, 20))
    assert share.mean() == pytest.approx(0.35, abs=0.01)


def test_finest_period_survives_a_reduction_to_96_pixels() -> None:
    people = [draw_identity(0, identity) for identity in range(500)]
    assert min(min(p.upper_cloth.period, p.lower_cloth.period) for p in people) > 1 / 25


def test_turning_round_swaps_the_sides() -> None:
    front, back = (View(72.0, 280.0, 250.0, yaw_rad, 0.0) for yaw_rad in (0.0, math.pi))
    assert front.project(0.1, 0.5, 0.0)[0] == pytest.approx(97.0)
    assert back.project(0.1, 0.5, 0.0)[0] == pytest.approx(47.0)
    assert front.depth(0.0, 0.1) == pytest.approx(0.1)
    assert back.depth(0.0, 0.1) == pytest.approx(-0.1)


def profile(image: np.ndarray) -> np.ndarray:
    """(32, C) tones down the middle of an image, without their mean and spread."""
    wide = image.shape[1]
    middle = image[:, int(0.36 * wide) : int(0.64 * wide)]
    rows = cv2.resize(middle, (1, 32), interpolation=cv2.INTER_AREA)[:, 0].astype(float)
    return (rows - rows.mean()) / (rows.std() + 1e-6)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Mean difference at the best of seven vertical shifts of up to a tenth of the height."""
    shifts = range(-3, 4)
    return min(float(np.abs(first[3:-3] - second[3 + s : 29 + s]).mean()) for s in shifts)


@pytest.mark.parametrize("modality", [Modality.VISIBLE, Modality.INFRARED])
def test_identities_differ_more_than_frames_of_one(modality: Modality) -> None:
    people = 40
    frames = [
        [profile(draw_person(i, 2, frame, modality, height_px=SMALL_PX)) for i in range(people)] for frame in (0, 1)
    ]
    same = np.array([distance(frames[0][i], frames[1][i]) for i in range(people)])
    other = np.array([[distance(a, b) for b in frames[1]] for a in frames[0]])
    off_diagonal = ~np.eye(people, dtype=bool)
    assert same.mean() < 0.85 * other[off_diagonal].mean()
    closer = (same[:, None] < other)[off_diagonal].mean()
    assert closer > 0.7


def test_frames_of_a_walk_move_and_are_not_images_of_their_own() -> None:
    """From frame to frame changes less than from image to image, but something does; both modalities walk in step."""

    def frames(walk: int | None, modality: Modality = Modality.VISIBLE) -> np.ndarray:
        drawn = [draw_person(3, 2, frame, modality, height_px=SMALL_PX, walk=walk) for frame in range(12)]
        if walk is not None:
            assert len({image.shape for image in drawn}) == 1
        return np.stack([cv2.resize(image, (48, 96)).astype(int) for image in drawn])

    def change(images: np.ndarray) -> float:
        return float(np.abs(np.diff(images, axis=0)).mean())

    walk, other, apart = frames(1), frames(2), frames(None)
    assert all((one != another).any() for one, another in pairwise(walk))
    assert 2 < change(walk) < 0.6 * change(apart)
    assert np.abs(walk - other).mean() > change(walk)
    step = [np.abs(walk[n] - walk[0])[50:90].mean() for n in (1, 7)]  # the legs, half a cycle later
    assert step[1] > step[0]
    sizes = [draw_person(3, 2, 5, m, height_px=SMALL_PX, walk=1).shape for m in (Modality.VISIBLE, Modality.INFRARED)]
    assert sizes[0] == sizes[1]
