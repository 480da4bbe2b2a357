"""Market-Sketch-1K (Lin et al., "Beyond Domain Gap", ACM MM 2023): photos of Market-1501, sketches by six artists.

Market-Sketch-1K/
  photo/train/0002_c1s1_000451_03.jpg   the first four characters are the identity; photo/query: test gallery
  sketch/A/train/0002*.jpg              one folder per artist (style) A ... F; sketch/A/query: test queries

The camera of a sketch is its artist: A is 1, F is 6. Some files are grey.
"""

import re
from pathlib import Path

from ffcv_convert.beton import STYLES, Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets.dataset import Dataset, published
from ffcv_convert.datasets.files import images_in, is_number
from ffcv_convert.records import Record

FOLDERS = {"train": "train", "test": "query"}


def list_records(root: Path) -> list[Record]:
    """Return training images, then test images; in each, photos by name, then sketches by artist and name."""
    records = []
    for split, folder in FOLDERS.items():
        records += _images(root, f"photo/{folder}", Modality.VISIBLE, split)
        for style in STYLES:
            records += _images(root, f"sketch/{style}/{folder}", Modality.SKETCH, split)
    return records


def _images(root: Path, folder: str, modality: Modality, split: str) -> list[Record]:
    records = []
    for name in images_in(root / folder):
        if not is_number(name[:4]):
            raise DataError(f"{root / folder / name}: its name does not begin with four digits. Remove or rename it")
        if modality == Modality.SKETCH:
            camera = 1 + STYLES.index(folder.split("/")[1])
        else:
            found = re.search(r"_c(\d)s", name)
            camera = int(found[1]) if found else 0
        records.append(Record(f"{folder}/{name}", int(name[:4]), camera, modality, split))
    return records


DATASET = Dataset(
    name="market_sketch_1k",
    folders=("Market-Sketch-1K", "market_sketch_1k", "MaSk1K"),
    list_records=list_records,
    how_to_get="it is open (CC BY-NC-SA 4.0): follow the links of its repository (Lin-Kayla/subjectivity-sketch-reid)",
    marks=("photo/train", "sketch/A"),
    layout="Images are read from photo/train, photo/query and the same two in sketch/A to sketch/F",
    cameras={part: {Modality.SKETCH: range(1, len(STYLES) + 1)} for part in FOLDERS},
    counts=published(Modality.SKETCH, train=(498, 1_000, 2_331), test=(498, 1_000, 2_370)),
)
