"""RegDB (Nguyen et al., Sensors 2017): 412 identities, ten visible and ten thermal images each, ten trials.

RegDB/
  Visible/1/male_front_v_00007_1.bmp    the folder's name is the identity; Thermal/1/male_front_t_00007_1.bmp
  idx/train_visible_1.txt ... _10.txt   lines "path label", paths relative to RegDB/, labels from 0 in each file
  idx/{train_thermal,test_visible,test_thermal}_1.txt ... _10.txt

Each trial splits the same images differently, so they are converted once, and the manifest holds the ten splits.
"""

from collections.abc import Sequence
from pathlib import Path

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets.dataset import Dataset, Trials, published
from ffcv_convert.datasets.files import is_number, read_labelled_paths, refuse_swapped
from ffcv_convert.records import Record

TRIALS = range(1, 11)
SHORT = {Modality.VISIBLE: "visible", Modality.INFRARED: "thermal"}


def list_records(root: Path) -> list[Record]:
    """Return every image that a list names, visible before infrared, then by identity and name."""
    named = {
        (modality, _identity(root, name), name)
        for trial in TRIALS
        for split in ("train", "test")
        for modality, rows in _read(root, split, trial).items()
        for name, _ in rows
    }
    return [Record(name, person, 0, modality, "all") for modality, person, name in sorted(named)]


def list_trials(root: Path, part: str, records: Sequence[Record]) -> Trials:
    """Return train-1, test-1, ... test-10: positions of the images in each list, visible before infrared."""
    number = {record.image: position for position, record in enumerate(records)}
    trials = {
        f"{split}-{trial}": [number[name] for rows in _read(root, split, trial).values() for name, _ in rows]
        for trial in TRIALS
        for split in ("train", "test")
    }
    for trial in TRIALS:
        train, test = ({records[n].person for n in trials[f"{split}-{trial}"]} for split in ("train", "test"))
        if train & test:
            raise DataError(
                f"{root / 'idx'}: trial {trial} trains and tests on identity {min(train & test)}. "
                "Restore the lists from one archive"
            )
    return trials


def _read(root: Path, split: str, trial: int) -> dict[Modality, list[tuple[str, int]]]:
    """Read both lists of one split. Raises DataError if a label has two identities, or an image is listed twice."""
    rows = {}
    owner: dict[int, int] = {}
    seen = set()
    for modality, short in SHORT.items():
        path = root / f"idx/{split}_{short}_{trial}.txt"
        rows[modality] = read_labelled_paths(root, path)
        (other,) = set(SHORT.values()) - {short}
        names = [name for name, _ in rows[modality]]
        refuse_swapped(path, names, [name for name in names if name.lower().startswith(f"{other}/")], other)
        for name, label in rows[modality]:
            person = _identity(root, name)
            if owner.setdefault(label, person) != person:
                raise DataError(
                    f"{path}: label {label} stands for identity {owner[label]} and, in {name}, for {person}. "
                    "Restore the lists from one archive"
                )
            if name in seen:
                raise DataError(f"{path}: {name} is listed twice for {split}. Correct the list")
            seen.add(name)
    return rows


def _identity(root: Path, name: str) -> int:
    folder = Path(name).parent.name
    if not is_number(folder):
        raise DataError(f"{root}: a list names {name!r}, which is not <modality>/<identity>/<file>. Correct the list")
    return int(folder)


DATASET = Dataset(
    name="regdb",
    folders=("RegDB", "regdb"),
    list_records=list_records,
    list_trials=list_trials,
    marks=("idx/train_visible_1.txt",),
    reads=("idx/t*_*_*.txt",),
    layout="Images are read where the lists in idx/ name them, below Visible/ and Thermal/",
    parts=("all",),
    how_to_get="send the form of Dongguk University for the images; idx/ comes with the common redistribution",
    counts=published(Modality.INFRARED, all=(412, 4_120, 4_120))
    | {f"{split}-{trial} identities": 206 for trial in TRIALS for split in ("train", "test")},
)
