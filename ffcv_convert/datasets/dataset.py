"""Describes a data set for the converter, and finds its folder."""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets.files import is_system, read_text, refuse_broken_link
from ffcv_convert.records import Record

Trials = dict[str, list[int]]
OPTIONS_FILE = "synthetic.json"  # in the root of every drawn set, in any layout
LONGEST_NAME = 40
NESTED = 3  # levels at which a set is looked for in its folder
Cameras = Mapping[Modality, Sequence[int]]


def no_trials(root: Path, part: str, records: Sequence[Record]) -> Trials:
    return {}


def no_remarks(root: Path, records: Sequence[Record]) -> Iterable[str]:
    return ()


def published(other: Modality, **parts: tuple[int, int, int]) -> dict[str, int]:
    """Return Dataset.counts from part = (identities, visible images, images of the other modality)."""
    counts = {}
    for part, (identities, visible, others) in parts.items():
        counts[f"{part} identities"] = identities
        counts[f"{part} visible images"] = visible
        counts[f"{part} {other.name.lower()} images"] = others
    return counts


@dataclass(frozen=True)
class Dataset:
    """What the converter knows about a data set. folders: possible names of its folder below DATA_ROOT. marks: paths,
    one of which every folder of this set holds. reads: patterns of the files that are read beside images. layout: a
    sentence that tells the folders' names.

    parts: one .beton is written for each, with the records of the split of the same name; identities of the part
    `train` are relabelled 0, 1, 2, ... optional_parts: those that the set may lack. name_file: a file in the set's
    folder whose first line tells the set from others of its kind in reports.

    remarks: (root, all records) -> warnings of what the lists hold beside good images. takes: the options of conversion
    that fit beyond those of every set: every, for video; auxiliary, if some records have the split AUXILIARY.

    list_trials: (root, part, the part's records) -> named lists of positions in these records. counts: the published
    numbers of identities and images, with the keys of `survey.Seen`; empty for sets that nobody published. unsure: keys
    whose published number is uncertain, so that a difference only warns. cameras: for each part and modality, the
    cameras that must have images.
    """

    name: str
    folders: tuple[str, ...]
    list_records: Callable[[Path], list[Record]]
    how_to_get: str
    marks: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    layout: str = ""
    parts: tuple[str, ...] = ("train", "test")
    optional_parts: tuple[str, ...] = ()
    name_file: str = ""
    list_trials: Callable[[Path, str, Sequence[Record]], Trials] = no_trials
    remarks: Callable[[Path, Sequence[Record]], Iterable[str]] = no_remarks
    takes: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    unsure: tuple[str, ...] = ()
    cameras: Mapping[str, Cameras] = field(default_factory=dict)
    height_px: int = 288
    width_px: int = 144

    def find(self, data_root: Path) -> Path | None:
        """Return the set's folder, in any spelling of capitals and hyphens; the folder inside, if its archive has
        nested it again; or `data_root` itself, if it is the set.

        Raises DataError if several folders may be meant.
        """
        named = self._named(data_root)
        if named is None:
            return data_root if self._is_at(data_root) else None
        level = [named]
        for _ in range(NESTED):
            there = [folder for folder in level if self._is_at(folder)]
            if len(there) == 1:
                return there[0]
            level = [inside for folder in level for inside in _folders(folder)]
        return named

    def is_called(self, name: str) -> bool:
        """Whether `name` is the set's, or its folder's, in any spelling of capitals and hyphens."""
        return _spelling(name) in map(_spelling, (self.name, *self.folders))

    def title(self, root: Path) -> str:
        """Return the name of the set in the folder `root` in reports. Drawn people in a real set's layout must not look
        like the real set. Raises DataError where `name_file` cannot be read."""
        if is_drawn(root) and self.name != "synthetic":
            return f"{self.name} (synthetic)"
        named = self.name_file and (root / self.name_file).exists() and read_text(root / self.name_file).strip()
        return f"{self.name} ({named.splitlines()[0].strip()[:LONGEST_NAME]})" if named else self.name

    def missing(self, data_root: Path) -> str:
        """Return what the user should do if `find` finds nothing."""
        like = [folder for folder in _folders(data_root) if self._is_at(folder) and not is_drawn(folder)]
        if like:
            return f"{like[0]} looks like it: rename it to {self.folders[0]}"
        return f"To get {self.name}: {self.how_to_get}"

    def _named(self, data_root: Path) -> Path | None:
        """Return the folder with a usual name, else with another spelling; of several, the one that holds the set."""
        for name in self.folders:
            refuse_broken_link(data_root / name)  # its disk may not be mounted
        exact = [data_root / name for name in self.folders if (data_root / name).is_dir()]
        spellings = {_spelling(name) for name in self.folders}
        others = [
            folder for folder in _folders(data_root) if _spelling(folder.name) in spellings and folder not in exact
        ]
        named = [*exact, *others]
        chosen = [folder for folder in named if self._is_at(folder)] or named
        if len(chosen) > 1 and chosen[0] not in exact:
            raise DataError(
                f"{data_root}: {' and '.join(folder.name for folder in chosen)} may both be {self.name}. Rename the "
                f"right one to {self.folders[0]}"
            )
        return chosen[0] if chosen else None

    def _is_at(self, folder: Path) -> bool:
        with suppress(PermissionError):  # a folder that cannot be read is not this set
            return any((folder / mark).exists() for mark in self.marks)
        return False


def is_drawn(root: Path) -> bool:
    """Whether the set in this folder shows synthetic people."""
    return (root / OPTIONS_FILE).exists()


def _spelling(name: str) -> str:
    """Return the letters and digits of `name` in lower case."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _folders(path: Path) -> list[Path]:
    """Return the folders in `path` by name, without those of file systems; [] if it is missing or cannot be read."""
    try:
        with os.scandir(path) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir() and not is_system(entry.name))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
