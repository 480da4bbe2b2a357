"""LLCM (Zhang and Wang, "Diverse Embedding Expansion Network", CVPR 2023): 1,064 identities, nine cameras, low light.

LLCM/
  idx/train_vis.txt  idx/train_nir.txt     lines "path label", paths relative to LLCM/
  idx/test_id.txt                          one line of ids, separated by commas
  vis/0351/0351_c06_s200656_f4830_vis.jpg  training; nir/ alike
  test_vis/cam1/0003/*.jpg ... cam9        testing
  test_nir/cam1/0003/*.jpg ... cam9        there is no infrared camera 3
"""

import re
from pathlib import Path

from ffcv_convert.datasets.dataset import Dataset
from ffcv_convert.records import Record, inside
from ffcv_convert.schema import DataError, Modality

CAMERAS = {Modality.VISIBLE: (1, 2, 3, 4, 5, 6, 7, 8, 9), Modality.INFRARED: (1, 2, 4, 5, 6, 7, 8, 9)}
SHORT = {Modality.VISIBLE: "vis", Modality.INFRARED: "nir"}
ENDINGS = {".jpg", ".jpeg", ".png", ".bmp"}


def list_records(root: Path) -> list[Record]:
    """Training pictures in the order of the lists, then test pictures by identity, camera and name."""
    records = [record for modality in SHORT for record in _train(root, modality)]
    persons = _test_identities(root)
    for modality in SHORT:
        records += _test(root, modality, persons)
    return records


def _train(root: Path, modality: Modality) -> list[Record]:
    path = root / "idx" / f"train_{SHORT[modality]}.txt"
    records = []
    for number, line in enumerate(_read(path).splitlines(), start=1):
        if not line.strip():
            continue
        source = f"{path.name} line {number}"
        fields = line.strip().rsplit(maxsplit=1)
        if len(fields) != 2 or not fields[1].isdecimal():
            raise DataError(f"{path} line {number}: {line.strip()!r} is not 'path label'. Correct the list")
        name, label = fields
        camera = re.search(r"_c(\d{1,9})_", name.rsplit("/", 1)[-1])  # training does not use it; 0 if a name lacks it
        records.append(
            Record(inside(root, name, source), int(label), int(camera[1]) if camera else 0, modality, "train")
        )
    if not records:
        raise DataError(f"{path}: the list is empty. Restore it from the data set's archive")
    return records


def _test_identities(root: Path) -> list[int]:
    path = root / "idx" / "test_id.txt"
    fields = [field.strip() for field in _read(path).replace("\n", ",").split(",")]
    wrong = [field for field in fields if field and not field.isdecimal()]
    if wrong:
        raise DataError(f"{path}: {wrong[0]!r} is no identity. It should hold numbers separated by commas")
    persons = sorted({int(field) for field in fields if field})
    if not persons:
        raise DataError(f"{path}: names no identity. Restore it from the data set's archive")
    return persons


def _test(root: Path, modality: Modality, persons: list[int]) -> list[Record]:
    top = f"test_{SHORT[modality]}"
    records = []
    for person in persons:
        for camera in CAMERAS[modality]:
            folder = f"{top}/cam{camera}/{person:04d}"
            # A name that begins with a dot is not of the set: macOS packs a "._x.jpg" beside x.jpg into archives.
            names = sorted(path.name for path in (root / folder).glob("[!.]*") if path.suffix.lower() in ENDINGS)
            records += [Record(f"{folder}/{name}", person, camera, modality, "test") for name in names]
    if not records:
        raise DataError(f"{root / top}: holds no picture of the {len(persons)} identities in idx/test_id.txt")
    return records


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except FileNotFoundError:
        raise DataError(f"{path}: no such list. Restore it from the data set's archive") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable list ({error})") from None


DATASET = Dataset(
    name="llcm",
    folders=("LLCM", "llcm"),
    list_records=list_records,
    how_to_get="sign the release agreement of the LLCM authors (ZYK100/LLCM on GitHub) and unpack their archive",
)
