"""Lists your own images, named in a CSV file or sorted into folders.

custom/
  records.csv                         columns path, person, camera, modality, split; paths relative to custom/
  name.txt                            a name that tells this set from others of your own in tables; may be left out
or
  train/visible/0001/c2/anything.jpg  split / modality / person / camera / file; the camera folder may be left out
  train/infrared/0001/c3/...
  test/visible/..., test/infrared/... (or sketch for infrared)

split: train or test; for testing only, train may be missing. modality: visible, infrared or sketch. person and camera:
numbers, 0 like any other; for an unknown camera leave the cell, the column or the folder out. `person` is the identity.
Each split has its own numbers: 1 in train and 1 in test are two identities, and the program cannot tell if one identity
is in both. An image listed in both splits is refused. Commas, semicolons, tabs or | separate the columns.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from ffcv_convert.beton import Modality
from ffcv_convert.beton.labels import UNKNOWN_CAMERA
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets.dataset import Dataset
from ffcv_convert.datasets.files import images_in, is_system, read_table, refuse_broken_link
from ffcv_convert.records import Record, below, inside, shown

COLUMNS = ("path", "person", "camera", "modality", "split")
SPLITS = ("train", "test")
LAYOUT = "Folders are read as train/visible/0001/c2, train/infrared/0001/c3 or train/sketch/0001, and the same in test"
UNKNOWN = ("", "na", "nan", "none", "null")  # what R and pandas write for an empty cell
WHOLE_NUMBER = re.compile(r"(\d{1,18})(\.0*)?", re.ASCII)  # pandas writes 1.0 where a column has an empty cell


def list_records(root: Path) -> list[Record]:
    """Return the CSV's rows in order, or the folders' images by split, modality, identity, camera and name."""
    # Look the CSV up by name: a broken link must stop the conversion, not fall back to the folders.
    listed = sorted(name for name in os.listdir(root) if name.lower() == "records.csv")
    if len(listed) > 1:
        raise DataError(f"{root}: holds {' and '.join(listed)}. Remove all but one")
    records = _from_csv(root, root / listed[0]) if listed else _from_folders(root)
    with_cameras = {record.split for record in records if record.camera != UNKNOWN_CAMERA}
    return [record if record.split in with_cameras else replace(record, camera=0) for record in records]


def _from_csv(root: Path, path: Path) -> list[Record]:
    rows = read_table(path, ",".join(COLUMNS))
    columns = _columns(path, next(rows)[1])
    return [_record(root, dict(zip(columns, row, strict=False)), place) for place, row in rows]


def _columns(path: Path, header: list[str]) -> list[str]:
    columns = [name.lower() for name in header]
    missing = [name for name in COLUMNS if name not in columns and name != "camera"]
    twice = [name for name in COLUMNS if columns.count(name) > 1]
    if missing:
        raise DataError(
            f"{path}: has no column {', '.join(missing)} in {shown(','.join(header))}. Its first line should be "
            f"{','.join(COLUMNS)}"
        )
    if twice:
        raise DataError(f"{path}: has the column {twice[0]} twice. Remove one of them")
    return columns


def _record(root: Path, row: Mapping[str, str], place: str) -> Record:
    values = {name: row.get(name, "") for name in COLUMNS}
    values["camera"] = "" if values["camera"].lower() in UNKNOWN else values["camera"]
    modality = Modality.__members__.get(values["modality"].upper())
    person, camera = (WHOLE_NUMBER.fullmatch(values[name] or "-") for name in ("person", "camera"))
    split = values["split"].lower()
    for name, good, takes in (
        ("person", person, "a number" + "; leave out images of nobody" * values["person"].startswith("-")),
        ("camera", camera or not values["camera"], "a number or empty"),
        ("modality", modality is not None, ", ".join(kind.name.lower() for kind in Modality)),
        ("split", split in SPLITS, " or ".join(SPLITS)),
    ):
        if not good:
            raise DataError(f"{root / place}: {name} is {shown(values[name])}, but must be {takes}. Correct the line")
    assert person is not None
    assert modality is not None
    image = inside(root, below(root, values["path"]), place)
    return Record(image, int(person[1]), int(camera[1]) if camera else UNKNOWN_CAMERA, modality, split)


def _from_folders(root: Path) -> list[Record]:
    return [
        Record(f"{folder}/{name}", person, camera, modality, split)
        for split in SPLITS
        for modality in Modality
        for top in [f"{split}/{modality.name.lower()}"]
        for person, person_folder in _numbered(root, top)
        for camera, folder in [(UNKNOWN_CAMERA, person_folder), *_numbered(root, person_folder)]
        for name in images_in(root / folder)
    ]


def _numbered(root: Path, folder: str) -> list[tuple[int, str]]:
    """Return (number, path) of the folders named "0001", "c2", "cam2" and the like, in ascending order."""
    refuse_broken_link(root / folder)
    if not (root / folder).is_dir():
        return []
    found = []
    for path in (root / folder).iterdir():
        refuse_broken_link(path)
        if path.is_dir() and not is_system(path.name):
            number = re.fullmatch(r"[A-Za-z]*(\d{1,18})", path.name, re.ASCII)
            if number is None:
                raise DataError(f"{path}: its name is not a number. Rename it, or list the images in records.csv")
            found.append((int(number[1]), f"{folder}/{path.name}"))
    found.sort()
    for (one, path_of_one), (two, path_of_two) in pairwise(found):
        if one == two:
            raise DataError(f"{root / path_of_two}: has the same number as {path_of_one}. Rename one, or join them")
    return found


DATASET = Dataset(
    name="custom",
    folders=("custom",),
    list_records=list_records,
    marks=("records.csv", "train/visible", "test/visible"),
    reads=("records.csv", "name.txt"),
    name_file="name.txt",
    layout=LAYOUT,
    optional_parts=("train",),
    how_to_get="these are your own images; ffcv_convert/datasets/custom.py shows the layout",
)
