"""Draws how one image is taken: size, crop, turn and step, at random for each image, or moved on along a walk."""

import math
from dataclasses import dataclass, replace

import numpy as np

from ffcv_convert.synthetic.people.cloth import View
from ffcv_convert.synthetic.people.figure import Pose

MIN_HEIGHT_PX = 32
STEP_RAD = 0.45  # of a person's step from one frame to the next: 14 frames for two steps
PAN = 0.02  # of the scene that passes behind a person from one frame to the next


@dataclass(frozen=True)
class Shot:
    """Everything that is random in one image. The fields from `window` on are uniform numbers that vary its look."""

    height_px: int
    width_px: int
    view: View
    pose: Pose
    window: np.ndarray
    folds: np.ndarray
    light: np.ndarray
    occluder: np.ndarray
    fading: float
    noise: np.ndarray


def draw_shot(rng: np.random.Generator, height_px: int) -> Shot:
    """Draw size, crop, turn and step of one image."""
    chance = rng.random(33)
    tall, wide, fill, cut, foot, aside, turned, turn, back, lean, step, stride, swing, bend, head = chance[:15].tolist()
    height = round(height_px * (0.85 + 0.3 * tall))
    width = round(height * 0.5 * (0.85 + 0.3 * wide))
    unit_px = height * (0.77 + 0.18 * fill)
    # One image in eight cuts off the feet, as if a detector had missed them.
    foot_y_px = height - (height - unit_px) * (0.25 + 0.45 * foot) + (0.06 * height if cut < 0.125 else 0.0)
    # Half of the people walk roughly towards or away from the camera, the others in any direction.
    along = 0.7 * (turn - 0.5) + (math.pi if back < 0.5 else 0.0)
    yaw_rad = along if turned < 0.5 else 2 * math.pi * turn
    view = View(width * (0.44 + 0.12 * aside), foot_y_px, unit_px, yaw_rad, 0.1 * (lean - 0.5))
    pose = Pose(
        step_rad=2 * math.pi * step,
        stride_rad=0.12 + 0.32 * stride,
        swing_rad=0.1 + 0.4 * swing,
        bend_rad=0.1 + 0.6 * bend**2,
        head_turn_rad=0.7 * (head - 0.5),
    )
    window, folds, light, occluder = chance[15:19], chance[19:21], chance[21:26], chance[26:30]
    return Shot(height, width, view, pose, window, folds, light, occluder, float(chance[30]), chance[31:])


def moved(shot: Shot, frame: int, noise: np.ndarray) -> Shot:
    """Return the shot `frame` frames later: the person walks on and turns, the crop around it is not steady, the scene
    passes behind. noise: the frame's own, two numbers. Size, light, folds and what stands in front stay."""
    width_px, view, pose = shot.width_px, shot.view, shot.pose
    sway, near, turn = (
        math.sin(pace * frame + 2 * math.pi * begin)
        for pace, begin in zip((0.9, 0.11, 0.07), shot.light.tolist()[:3], strict=True)
    )
    view = replace(
        view,
        foot_x_px=view.foot_x_px + 0.025 * width_px * sway,
        unit_px=view.unit_px * (1 + 0.04 * near),
        yaw_rad=view.yaw_rad + 0.25 * turn,
    )
    along = abs((shot.window[2] + PAN * frame + 1) % 2 - 1)  # to the end of the scene, and back
    window = np.array([shot.window[0], shot.window[1], along, shot.window[3]])
    pose = replace(pose, step_rad=pose.step_rad + STEP_RAD * frame)
    return replace(shot, view=view, pose=pose, window=window, noise=noise)
