"""Reads sightings from lists of boxes, and from folders of cropped images.

fields.py   what the formats share: path, time, camera, modality, box
csv_list.py a CSV file with a header
mot.py      text of the MOT Challenge: boxes in numbered frames
coco.py     JSON of COCO: images and annotations
folder.py   every image below a folder, or its records.csv
"""

from pathlib import Path

from dns.search.lists import coco, csv_list, mot
from dns.search.lists.fields import Fields
from dns.search.lists.folder import read_folder
from dns.search.sightings import LeftOut, Sighting
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import ConfigError, DataError

__all__ = ["read_boxes", "read_folder"]


def read_boxes(
    path: Path, folder: Path, *, camera: str | None = None, modality: Modality | None = None,
    start_ms: int | None = None, fps: float | None = None, left_out: LeftOut,
) -> list[Sighting]:  # fmt: skip
    """Return the sightings of a list, in its order: .csv, .txt (MOT) or .json (COCO).

    folder: holds the images that the list names; camera, modality: of all sightings whose line states none; start_ms,
    fps: when frame 1 of a MOT list was taken, in milliseconds since 1970 (UTC), and how many follow in a second. Boxes
    that cannot be used are counted in left_out. Raises DataError, naming the line, for what cannot be read.
    """
    fields = Fields(path, folder, camera, modality)
    ending = path.suffix.lower()
    if ending == ".txt":
        return mot.read(fields, mot.Clock(start_ms, fps), left_out)
    if ending not in (".csv", ".json"):
        raise DataError(f"{path}: a list of boxes ends in .csv, .txt (MOT) or .json (COCO). Rename it, or convert it")
    if start_ms is not None or fps is not None:
        raise ConfigError(f"{path}: a start and frames per second are for a MOT list (.txt). Write times into this one")
    return (csv_list if ending == ".csv" else coco).read(fields, left_out)
