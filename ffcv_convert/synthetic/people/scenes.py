"""Draws the cameras that see synthetic people: backgrounds, lighting, blur, noise and tone.

Each (seed, camera, modality) has one wide scene, and every image shows its own window of it. Scenes are independent of
identities and differ between modalities, so a background reveals nothing.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

SCENE_HEIGHT_PX = 340
SCENE_WIDTH_PX = 1500
NOISE_TILE_PX = 640
NOISE_TILE_SPREAD = 40.0


@dataclass(frozen=True)
class Camera:
    """The properties of one camera. `gains` scale R, G, B; `lamp` is the light's fall-off from the centre."""

    noise: float
    blur_px: float
    contrast: float
    gamma: float
    gains: tuple[float, float, float]
    lamp: float


@lru_cache(maxsize=256)
def draw_camera(seed: int, camera: int, infrared: bool) -> Camera:
    """Draw the properties of one camera in one modality; `blur_px` is for an image 288 pixels high."""
    rng = np.random.default_rng([seed, 21, camera, int(infrared)])
    low = (2.0, 0.3, 0.72, 0.8) if infrared else (1.5, 0.3, 0.75, 0.75)
    high = (6.5, 1.3, 1.0, 1.25) if infrared else (6.5, 1.3, 1.08, 1.3)
    noise, blur_px, contrast, gamma = rng.uniform(low, high).tolist()
    red, green, blue = (1.0, 1.0, 1.0) if infrared else rng.uniform(0.86, 1.1, size=3).tolist()
    lamp = rng.uniform(0.3, 0.6) if infrared else rng.uniform(0.0, 0.2)
    return Camera(noise, blur_px, contrast, gamma, (red, green, blue), float(lamp))


@lru_cache(maxsize=256)
def tone_table(camera: Camera) -> np.ndarray:
    """Return gamma, contrast about mid grey, and colour cast in one look-up table, (1, 256, 3) uint8."""
    level = np.arange(256, dtype=np.float64)[:, None] / 255
    curve = ((level**camera.gamma - 0.5) * camera.contrast + 0.5) * np.array(camera.gains)
    return _read_only(np.clip(np.rint(255 * curve), 0, 255).astype(np.uint8)[None])


@lru_cache(maxsize=4)
def noise_tile(infrared: bool) -> np.ndarray:
    """Draw uint8 noise about 128 with the spread NOISE_TILE_SPREAD; grey for the infrared."""
    rng = np.random.default_rng([31, int(infrared)])
    side = NOISE_TILE_PX
    grey = rng.normal(size=(side, side, 1))
    colour = grey if infrared else 0.8 * grey + 0.6 * rng.normal(size=(side, side, 3))
    tile = np.clip(128 + NOISE_TILE_SPREAD * colour, 0, 255).astype(np.uint8)
    return _read_only(np.ascontiguousarray(np.broadcast_to(tile, (side, side, 3))))


@lru_cache(maxsize=1)
def fold_tile() -> np.ndarray:
    """Draw soft, upright streaks like the folds of cloth: uint8 about 128."""
    rng = np.random.default_rng([32])
    streaks = cv2.GaussianBlur(
        rng.normal(size=(NOISE_TILE_PX, NOISE_TILE_PX)).astype(np.float32), (0, 0), 3.0, None, 9.0
    )
    return _read_only(np.clip(128 + 34 * streaks / streaks.std(), 0, 255).astype(np.uint8))


@lru_cache(maxsize=64)
def draw_scene(seed: int, camera: int, infrared: bool) -> np.ndarray:
    """Draw a wall, a floor and objects in front of the wall: (SCENE_HEIGHT_PX, SCENE_WIDTH_PX, 3) uint8."""
    rng = np.random.default_rng([seed, 22, camera, int(infrared)])
    scene = np.empty((SCENE_HEIGHT_PX, SCENE_WIDTH_PX, 3), np.uint8)
    floor_top = int(rng.uniform(0.5, 0.8) * SCENE_HEIGHT_PX)
    scene[:floor_top] = _tone(rng, infrared, 60, 195)
    scene[floor_top:] = _tone(rng, infrared, 70, 185)
    wall, floor = scene[:floor_top], scene[floor_top:]
    # Neighbouring cameras see different kinds of wall.
    kind = (_bricks, _foliage, _panels, _facade)[(seed + camera + 2 * infrared) % 4]
    kind(wall, rng, infrared)
    _pave(floor, rng)
    for _ in range(int(rng.integers(9, 16))):
        _stand_object(scene, floor_top, rng, infrared)
    cv2.line(
        scene,
        (0, floor_top),
        (SCENE_WIDTH_PX, floor_top),
        _tone(rng, infrared, 20, 90),
        int(rng.integers(2, 8)),
    )
    _grain(scene, rng)
    return _read_only(cv2.GaussianBlur(scene, (0, 0), 1.0))


def _read_only(image: np.ndarray) -> np.ndarray:
    """Make a cached array read-only: all images and threads share it, so nothing may paint into it."""
    image.flags.writeable = False
    return image


def _tone(rng: np.random.Generator, infrared: bool, low: float, high: float) -> tuple[int, int, int]:
    """Draw a muted colour, or a grey for the infrared."""
    level = rng.uniform(low, high)
    spread = np.zeros(3) if infrared else rng.normal(size=3) * 11
    red, green, blue = np.clip(level + spread, 5, 250).astype(int).tolist()
    return red, green, blue


def _bricks(wall: np.ndarray, rng: np.random.Generator, infrared: bool) -> None:
    joint = _tone(rng, infrared, 90, 190)
    high, wide = int(rng.integers(11, 26)), int(rng.integers(28, 60))
    for row, top in enumerate(range(0, wall.shape[0], high)):
        cv2.line(wall, (0, top), (wall.shape[1], top), joint, 1)
        for left in range((row % 2) * wide // 2, wall.shape[1], wide):
            cv2.line(wall, (left, top), (left, top + high), joint, 1)


def _panels(wall: np.ndarray, rng: np.random.Generator, infrared: bool) -> None:
    """Paint a corridor: wide panels of various tones, and a rail."""
    left = 0
    while left < wall.shape[1]:
        right = left + int(rng.integers(50, 170))
        wall[:, left:right] = np.clip(wall[:, left:right].astype(int) + int(rng.integers(-22, 22)), 0, 255)
        cv2.line(wall, (left, 0), (left, wall.shape[0]), _tone(rng, infrared, 30, 110), 2)
        left = right
    rail = int(wall.shape[0] * rng.uniform(0.6, 0.85))
    cv2.line(wall, (0, rail), (wall.shape[1], rail), _tone(rng, infrared, 30, 210), 6)


def _foliage(wall: np.ndarray, rng: np.random.Generator, infrared: bool) -> None:
    """Paint leaves, bright in the infrared."""
    for x, y, radius, level in rng.uniform((0, 0, 2, -40), (wall.shape[1], wall.shape[0], 11, 40), (5000, 4)):
        tint = (0, 0, 0) if infrared else (-18, 12, -24)
        base = 150 if infrared else 85
        colour = tuple(int(np.clip(base + level + shift, 0, 255)) for shift in tint)
        cv2.circle(wall, (int(x), int(y)), int(radius), colour, -1)


def _facade(wall: np.ndarray, rng: np.random.Generator, infrared: bool) -> None:
    """Paint rows of windows."""
    wide, high = int(rng.integers(36, 80)), int(rng.integers(50, 100))
    gap = int(rng.integers(10, 40))
    frame = _tone(rng, infrared, 30, 220)
    for top in range(int(rng.integers(0, 30)), wall.shape[0], high + gap):
        for left in range(0, wall.shape[1], wide + gap):
            corner = (left + wide, top + high)
            cv2.rectangle(wall, (left, top), corner, _tone(rng, infrared, 20, 130), -1)
            cv2.rectangle(wall, (left, top), corner, frame, 2)


def _pave(floor: np.ndarray, rng: np.random.Generator) -> None:
    """Paint paving joints that converge towards the wall; some floors stay bare asphalt."""
    if rng.random() < 0.35:
        return
    high, wide = floor.shape[:2]
    share = rng.uniform(0.7, 0.85)
    tone = tuple(int(value * share) for value in floor[0, 0])
    step = int(rng.integers(40, 110))
    for left in range(-wide, 2 * wide, step):
        cv2.line(floor, (left, 0), (int(wide / 2 + (left - wide / 2) * 1.7), high), tone, 1, cv2.LINE_AA)
    for down in np.linspace(0, 1, int(rng.integers(4, 8))) ** 1.6:
        cv2.line(floor, (0, int(down * high)), (wide, int(down * high)), tone, 1)


def _stand_object(scene: np.ndarray, floor_top: int, rng: np.random.Generator, infrared: bool) -> None:
    """Paint a door, poster, pillar, parked car or bin somewhere along the wall."""
    x, y = int(rng.uniform(0, SCENE_WIDTH_PX)), floor_top + int(rng.uniform(0, 10))
    tone, second = _tone(rng, infrared, 25, 215), _tone(rng, infrared, 25, 215)
    kind = int(rng.integers(5))
    if kind == 0:
        cv2.rectangle(scene, (x, floor_top - 175), (x + 80, floor_top), tone, -1)
        cv2.rectangle(scene, (x, floor_top - 175), (x + 80, floor_top), second, 3)
        cv2.circle(scene, (x + 68, floor_top - 85), 4, second, -1)
    elif kind == 1:
        wide, high = int(rng.integers(30, 90)), int(rng.integers(30, 100))
        top = int(rng.uniform(0.1, 0.5) * floor_top)
        cv2.rectangle(scene, (x, top), (x + wide, top + high), tone, -1)
        cv2.rectangle(scene, (x + 6, top + 8), (x + wide - 6, top + high // 2), second, -1)
    elif kind == 2:
        cv2.rectangle(scene, (x, 0), (x + int(rng.integers(8, 36)), y + 20), tone, -1)
    elif kind == 3:
        cv2.ellipse(scene, (x, y - 32), (62, 30), 0, 180, 360, tone, -1)
        cv2.rectangle(scene, (x - 105, y - 36), (x + 105, y + 4), tone, -1)
        cv2.ellipse(scene, (x, y - 36), (48, 18), 0, 180, 360, second, -1)
        for wheel in (-68, 68):
            cv2.circle(scene, (x + wheel, y + 4), 18, (22, 22, 22), -1)
    else:
        cv2.rectangle(scene, (x, y - 52), (x + 38, y + 14), tone, -1)
        cv2.rectangle(scene, (x - 3, y - 58), (x + 41, y - 48), second, -1)


def _grain(scene: np.ndarray, rng: np.random.Generator) -> None:
    """Add uneven light and dirt, coarse and fine, in place."""
    light = np.zeros(scene.shape[:2], np.float32)
    for cells, weight in ((8, 12.0), (40, 8.0), (150, 5.0)):
        coarse = rng.normal(size=(cells * 340 // 1500 + 2, cells)).astype(np.float32) * weight
        light += cv2.resize(coarse, (scene.shape[1], scene.shape[0]), interpolation=cv2.INTER_CUBIC)
    scene[:] = np.clip(scene + light[..., None], 0, 255).astype(np.uint8)
