"""Your own images, listed in a CSV file or sorted into folders.

custom/
  records.csv                         columns path, person, camera, modality, split; paths relative to custom/
or
  train/visible/0001/c2/anything.jpg  split / modality / person / camera / file; the camera folder may be left out
  train/infrared/0001/c3/...
  test/visible/..., test/infrared/... (or sketch for infrared)

split: train or test. modality: visible, infrared or sketch. person and camera: numbers; camera 0 or empty if unknown.
`person` is the identity. Each split has its own numbers: 1 in train and 1 in test are two identities, and the program
cannot tell if one identity is in both. An image listed in both splits is refused.
"""

import csv
import io
import os
import re
from pathlib import Path

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets.dataset import Dataset
from ffcv_convert.datasets.files import images_in, is_number, read_text, refuse_broken_link
from ffcv_convert.records import Record, inside, shown

COLUMNS = ("path", "person", "camera", "modality", "split")
SPLITS = ("train", "test")


def list_records(root: Path) -> list[Record]:
    """The CSV's rows in order, or the folders' images by split, modality, identity, camera and name."""
    # lexists: a broken link must stop the conversion, not fall back to the folders.
    listed = os.path.lexists(root / "records.csv")
    return _from_csv(root, root / "records.csv") if listed else _from_folders(root)


def _from_csv(root: Path, path: Path) -> list[Record]:
    reader = csv.DictReader(io.StringIO(read_text(path)), strict=True)
    try:
        columns = list(reader.fieldnames or ())
        missing = [name for name in COLUMNS if name not in columns]
        twice = [name for name in COLUMNS if columns.count(name) > 1]
        if missing:
            raise DataError(f"{path}: has no column {', '.join(missing)}. Its first line should be {','.join(COLUMNS)}")
        if twice:
            raise DataError(f"{path}: has the column {twice[0]} twice. Remove one of them")
        return [_record(root, row, f"{path.name} line {reader.line_num}") for row in reader]
    except csv.Error as error:
        line = reader.reader.line_num  # DictReader's own line_num is one line behind
        raise DataError(f"{path} line {line}: not readable as CSV ({error}). Correct the line") from None


def _record(root: Path, row: dict[str, str], place: str) -> Record:
    values = {name: (row[name] or "").strip() for name in COLUMNS}
    modality = Modality.__members__.get(values["modality"].upper())
    camera = values["camera"] or "0"
    for name, good, takes in (
        ("person", is_number(values["person"]), "a number"),
        ("camera", is_number(camera), "a number or empty"),
        ("modality", modality is not None, ", ".join(kind.name.lower() for kind in Modality)),
        ("split", values["split"] in SPLITS, " or ".join(SPLITS)),
    ):
        if not good:
            raise DataError(f"{root / place}: {name} is {shown(values[name])}, but must be {takes}. Correct the line")
    assert modality is not None
    return Record(inside(root, values["path"], place), int(values["person"]), int(camera), modality, values["split"])


def _from_folders(root: Path) -> list[Record]:
    return [
        Record(f"{folder}/{name}", person, camera, modality, split)
        for split in SPLITS
        for modality in Modality
        for top in [f"{split}/{modality.name.lower()}"]
        for person, person_folder in _numbered(root, top)
        for camera, folder in [(0, person_folder), *_numbered(root, person_folder)]
        for name in images_in(root / folder)
    ]


def _numbered(root: Path, folder: str) -> list[tuple[int, str]]:
    """(number, path) of the folders named "0001", "c2", "cam2" and the like, in ascending order."""
    refuse_broken_link(root / folder)
    if not (root / folder).is_dir():
        return []
    found = []
    for path in (root / folder).iterdir():
        refuse_broken_link(path)
        if path.is_dir() and not path.name.startswith("."):
            number = re.fullmatch(r"[A-Za-z]*(\d{1,18})", path.name, re.ASCII)
            if number is None:
                raise DataError(f"{path}: its name is not a number. Rename it, or list the images in records.csv")
            found.append((int(number[1]), f"{folder}/{path.name}"))
    return sorted(found)


DATASET = Dataset(
    name="custom",
    folders=("custom",),
    list_records=list_records,
    how_to_get="these are your own images; ffcv_convert/datasets/custom.py shows the layout",
)
