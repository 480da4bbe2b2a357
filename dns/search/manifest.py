"""Reads and writes manifest.json: which segments an index has, how large their files are, and what embedded the rows.

    {"format": "dns-ffcv-index", "version": 1, "width": 768, "network": {"sha256": ..., "feature": ..., ...},
     "next_row": 1200, "next_segment": 3,
     "segments": [{"name": "000001", "rows": 700, "files": {"vectors.f16": {"bytes": ..., "sha256": ...}, ...},
                   "footer_sha256": ...}, ...],
     "sha256": of all this, but for format and version}

Neither the number of a row nor the name of a segment is given twice: a reader with an old manifest finds the segment
that it looks for, or none.
"""

import hashlib
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
NAME = r"\d{6,}"  # of a segment
AGAIN = "Restore the index from a copy, or build it again"


@dataclass(frozen=True)
class FileEntry:
    bytes: int
    sha256: str


@dataclass(frozen=True)
class SegmentEntry:
    """A segment. files: by their name, of FILES; footer_sha256: of the part of the table that has no page checksum."""

    name: str
    rows: int
    files: dict[str, FileEntry]
    footer_sha256: str


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
    about = asdict(manifest)
    content = {"format": FORMAT, "version": VERSION, **about, "sha256": _digest(about)}
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
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise DataError(f"{path}: is not the manifest of an index. Name another folder, or restore the file")
    if (version := content.pop("version", None)) != VERSION:
        advice = "Use the version of this program that wrote it, or build the index again"
        raise DataError(f"{path}: version {version}, this program reads {VERSION}. {advice}")
    if content.pop("sha256", None) != _digest(content):
        raise DataError(f"{path}: damaged, or edited (its SHA-256 is another). {AGAIN}")
    try:
        return Manifest(**{**content, "segments": tuple(map(_entry, content["segments"]))})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: made by another program ({error}). {AGAIN}") from None


def _entry(content: dict[str, Any]) -> SegmentEntry:
    if not re.fullmatch(NAME, content["name"]):  # a folder of this index, never one elsewhere
        raise ValueError(f"segment {content['name']!r}")
    files = {name: FileEntry(**about) for name, about in content["files"].items()}
    return SegmentEntry(**{**content, "files": files})


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read(folder: Path) -> Manifest:
    """Read the manifest. Raises DataError where it is missing, damaged or of a newer version."""
    found = find(folder)
    if found is None:
        raise DataError(f"{folder}: holds no index ({FILE} is missing). Name the folder of an index")
    return found
