"""What the converter asks of a data set."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ffcv_convert.records import Record


@dataclass(frozen=True)
class Dataset:
    """`folders` are the names that the set's root may have below DATA_ROOT; `parts` the .beton files made from it, each
    with the splits it holds; persons of the part `train` are relabelled 0, 1, 2, ...; sizes in pixels."""

    name: str
    folders: tuple[str, ...]
    list_records: Callable[[Path], list[Record]]
    how_to_get: str
    parts: tuple[str, ...] = ("train", "test")
    height_px: int = 288
    width_px: int = 144

    def find(self, data_root: Path) -> Path | None:
        return next((data_root / name for name in self.folders if (data_root / name).is_dir()), None)
