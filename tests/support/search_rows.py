"""Made rows of an index, and what an index should hold after they were added and removed: a plain dict."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dns.search.rows import Filters, Row
from dns.search.sightings import Box
from dns.search.store import Index, appending
from ffcv_convert.beton.labels import Modality

NETWORK = {"sha256": "5e" * 32, "feature": "bn", "file": "best.pt"}
WIDTH = 8
CAMERAS = ("door", "hall", "Hof süd")
MADE_OF_ROWS = Path("made", "graph", "of-all-rows.bin")


class Entry(NamedTuple):
    row: Row
    vector: bytes  # float16
    thumbnail: bytes


Entries = dict[int, Entry]  # by number, in the order of the index


def made(rng: np.random.Generator, count: int, first: int = 0) -> list[Entry]:
    """Draw rows that are numbered from `first`: some of unknown time, without a box, without a thumbnail."""
    found = []
    for number in range(first, first + count):
        vector_D = rng.standard_normal(WIDTH)
        begin = None if rng.random() < 0.2 else int(rng.integers(-5, 20))
        end = None if begin is None else begin + int(rng.integers(0, 4))
        box = Box(*(float(side) / 4 for side in rng.integers(-9, 99, 4))) if rng.random() < 0.7 else None
        camera, modality = CAMERAS[rng.integers(len(CAMERAS))], Modality(int(rng.integers(3)))
        images, track = int(rng.integers(1, 9)), f"track {number}" if rng.random() < 0.5 else ""
        row = Row(number, camera, modality, begin, end, images, track, f"{camera}/image-{number:05d}.jpg", box)
        thumbnail = b"\xff\xd8\xff" + rng.bytes(int(rng.integers(5, 40))) + b"\xff\xd9" if rng.random() < 0.8 else b""
        found.append(Entry(row, (vector_D / np.linalg.norm(vector_D)).astype("<f2").tobytes(), thumbnail))
    return found


def vectors_of(entries: Sequence[Entry]) -> np.ndarray:
    """Return float32 (N, WIDTH)."""
    joined = b"".join(entry.vector for entry in entries)
    return np.frombuffer(joined, "<f2").reshape(-1, WIDTH).astype(np.float32)


def append(folder: Path, entries: Sequence[Entry], at_once: int = 7) -> None:
    with appending(folder, NETWORK, WIDTH) as writer:
        for begin in range(0, len(entries), at_once):
            part = entries[begin : begin + at_once]
            rows = [entry.row._replace(number=-1) for entry in part]  # the index gives the numbers
            writer.add(vectors_of(part), rows, [entry.thumbnail for entry in part])


def content(index: Index) -> Entries:
    """Read everything that an index holds."""
    found: Entries = {}
    for segment in index.segments:
        everything = np.arange(len(segment))
        rows, thumbnails = segment.rows(everything), segment.thumbnails(everything)
        for row, vector_D, thumbnail in zip(rows, segment.vectors_ND, thumbnails, strict=True):
            assert row.number not in found
            found[row.number] = Entry(row, vector_D.tobytes(), thumbnail)
    return found


def is_chosen(row: Row, filters: Filters) -> bool:
    if filters.cameras and row.camera not in filters.cameras:
        return False
    if filters.modality is not None and row.modality != filters.modality:
        return False
    if filters.since_ms is None and filters.until_ms is None:
        return True
    if row.first_ms is None or row.last_ms is None:
        return False
    times = range(row.first_ms, row.last_ms + 1)
    since = -(10**6) if filters.since_ms is None else filters.since_ms
    until = 10**6 if filters.until_ms is None else filters.until_ms
    return any(since <= time < until for time in times)


def without(entries: Entries, filters: Filters) -> Entries:
    return {number: entry for number, entry in entries.items() if not is_chosen(entry.row, filters)}


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def files_of(index: Index) -> set[str]:
    """Return the files that an index has where no writer left any behind."""
    of_segments = {f"segments/{segment.name}/{file}" for segment in index.segments for file in segment.bytes}
    return {"manifest.json", *of_segments}


def make_of_rows(folder: Path) -> None:
    """Put a file where other programs put what they make of the rows."""
    (folder / MADE_OF_ROWS).parent.mkdir(parents=True, exist_ok=True)
    (folder / MADE_OF_ROWS).write_bytes(b"made of all rows")
