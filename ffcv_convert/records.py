"""What a data set lists: one `Record` a picture, and the invariants that training and testing rely on."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError


@dataclass(frozen=True, slots=True)
class Record:
    """One picture. `image` is relative to the data set's root, with forward slashes; `person` is the original id;
    `camera` the original number, 0 where the set has none, for a sketch its artist's; `split` is train, test, or all
    (each trial splits it anew)."""

    image: str
    person: int
    camera: int
    modality: Modality
    split: str


MAX_PATH = 4096  # bytes, Linux's
OTHER_SPLIT = {"train": "test", "test": "train"}


def shown(text: str) -> str:
    """`text` for a message: quoted, and cut where a damaged list has a line without end."""
    return repr(text if len(text) <= 120 else f"{text[:120]}...")


def inside(root: Path, name: str, source: str) -> str:
    """`name` as a clean path below `root`; DataError (naming `source`, such as "list.txt line 3") if it leads out."""
    path = PurePosixPath(name[: MAX_PATH + 1])
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name or len(name) > MAX_PATH:
        raise DataError(f"{root}: {source} names {shown(name)}, which is not below this folder. Correct the list")
    return str(path)


def check_records(records: Sequence[Record], root: Path) -> None:
    """Raises DataError unless every training identity has pictures in two modalities, and no picture is listed
    twice or both to train and to test on."""
    seen: set[tuple[str, str]] = set()
    modalities: dict[int, set[Modality]] = defaultdict(set)
    for record in records:
        key = (record.split, record.image)
        if key in seen:
            raise DataError(f"{root / record.image}: listed twice for {record.split}. Correct the list")
        seen.add(key)
        if (OTHER_SPLIT.get(record.split), record.image) in seen:
            raise DataError(
                f"{root / record.image}: listed for train and for test, and a test on what was trained on shows "
                "nothing. Correct the list"
            )
        if record.split != "test":
            modalities[record.person].add(record.modality)
    if not modalities:
        raise DataError(
            f"{root}: no training picture was listed. Check the list files and the folder's layout, drawn in the set's "
            "file in ffcv_convert/datasets/"
        )
    if len(set().union(*modalities.values())) > 2:
        raise DataError(f"{root}: trains on infrared and sketch pictures at once. DNS pairs visible with one of them")
    lonely = sorted(person for person, kinds in modalities.items() if len(kinds) < 2)
    if lonely:
        only = ", ".join(sorted(kind.name.lower() for kind in modalities[lonely[0]]))
        raise DataError(
            f"{root}: training identity {lonely[0]} has {only} pictures only"
            + (f" ({len(lonely)} identities are like that)" if len(lonely) > 1 else "")
            + ". Each needs both modalities: complete the set or remove the identity from the list"
        )


def training_labels(records: Sequence[Record]) -> dict[int, int]:
    """Original id -> 0-based contiguous label, in ascending order of ids."""
    return {person: label for label, person in enumerate(sorted({record.person for record in records}))}
