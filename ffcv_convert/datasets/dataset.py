"""What the converter needs to know about a data set."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ffcv_convert.beton import Modality
from ffcv_convert.records import Record

Trials = dict[str, list[int]]


def no_trials(root: Path, part: str, records: Sequence[Record]) -> Trials:
    return {}


def published(other: Modality, **parts: tuple[int, int, int]) -> dict[str, int]:
    """Dataset.counts from part = (identities, visible images, images of the other modality)."""
    counts = {}
    for part, (identities, visible, others) in parts.items():
        counts[f"{part} identities"] = identities
        counts[f"{part} visible images"] = visible
        counts[f"{part} {other.name.lower()} images"] = others
    return counts


@dataclass(frozen=True)
class Dataset:
    """folders: possible names of the set's folder below DATA_ROOT. parts: one .beton is written for each, with the
    records of the split of the same name; identities of the part `train` are relabelled 0, 1, 2, ...

    list_trials: (root, part, the part's records) -> named lists of positions in these records. counts: the published
    numbers of identities and images, with the keys of `verify.count`.
    """

    name: str
    folders: tuple[str, ...]
    list_records: Callable[[Path], list[Record]]
    how_to_get: str
    parts: tuple[str, ...] = ("train", "test")
    list_trials: Callable[[Path, str, Sequence[Record]], Trials] = no_trials
    counts: Mapping[str, int] = field(default_factory=dict)
    height_px: int = 288
    width_px: int = 144

    def find(self, data_root: Path) -> Path | None:
        return next((data_root / name for name in self.folders if (data_root / name).is_dir()), None)
