"""Reads sightings from a CSV file with a header.

frame,time,camera,modality,x,y,w,h,track,person
entrance/000017.jpg,2024-05-31T14:05:09Z,entrance,visible,311.5,40,62,170,8,

Columns may stand in any order, and others are ignored. frame, also called image or path: the image, below the folder
of images; time: ISO 8601 (UTC where no zone stands) or seconds since 1970, empty where unknown; modality: visible,
infrared or sketch, or 0, 1, 2; x, y: the box's left and top edge; w, h, also called width and height; track: of a
person who was followed; person: the identity, a number. Without x, y, w and h, each line is a whole image. Camera and
modality may be given for all lines instead. Commas, semicolons, tabs or | separate the columns.
"""

from operator import itemgetter
from pathlib import Path

from dns.search.lists.fields import Fields, track_of
from dns.search.sightings import LeftOut, Sighting
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets.custom import UNKNOWN, WHOLE_NUMBER
from ffcv_convert.datasets.files import read_table

BOX = ("x", "y", "w", "h")
COLUMNS = ("frame", *BOX, "time", "camera", "modality", "track", "person")
ALSO = {"image": "frame", "path": "frame", "width": "w", "height": "h"}
FIRST_LINE = ",".join(COLUMNS)


def read(fields: Fields, left_out: LeftOut) -> list[Sighting]:
    rows = read_table(fields.path, FIRST_LINE)
    header = next(rows)[1]
    places, boxed = _places(fields.path, header)
    take, width, blanks = itemgetter(*places), len(header), [""] * len(header)
    sightings = []
    for source, row in rows:
        # The last cell stands for every column that is missing; short lines are filled up.
        image, *values, time, camera, modality, track, person = take([*(row + blanks)[:width], ""])
        box = fields.box([value or "nan" for value in values], source, left_out) if boxed else None
        if box is None and boxed:
            continue
        sightings.append(
            Sighting(
                fields.image(image, source), box, fields.time_ms(time, source), fields.camera(camera, source),
                fields.modality(modality, source), track_of(track), _person(fields, person, source), source,
            )
        )  # fmt: skip
    return sightings


def _places(path: Path, header: list[str]) -> tuple[list[int], bool]:
    """Return where each of COLUMNS stands in a line, -1 if nowhere, and whether there are boxes."""
    names = [ALSO.get(name.lower(), name.lower()) for name in header]
    for name in COLUMNS:
        if names.count(name) > 1:
            alike = [also for also in header if ALSO.get(also.lower(), also.lower()) == name]
            raise DataError(f"{path}: has the columns {' and '.join(alike)}, which say the same. Remove one of them")
    missing = [name for name in BOX if name not in names]
    if 0 < len(missing) < len(BOX):
        raise DataError(
            f"{path}: has no column {', '.join(missing)}, but others of {', '.join(BOX)}. Add what is missing, or "
            "remove them all for whole images"
        )
    if "frame" not in names:
        raise DataError(f"{path}: has no column frame, image or path. Its first line should be {FIRST_LINE}")
    return [names.index(name) if name in names else -1 for name in COLUMNS], not missing


def _person(fields: Fields, text: str, source: str) -> int | None:
    if text == "-1" or text.lower() in UNKNOWN:
        return None
    if not (number := WHOLE_NUMBER.fullmatch(text)):
        raise fields.error(source, "person", text, "a number, or empty")
    return int(number[1])
