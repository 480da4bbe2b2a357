"""Draws synthetic pedestrians of any size, to test, show and time cross-modality matching.

    identity (body, clothes, pattern, bags, tones)   identity.py   fixed by seed, identity
    camera (scene, light, blur, noise, cast)         scenes.py     fixed by seed, camera, modality
    pose and crop (turn, step, scale, shift)         shot.py       new for each image, or moved on from frame to frame
    artist (pencil, strokes, paper)                  sketch.py     fixed by camera, for sketches

The modalities share the form: body shape, cut and pattern of the clothes, hair, bags. They do not share colour: the
infrared grey of each part is independent of its visible colour, and sketches have no colour, although artists A to E
draw how dark a part looks. Turn, step, crop, light and background change from image to image, as in crops from a
detector.
"""

import cv2
import numpy as np

from ffcv_convert.beton import Modality
from ffcv_convert.synthetic.people.cloth import Portrait, Sheet
from ffcv_convert.synthetic.people.figure import draw_figure
from ffcv_convert.synthetic.people.identity import draw_identity
from ffcv_convert.synthetic.people.scenes import (
    NOISE_TILE_PX,
    NOISE_TILE_SPREAD,
    SCENE_HEIGHT_PX,
    SCENE_WIDTH_PX,
    Camera,
    draw_camera,
    draw_scene,
    fold_tile,
    noise_tile,
    tone_table,
)
from ffcv_convert.synthetic.people.shot import MIN_HEIGHT_PX, Shot, draw_shot, moved
from ffcv_convert.synthetic.people.sketch import draw_sketch


def draw_person(
    identity: int,
    camera: int,
    frame: int,
    modality: Modality,
    *,
    seed: int = 0,
    height_px: int = 288,
    walk: int | None = None,
) -> np.ndarray:
    """Draw one image, (H, W, 3) uint8 RGB; the same arguments give the same pixels.

    H is about `height_px` and W about half of it; both vary by 15 % from image to image. Infrared images and sketches
    have R = G = B. The `camera` of a sketch is its artist, from 1. walk: None, and each frame is an image of its own;
    else frames of the same walk follow each other, in both modalities at the same places. Raises ValueError for a
    `height_px` below 32 and for negative numbers.
    """
    if height_px < MIN_HEIGHT_PX:
        raise ValueError(f"height_px is {height_px}, but a person needs at least {MIN_HEIGHT_PX} pixels")
    person = draw_identity(seed, identity)
    if walk is None:
        shot = draw_shot(np.random.default_rng([seed, 41, identity, camera, frame, int(modality)]), height_px)
    else:
        shot = draw_shot(np.random.default_rng([seed, 42, identity, camera, walk]), height_px)
        noise = np.random.default_rng([seed, 43, identity, camera, walk, frame, int(modality)]).random(2)
        shot = moved(shot, frame, noise)
    if modality == Modality.SKETCH:
        return draw_sketch(person, camera, shot)
    infrared = modality == Modality.INFRARED
    look = draw_camera(seed, camera, infrared)
    sheet = _background(draw_scene(seed, camera, infrared), shot)
    palette = person.infrared if infrared else person.visible
    draw_figure(Portrait(sheet, person, palette, shot.view), shot.pose)
    image = _shade(sheet, shot, look)
    _occlude(image, shot)
    return _expose(image, shot, look, infrared)


def _background(scene: np.ndarray, shot: Shot) -> Sheet:
    """Cut a window out of the scene, as a sheet with an empty mask."""
    zoom, down, along, flip = shot.window
    high = int(SCENE_HEIGHT_PX * (0.8 + 0.2 * zoom))
    wide = min(int(high * shot.width_px / shot.height_px), SCENE_WIDTH_PX)
    top, left = int((SCENE_HEIGHT_PX - high) * down), int((SCENE_WIDTH_PX - wide) * along)
    window = scene[top : top + high, left : left + wide]
    if flip < 0.5:
        window = window[:, ::-1]
    size = (shot.width_px, shot.height_px)
    sheet = cv2.cvtColor(cv2.resize(window, size, interpolation=cv2.INTER_LINEAR), cv2.COLOR_RGB2RGBA)
    sheet[..., 3] = 0
    return sheet


def _shade(sheet: Sheet, shot: Shot, look: Camera) -> np.ndarray:
    """Make the figure look round, add folds and a shadow, and light the scene."""
    view, size = shot.view, (shot.width_px, shot.height_px)
    mask = sheet[..., 3]
    ground: np.ndarray = np.full(mask.shape, 128, np.uint8)
    foot = (int(view.foot_x_px), int(view.foot_y_px + 0.01 * view.unit_px))
    cv2.ellipse(ground, foot, (int(0.17 * view.unit_px), int(0.03 * view.unit_px)), 0, 0, 360, 78, -1)
    ground = cv2.blur(ground, (9, 5))
    # A blurred mask is low near the outline, which darkens the rim and makes the body look round.
    small = cv2.resize(mask, (shot.width_px // 4, shot.height_px // 4), interpolation=cv2.INTER_AREA)
    soft = cv2.resize(cv2.GaussianBlur(small, (0, 0), 0.03 * shot.height_px / 4 + 0.3), size)
    x, y = (int(value * 300) for value in shot.folds)
    folds = cv2.resize(fold_tile()[y : y + 288, x : x + 144], size)
    cv2.copyTo(cv2.addWeighted(soft, 0.22, folds, 0.3, 44), mask, ground)
    gain = cv2.multiply(ground, cv2.resize(_light_field(shot, look), size), scale=1 / 128)
    return cv2.multiply(cv2.cvtColor(sheet, cv2.COLOR_RGBA2RGB), cv2.merge((gain, gain, gain)), scale=1 / 128)


def _light_field(shot: Shot, look: Camera) -> np.ndarray:
    """Return the light, (24, 12) uint8, 128 where neutral: brightness, a gradient, and the fall-off around the lamp."""
    up, left, tilt_rows, tilt_columns, level = (shot.light - 0.5).tolist()
    rows = np.linspace(-1, 1, 24, dtype=np.float32)[:, None] - up
    columns = np.linspace(-1, 1, 12, dtype=np.float32)[None] - 1.2 * left
    tilt = 0.4 * (tilt_rows * rows + tilt_columns * columns)
    light = 1.0 + 0.3 * level + tilt + look.lamp * (0.3 - 0.5 * (rows**2 + columns**2))
    return np.clip(128 * light, 30, 230).astype(np.uint8)


def _occlude(image: np.ndarray, shot: Shot) -> None:
    """Draw an object in front of the legs in one image of 20, in place."""
    happens, rise, aside, tone = shot.occluder.tolist()
    if happens >= 0.05:
        return
    high, wide = image.shape[:2]
    top, left = int(high * (0.76 + 0.14 * rise)), int(wide * (aside - 0.4))
    right, level = left + int(0.7 * wide), int(40 + 140 * tone)
    cv2.rectangle(image, (left, top), (right, high), (level, level, level), -1)
    cv2.rectangle(image, (left, top), (right, top + high // 70), (level // 2,) * 3, -1)


def _expose(image: np.ndarray, shot: Shot, look: Camera, infrared: bool) -> np.ndarray:
    """Add blur and noise, apply the camera's tone, and fade one image in six."""
    blur_px = look.blur_px * shot.height_px / 288
    blurred = cv2.GaussianBlur(image, (0, 0), blur_px) if blur_px > 0.25 else image
    toned = cv2.LUT(blurred, tone_table(look))
    strength = 0.6 if shot.fading < 0.16 else 1.0
    noise = noise_tile(infrared)
    if shot.height_px > NOISE_TILE_PX:
        noise = cv2.resize(noise, (shot.height_px, shot.height_px), interpolation=cv2.INTER_NEAREST)
    y = int(shot.noise[0] * (noise.shape[0] - shot.height_px))
    x = int(shot.noise[1] * (noise.shape[1] - shot.width_px))
    tile = noise[y : y + shot.height_px, x : x + shot.width_px]
    share = look.noise / NOISE_TILE_SPREAD
    # Fading pulls towards a grey of 110; the noise tile is centred at 128.
    return cv2.addWeighted(toned, strength, tile, share, (1 - strength) * 110 - 128 * share)
