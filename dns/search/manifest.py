"""Reads and writes manifest.json: which segments an index has, how large their files are, and what embedded the rows.

    {"format": "dns-ffcv-index", "version": 1, "width": 768, "network": {"sha256": ..., "feature": ..., ...},
     "next_row": 1200, "next_segment": 3,
     "segments": [{"name": "000001", "rows": 700, "files": {"vectors.f16": {"bytes": ..., "sha256": ...}, ...}}, ...]}

Neither the number of a row nor the name of a segment is given twice: a reader with an old manifest finds the segment
that it looks for, or none.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ffcv_convert.common import atomic
from ffcv_convert.common.errors import DataError

FORMAT, VERSION = "dns-ffcv-index", 1
FILE, SEGMENTS = "manifest.json", "segments"
VECTORS, TABLE, THUMBNAILS = FILES = ("vectors.f16", "rows.parquet", "thumbnails.bin")
NUMBER_BYTES = 2  # of a float16
NAME = r"\d{6,}"  # of a segment
AGAIN = "Restore the index from a copy, or build it again"


@dataclass(frozen=True)
class FileEntry:
    bytes: int
    sha256: str


@dataclass(frozen=True)
class SegmentEntry:
    """A segment. files: by their name, of FILES."""

    name: str
    rows: int
    files: dict[str, FileEntry]


@dataclass(frozen=True)
class Manifest:
    """What manifest.json says. width: D of the vectors; next_row, next_segment: the first numbers not yet given."""

    width: int
    network: Mapping[str, Any]
    next_row: int = 0
    next_segment: int = 1
    segments: tuple[SegmentEntry, ...] = ()

    def name(self, after: int = 0) -> str:
        """Return the name of the next segment, or of the one that comes so many after it."""
        return f"{self.next_segment + after:06d}"

    def after(self, segments: tuple[SegmentEntry, ...], *, new: int, rows: int = 0) -> "Manifest":
        """Return what follows: these segments, after `new` names and `rows` numbers were given."""
        return replace(self, segments=segments, next_segment=self.next_segment + new, next_row=self.next_row + rows)


def write(folder: Path, manifest: Manifest) -> None:
    """Replace the manifest, whole or not at all. Raises OSError."""
    content = {"format": FORMAT, "version": VERSION, **asdict(manifest)}
    with atomic.replacing(folder / FILE) as file:
        file.write(json.dumps(content, indent=1).encode())


def find(folder: Path) -> Manifest | None:
    """Read the manifest, None where there is none. Raises DataError where it is damaged, or of a newer version."""
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read ({error}). {AGAIN}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path}: is not the manifest of an index. Name another folder, or restore the file")
    if content.get("version") != VERSION:
        advice = "Use the version of this program that wrote it, or build the index again"
        raise DataError(f"{path}: version {content.get('version')}, this program reads {VERSION}. {advice}")
    try:
        return _manifest(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: damaged ({error} is missing or wrong). {AGAIN}") from None


def read(folder: Path) -> Manifest:
    """Read the manifest. Raises DataError where it is missing, damaged or of a newer version."""
    found = find(folder)
    if found is None:
        raise DataError(f"{folder}: holds no index ({FILE} is missing). Name the folder of an index")
    return found


def _manifest(content: Mapping[str, Any]) -> Manifest:
    width = _count(content, "width", least=1)
    network = _of(content, "network", dict)
    for key in ("sha256", "feature"):
        _of(network, key, str)
    segments = tuple(_segment(one, width) for one in _of(content, "segments", list))
    next_row, next_segment = _count(content, "next_row"), _count(content, "next_segment", least=1)
    names = [entry.name for entry in segments]
    if len(set(names)) < len(names) or any(int(name) >= next_segment for name in names):
        raise ValueError("the name of a segment")
    if sum(entry.rows for entry in segments) > next_row:
        raise ValueError("next_row")
    return Manifest(width, network, next_row, next_segment, segments)


def _segment(content: Mapping[str, Any], width: int) -> SegmentEntry:
    name, rows = _of(content, "name", str), _count(content, "rows", least=1)
    if not re.fullmatch(NAME, name, re.ASCII):
        raise ValueError("the name of a segment")
    files = {}
    for file in FILES:
        about = _of(_of(content, "files", dict), file, dict)
        files[file] = FileEntry(_count(about, "bytes"), _of(about, "sha256", str))
    if files[VECTORS].bytes != rows * width * NUMBER_BYTES:
        raise ValueError(f"the size of {VECTORS}")
    return SegmentEntry(name, rows, files)


def _of(content: Mapping[str, Any], key: str, kind: type) -> Any:
    if type(content[key]) is not kind:
        raise TypeError(key)
    return content[key]


def _count(content: Mapping[str, Any], key: str, *, least: int = 0) -> int:
    number = _of(content, key, int)
    if number < least:
        raise ValueError(key)
    return number
