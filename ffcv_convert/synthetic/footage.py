"""Makes drawn footage, as a user's cameras deliver it: frames with several people in each, and a list of their boxes.

Footage/
  boxes.csv             a line a box: frame, time, camera, modality, x, y, w, h, track, person
  cam1/frame000742.png  what camera 1 saw 742 seconds after 08:00; seconds without people have no frame
  footage.json          the options of the set whose people these are

The people are the test identities of a drawn set in LLCM's layout. Each identity, camera and modality is one pass, and
one track: its images, unscaled, in frames a second apart. Visible passes are by day and infrared ones in the night that
follows. PNG keeps every pixel, so a box that is cut out of its frame is exactly the set's image.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError, named
from ffcv_convert.datasets import llcm, synthetic
from ffcv_convert.datasets.dataset import OPTIONS_FILE
from ffcv_convert.decoding import decode
from ffcv_convert.progress import progress
from ffcv_convert.records import Record
from ffcv_convert.synthetic.whole import drawn_once, stored

FILE, BOXES = "footage.json", "boxes.csv"
COLUMNS = "frame,time,camera,modality,x,y,w,h,track,person"
BEGIN = datetime(2026, 3, 2, 8, tzinfo=timezone.utc)
OPENS_S = {Modality.VISIBLE: 0, Modality.INFRARED: 12 * 3600}  # seconds after BEGIN: 08:00 and 20:00
LASTS_S = 8 * 3600
TOGETHER = 3  # at most so many people in a frame
MARGIN_PX = 12


class Pass(NamedTuple):
    """An identity that passes a camera. images: paths below the set's root, one a second; begin_s: when it is first
    seen, in seconds after BEGIN; place: where it walks, from 0 at the left."""

    begin_s: int
    place: int
    person: int
    camera: int
    modality: Modality
    images: list[str]


class Seen(NamedTuple):
    """One image of a pass, in the frame that shows it."""

    image: str
    of: Pass
    track: str


def draw_footage(data_root: Path, to: Path) -> int:
    """Make footage in the folder `to` of the drawn set below `data_root`. Returns how many frames were written (0: the
    same footage already existed).

    Raises DataError, and changes nothing, if the set is not a drawn one in LLCM's layout, or if `to` holds anything
    else. The folder appears only when it is complete; the same set gives the same bytes.
    """
    root = synthetic.DATASET.find(data_root)
    if root is None:
        raise DataError(f"{data_root / 'synthetic'}: no such folder. {synthetic.DATASET.missing(data_root)}")
    options = stored(root / OPTIONS_FILE)
    if options is None or options["layout"] != "llcm" or not isinstance(options.get("seed"), int):
        raise DataError(
            f"{root}: not a drawn set in LLCM's layout, for its {OPTIONS_FILE} is missing or says otherwise. Draw one: "
            "python -m ffcv_convert synthesise, and name its parent folder with --data-root"
        )
    return drawn_once(to, FILE, options, lambda partial: _write(partial, root, options["seed"]), option="--to")


def _write(folder: Path, root: Path, seed: int) -> int:
    records = [record for record in llcm.list_records(root) if record.split == "test"]
    lines, frames = [COLUMNS], 0
    with progress(None, "people", len(records)) as bar:
        for camera in sorted({record.camera for record in records}):
            own = [record for record in records if record.camera == camera]
            background = _background(root, own, seed)
            (folder / f"cam{camera}").mkdir()
            for second, seen in sorted(_by_second(_passes(own, seed)).items()):
                lines += _draw_frame(root, folder, background, second, seen)
                frames += 1
                bar.update(len(seen))
    with named(folder / BOXES):
        (folder / BOXES).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return frames


def _passes(records: Sequence[Record], seed: int) -> list[Pass]:
    """Return a camera's passes. records: its images."""
    images: dict[Modality, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        images[record.modality][record.person].append(record.image)
    camera = records[0].camera
    return [one for modality, of in images.items() for one in scheduled(camera, modality, of, seed)]


def scheduled(camera: int, modality: Modality, images: Mapping[int, Sequence[str]], seed: int) -> Iterator[Pass]:
    """Yield a camera's passes of one modality. images: paths of each identity.

    Identities come in groups of one to TOGETHER, who overlap in time with the first of their group; groups follow each
    other. They fit into LASTS_S, unless their images have more seconds than that.
    """
    rng = np.random.default_rng([seed, 66, camera, modality])
    left = rng.permutation(sorted(images)).tolist()
    groups: list[list[tuple[int, int]]] = []  # of (identity, seconds after the group's first)
    while left:
        size = int(rng.integers(1, TOGETHER + 1))
        group, left = left[:size], left[size:]
        lates = rng.integers(0, len(images[group[0]]), len(group)).tolist()
        groups.append(list(zip(group, [0, *lates[1:]], strict=True)))
    lasts_s = [max(late + len(images[person]) for person, late in group) for group in groups]
    waits_s = np.sort(rng.integers(0, max(0, LASTS_S - sum(lasts_s)) + 1, len(groups))).tolist()
    begin_s = OPENS_S[modality]
    for group, wait_s, last_s in zip(groups, waits_s, lasts_s, strict=True):
        for place, (person, late) in enumerate(group):
            yield Pass(begin_s + wait_s + late, place, person, camera, modality, list(images[person]))
        begin_s += last_s


def _by_second(passes: Sequence[Pass]) -> dict[int, list[Seen]]:
    """Return what a camera sees in each second. Tracks are numbered by when they begin."""
    seen = defaultdict(list)
    for number, one in enumerate(sorted(passes)):
        for late, image in enumerate(one.images):
            seen[one.begin_s + late].append(Seen(image, one, f"cam{one.camera}-{number:04d}"))
    return seen


def _background(root: Path, records: Sequence[Record], seed: int) -> Image.Image:
    """Return an empty frame of a camera, large enough for TOGETHER of its images: a colour that changes downwards."""
    sizes = [_decoded(root / record.image).size for record in records]
    width_px = TOGETHER * (max(wide for wide, _ in sizes) + MARGIN_PX) + MARGIN_PX
    height_px = max(high for _, high in sizes) + 2 * MARGIN_PX
    top, bottom = np.random.default_rng([seed, 67, records[0].camera]).integers(60, 200, (2, 3))
    down = np.linspace(0, 1, height_px)[:, None, None]
    column = np.rint(top + (bottom - top) * down).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(column, (height_px, width_px, 3))))


def _draw_frame(root: Path, folder: Path, background: Image.Image, second: int, seen: Sequence[Seen]) -> list[str]:
    """Write a frame, and return the line of each box in it."""
    name = f"cam{seen[0].of.camera}/frame{second:06d}.png"
    modality = seen[0].of.modality  # groups follow each other, so that a frame has one
    grey = modality == Modality.INFRARED
    frame = background.convert("L").convert("RGB") if grey else background.copy()
    step_px = (frame.width - MARGIN_PX) // TOGETHER
    time, lines = (BEGIN + timedelta(seconds=second)).isoformat(), []
    for image, of, track in seen:
        pixels = _decoded(root / image)
        x, y = MARGIN_PX + of.place * step_px, frame.height - MARGIN_PX - pixels.height
        frame.paste(pixels, (x, y))
        box = f"{x},{y},{pixels.width},{pixels.height}"
        lines.append(f"{name},{time},cam{of.camera},{modality.name.lower()},{box},{track},{of.person}")
    with named(folder / name):
        frame.save(
            folder / name, "png", compress_level=1
        )  # higher levels take several times as long for a tenth of the bytes
    return lines


def _decoded(path: Path) -> Image.Image:
    return Image.fromarray(decode(path).pixels)
