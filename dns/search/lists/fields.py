"""Reads what the lists of every format state about a sighting: its image, time, camera, modality and box.

A list may come from elsewhere, such as a detector's, and be damaged or hostile: paths stay below the folder of images,
and what cannot be read stops the reading with its line.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from dns.search.sightings import Box, LeftOut
from dns.search.times import FORMS, to_ms
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets.custom import UNKNOWN
from ffcv_convert.records import below, inside, shown

MAX_LIST_BYTES = 1 << 28  # some four million boxes; reading takes a dozen times as much memory, or several dozen
MOST_PX = 1 << 24  # of a box; the index keeps float32, which has no pixel for each number beyond
MODALITIES = {text: kind for kind in Modality for text in (kind.name.lower(), str(kind.value))}
NAMES = ", ".join(kind.name.lower() for kind in Modality)


class Fields:
    """Reads the fields of one list. `source` is where a field stands, such as "boxes.csv line 7".

    Equal texts become one object, because a frame's boxes share path, camera and time.
    """

    def __init__(self, path: Path, folder: Path, camera: str | None, modality: Modality | None):
        if path.is_file() and (size := path.stat().st_size) > MAX_LIST_BYTES:
            raise DataError(f"{path}: {size:,} bytes, the limit is {MAX_LIST_BYTES:,}. Split it into several lists")
        self.path, self.folder = path, folder
        self._camera, self._modality = camera, modality
        self._images: dict[str, str] = {}

    def error(self, source: str, name: str, value: object, takes: str) -> DataError:
        """Return the error for a field that cannot be read. takes: what it should be."""
        place = self.path.parent / source
        return DataError(f"{place}: {name} is {shown(_told(value))}, but must be {takes}. Correct the list")

    def image(self, name: str, source: str) -> str:
        """Return the path below the folder. Raises DataError if it leads out."""
        if name not in self._images:
            self._images[name] = inside(self.folder, below(self.folder, name), source)
        return self._images[name]

    def camera(self, name: str, source: str) -> str:
        if not (camera := name or self._camera):
            raise DataError(f"{self.path.parent / source}: names no camera. Give one for all: --camera=NAME")
        if "," in camera:
            raise self.error(source, "camera", camera, "without a comma, which stands between cameras in CAMERAS=a,b")
        return sys.intern(camera)

    def modality(self, name: str, source: str) -> Modality:
        if not name and self._modality is not None:
            return self._modality
        if not name:
            place = self.path.parent / source
            raise DataError(f"{place}: states no modality. Give one for all: --modality=MODALITY, of {NAMES}")
        if (found := MODALITIES.get(name.lower())) is None:
            raise self.error(source, "modality", name, NAMES)
        return found

    def time_ms(self, text: str, source: str) -> int | None:
        """Return milliseconds since 1970 in UTC; None for an empty field."""
        if text.lower() in UNKNOWN:
            return None
        try:
            return to_ms(text)
        except ValueError:
            raise self.error(source, "time", text, FORMS) from None

    def box(self, values: Sequence[object], source: str, left_out: LeftOut) -> Box | None:
        """Return x, y, width, height as a box; None for one that can hold nobody, which is counted."""
        try:
            box = Box(*map(float, values))  # type: ignore[arg-type]  # float() refuses other types
        except (TypeError, ValueError, OverflowError):
            told = ", ".join(map(_told, values[:5]))
            raise self.error(source, "its box", told, "four numbers: x, y, width, height") from None
        if not math.isfinite(sum(box)):
            left_out.add("boxes of numbers that are not finite", source)
        elif max(map(abs, box)) > MOST_PX:
            left_out.add(f"boxes of numbers beyond {MOST_PX:,}", source)
        elif box.width <= 0 or box.height <= 0:
            left_out.add("boxes without width or height", source)
        else:
            return box
        return None


def track_of(text: str) -> str:
    """Return the name of a track; "" where none is named: an empty field, or -1."""
    return "" if text == "-1" or text.lower() in UNKNOWN else sys.intern(text)


def is_utf8(text: str) -> bool:
    """Whether `text` can be stored. File names in other encodings, and JSON's escapes, can hold half characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _told(value: object) -> str:
    """Return a value for a message. JSON's lists and objects may be endless, and are told by their type."""
    return "null" if value is None else str(value) if isinstance(value, str | int | float) else type(value).__name__
