"""Reads every byte of an index and compares it with what was written."""

import hashlib
from pathlib import Path

import numpy as np

from dns.search.manifest import AGAIN, FILES, SEGMENTS, THUMBNAILS
from dns.search.segment import Segment
from dns.search.store import Index
from dns.search.table import SCHEMA
from ffcv_convert.common.errors import DataError

BLOCK, BLOCK_BYTES = 4096, 1 << 24  # rows, bytes that are read at once
JPEG_BEGINS, JPEG_ENDS = b"\xff\xd8\xff", b"\xff\xd9"


def verify(folder: Path) -> list[str]:
    """Read the whole index: the SHA-256 of each file, the lengths of the vectors, the table, where the thumbnails lie,
    and whether each row has a number of its own. Returns a line a segment and a last one. Raises DataError at the first
    damage. It takes 8 bytes of memory a row, beside a few blocks."""
    index = Index.open(folder)
    lines, number_N = [], [np.empty(0, np.int64)]
    for segment in index.segments:
        check_files(segment)
        number_N.append(_check_content(segment))
        size = sum(map(len, segment.bytes.values()))
        lines.append(f"segment {segment.name}: {len(segment):,} rows, {size:,} bytes, as they were written")
    numbers = np.sort(np.concatenate(number_N))
    if (numbers[1:] == numbers[:-1]).any():
        raise DataError(f"{folder}: several rows have the same number. {AGAIN}")
    named = {segment.name for segment in index.segments}
    lines += [
        f"{path}: left by a writer that was killed, perhaps with rows that it was to remove. Any writer deletes it"
        for path in sorted((folder / SEGMENTS).glob("*")) if path.name.partition(".")[0] not in named
    ]  # fmt: skip
    return [*lines, f"index: {len(index):,} rows in {len(index.segments):,} segments, width {index.width}"]


def check_files(segment: Segment) -> None:
    """Raises DataError where a file is not what was written, by its SHA-256."""
    for name in FILES:
        found = hashlib.sha256()
        content = segment.bytes[name]
        for begin in range(0, len(content), BLOCK_BYTES):
            found.update(content[begin : begin + BLOCK_BYTES].data)
        if found.hexdigest() != segment.entry.files[name].sha256:
            raise DataError(f"{segment.folder / name}: damaged (its SHA-256 is not the manifest's). {AGAIN}")


def _check_content(segment: Segment) -> np.ndarray:
    """Check vectors, lines and thumbnails. Returns the rows' numbers, int64 (N,)."""
    for begin in range(0, len(segment), BLOCK):
        segment.vectors(begin, begin + BLOCK)
    numbers = []
    for begin, group in segment.groups(SCHEMA.names):
        numbers.append(group.column("row").to_numpy())
        for first in range(0, len(group), BLOCK):
            _check_thumbnails(segment, begin + first, segment.thumbnails_of(group.slice(first, BLOCK)))
    return np.concatenate(numbers)


def _check_thumbnails(segment: Segment, begin: int, thumbnails: list[bytes]) -> None:
    for position, thumbnail in enumerate(thumbnails, begin):
        if thumbnail and not (thumbnail.startswith(JPEG_BEGINS) and thumbnail.endswith(JPEG_ENDS)):
            what = f"the thumbnail at position {position:,} is no JPEG"
            raise DataError(f"{segment.folder / THUMBNAILS}: damaged ({what}). {AGAIN}")
