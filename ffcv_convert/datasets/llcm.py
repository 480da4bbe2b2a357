"""LLCM (Zhang and Wang, "Diverse Embedding Expansion Network", CVPR 2023): 1,064 identities, nine cameras, low light.

LLCM/
  idx/train_vis.txt  idx/train_nir.txt     lines "path label", paths relative to LLCM/
  idx/test_id.txt                          one line of identities, separated by commas
  vis/0351/0351_c06_s200656_f4830_vis.jpg  training; nir/ is the same for infrared
  test_vis/cam1/0003/*.jpg ... cam9        testing
  test_nir/cam1/0003/*.jpg ... cam9        there is no infrared camera 3
"""

import re
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path, PurePosixPath

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets.dataset import Dataset
from ffcv_convert.datasets.files import (
    images_in,
    is_number,
    read_identities,
    read_labelled_paths,
    refuse_swapped,
    refuse_unpadded,
)
from ffcv_convert.records import Record

CAMERAS = {Modality.VISIBLE: (1, 2, 3, 4, 5, 6, 7, 8, 9), Modality.INFRARED: (1, 2, 4, 5, 6, 7, 8, 9)}
SHORT = {Modality.VISIBLE: "vis", Modality.INFRARED: "nir"}
READS = ("idx/train_*.txt", "idx/test_id.txt")


def list_records(root: Path) -> list[Record]:
    """Return training images in the order of the lists, then test images by identity, camera and name."""
    records = [record for modality in SHORT for record in _train(root, modality)]
    _check_labels(root, records)
    persons = read_identities(root / "idx/test_id.txt")
    for modality in SHORT:
        records += _test(root, modality, persons)
    _check_modalities(root, records)
    return records


def _train(root: Path, modality: Modality) -> list[Record]:
    records = []
    for name, label in read_labelled_paths(root, root / f"idx/train_{SHORT[modality]}.txt"):
        camera = re.search(r"_c(\d{1,9})_", name.rsplit("/", 1)[-1])  # no match gives camera 0: training ignores it
        records.append(Record(name, label, int(camera[1]) if camera else 0, modality, "train"))
    return records


def _check_labels(root: Path, records: Sequence[Record]) -> None:
    """Raise DataError if the lists give one identity's folder different labels: training would see wrong pairs."""
    first: dict[str, Record] = {}
    for record in records:
        folder = PurePosixPath(record.image).parent.name
        before = first.setdefault(folder, record)
        if is_number(folder) and record.person != before.person and record.image != before.image:
            raise DataError(
                f"{root / 'idx'}: the lists number folder {folder} differently: {before.image} has label "
                f"{before.person}, {record.image} has {record.person}. Restore both lists from one archive"
            )


def _check_modalities(root: Path, records: Sequence[Record]) -> None:
    """Raise DataError if lists or test folders of the two modalities are swapped: names end with _vis or _nir."""
    for modality, other in permutations(SHORT):
        for split, source in (("train", f"idx/train_{SHORT[modality]}.txt"), ("test", f"test_{SHORT[modality]}")):
            names = [record.image for record in records if (record.split, record.modality) == (split, modality)]
            of_other = [name for name in names if PurePosixPath(name).stem.endswith(f"_{SHORT[other]}")]
            refuse_swapped(root / source, names, of_other, SHORT[other])


def _test(root: Path, modality: Modality, persons: list[int]) -> list[Record]:
    top = f"test_{SHORT[modality]}"
    records = []
    for camera in CAMERAS[modality]:
        refuse_unpadded(root / top / f"cam{camera}", persons)
    for person in persons:
        for camera in CAMERAS[modality]:
            folder = f"{top}/cam{camera}/{person:04d}"
            records += [
                Record(f"{folder}/{name}", person, camera, modality, "test") for name in images_in(root / folder)
            ]
    return records


DATASET = Dataset(
    name="llcm",
    folders=("LLCM", "llcm"),
    list_records=list_records,
    how_to_get="sign the release agreement of the LLCM authors (ZYK100/LLCM on GitHub) and unpack their archive",
    marks=("idx/train_vis.txt",),
    reads=READS,
    layout="Test images are read from test_vis/cam1/0003 and test_nir, with an identity's number in four digits",
    unsure=("test visible images", "test infrared images"),  # the archive's other numbers add up to their sum
    cameras={"test": CAMERAS},
    counts={
        "train identities": 713,
        "train visible images": 16_946,
        "train infrared images": 13_975,
        "test identities": 351,
        "test visible images": 8_680,
        "test infrared images": 7_166,
    },
)
