"""Reads sightings from text of the MOT Challenge (Dendorfer et al., IJCV 2021): detections, results, ground truth.

frame,id,x,y,w,h,conf,class,visibility
17,8,311.5,40,62,170,1,1,0.9

There is no header. frame: the image whose name is this number, such as 000017.jpg; id: the track, negative for none;
conf: 0 for a box that is to be ignored; class: in lines of eight or nine columns, 1 for a pedestrian, -1 if not stated
(lines of ten end with a place in the world). x and y are used as written: the Challenge counts pixels from 1, most
detectors from 0, and one pixel changes no match.
"""

import sys
from pathlib import Path
from typing import NamedTuple

from dns.search.lists.fields import Fields
from dns.search.sightings import LeftOut, Sighting
from ffcv_convert.common.errors import ConfigError, DataError
from ffcv_convert.datasets.files import images_in, is_number, read_lines, wrong_line

LINE = "frame,id,x,y,w,h and possibly conf,class,visibility: numbers, frame and id whole ones"
PEDESTRIAN = 1
WITH_CLASS = (8, 9)


class Clock(NamedTuple):
    """When frames were taken. start_ms: frame 1, in milliseconds since 1970 (UTC); fps: frames per second. Where one of
    them is None, times are unknown."""

    start_ms: int | None
    fps: float | None

    def time_ms(self, frame: int) -> int | None:
        if self.start_ms is None or self.fps is None:
            return None
        return round(self.start_ms + (frame - 1) * 1000 / self.fps)


def read(fields: Fields, clock: Clock, left_out: LeftOut) -> list[Sighting]:
    if clock.fps is not None and not 0 < clock.fps <= 1e6:
        raise ConfigError(f"{fields.path}: {clock.fps} frames per second is not possible. Give a number above 0")
    path = fields.path
    camera, modality = fields.camera("", path.name), fields.modality("", path.name)
    frames: dict[int, str] | None = None
    sightings = []
    for source, line in read_lines(path):
        frame, track, values = _numbers(path, source, line)
        if frames is None:  # a list that is something else is told first
            frames = _frames(fields.folder)
        if why := _passed_over(values):
            left_out.add(why, source)
        elif frame not in frames:
            left_out.add("boxes in frames without an image", f"{source} (frame {frame})")
        elif box := fields.box(values[:4], source, left_out):
            name = sys.intern("" if track < 0 else str(track))
            sightings.append(Sighting(frames[frame], box, clock.time_ms(frame), camera, modality, name, None, source))
    return sightings


def _numbers(path: Path, source: str, line: str) -> tuple[int, int, list[float]]:
    """Return frame, id and the other numbers of a line."""
    try:
        numbers = [float(cell) for cell in line.rstrip(",").split(",")]
        if len(numbers) >= 6 and numbers[0].is_integer() and numbers[1].is_integer():
            return int(numbers[0]), int(numbers[1]), numbers[2:]
    except ValueError:
        pass
    raise wrong_line(path.parent, source, line, LINE)


def _passed_over(values: list[float]) -> str:
    """Return why a box is to be ignored, "" if it is not. values: x, y, w, h, conf, class, ..."""
    if len(values) > 4 and values[4] == 0:
        return "boxes that are marked to be ignored (conf 0)"
    if len(values) + 2 in WITH_CLASS and values[5] not in (PEDESTRIAN, -1):
        return "boxes of other classes than pedestrians"
    return ""


def _frames(folder: Path) -> dict[int, str]:
    """Return the images of a folder by the number that is their name."""
    frames: dict[int, str] = {}
    for name in images_in(folder):
        stem = Path(name).stem
        if is_number(stem) and (other := frames.setdefault(int(stem), name)) != name:
            raise DataError(f"{folder / name}: is frame {int(stem)}, as {other} is. Remove one of them")
    if not frames:
        raise DataError(
            f"{folder}: holds no image that is named by its frame's number, such as 000001.jpg. Name the folder of the "
            "frames"
        )
    return frames
