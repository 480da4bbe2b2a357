"""Keeps an IVF-PQ index of each large segment below INDEX/made/faiss/, where a removal deletes it.

    made/faiss/000001/
      rows.faiss     written by FAISS
      about.json     the SHA-256 of the vectors that it was made of, its size and its CRC-32

A segment never changes, so that adding rows makes nothing here out of date. A folder appears whole or not at all. What
is missing, damaged, or made of other vectors is built again. A segment of fewer than FEWEST rows has none, and where
the filters choose fewer of a segment, these are all compared: that takes about as long as looking into the lists.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from zlib_ng.zlib_ng import crc32

from dns.evaluation.results import writing
from dns.search.approximate import ivf_pq
from dns.search.candidates import wanted
from dns.search.exact import Part
from dns.search.manifest import VECTORS
from dns.search.rows import Filters
from dns.search.segment import Segment
from dns.search.store import MADE, Index, only_writer
from ffcv_convert.common import atomic

FOLDER, ROWS, ABOUT = "faiss", "rows.faiss", "about.json"
FEWEST = 20_000  # rows; comparing so many with a query takes tens of milliseconds
VERSION = 1  # of what ivf_pq.py builds
BLOCK_BYTES = 1 << 24


class Approximate:
    """Chooses candidates by what was built of the segments. built: by the segment's name; another segment's rows are
    all candidates."""

    def __init__(self, index: Index, built: Mapping[str, Any]):
        self._built = [built.get(segment.name) for segment in index.segments]

    def narrow(self, query_D: np.ndarray, filters: Filters, parts: Sequence[Part], hits: int) -> list[Part]:
        narrowed = []
        for part, built in zip(parts, self._built, strict=True):
            if built is not None and len(part) >= FEWEST:
                chosen = ivf_pq.nearest(built, query_D, part.chosen, wanted(hits))
                part = Part(part.vectors_ND, chosen, part.name)
            narrowed.append(part)
        return narrowed


def opened(index: Index) -> Approximate:
    """Open what was built of the segments of an index, after building what is missing. Raises ConfigError without
    FAISS, DataError for a damaged index or while another process writes it, ReportError where it cannot be written."""
    found = {segment.name: _read(index.folder, segment) for segment in _large(index)}
    if None in found.values():
        build(index.folder)
        # A segment that another process has removed or joined since stays without, and its rows are all compared.
        found |= {segment.name: _read(index.folder, segment) for segment in _large(index) if not found[segment.name]}
    return Approximate(index, found)


def build(folder: Path) -> int:
    """Build what is missing for the index in `folder`, and delete what is of no use any more. Returns how many segments
    are large enough. Raises as `opened`."""
    ivf_pq.library()
    # As the only writer: rows that another process removes meanwhile would be learned from all the same.
    with only_writer(folder), writing(folder):
        large = _large(Index.open(folder))
        useful = {segment.name for segment in large if _read(folder, segment) is not None}
        for name in _names(folder) - useful:
            shutil.rmtree(_place(folder, name))
        for segment in large:
            if segment.name not in useful:
                _write(_place(folder, segment.name), segment)
    return len(large)


def _large(index: Index) -> list[Segment]:
    return [segment for segment in index.segments if len(segment) >= FEWEST]


def _place(folder: Path, name: str) -> Path:
    return folder / MADE / FOLDER / name


def _names(folder: Path) -> set[str]:
    top = folder / MADE / FOLDER
    return {path.name for path in top.iterdir() if path.is_dir()} if top.is_dir() else set()


def _write(place: Path, segment: Segment) -> None:
    lists, sample = ivf_pq.sizes(len(segment), ivf_pq.padded_width(segment.vectors_ND.shape[1]))
    print(f"{place}: learning {lists:,} lists from {sample:,} of {len(segment):,} rows", file=sys.stderr)
    built = ivf_pq.build(segment)
    with atomic.replacing_folder(place) as unfinished:
        path = unfinished / ROWS
        try:
            ivf_pq.library().write_index(built, str(path))
        except RuntimeError:  # of FAISS, which does not say more than its own source file and line
            raise OSError(f"{ROWS}: FAISS wrote {path.stat().st_size if path.exists() else 0:,} bytes of it") from None
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        about = {**_identity(segment), "bytes": path.stat().st_size, "crc32": _crc32(path)}
        atomic.write_flushed(unfinished / ABOUT, json.dumps(about).encode())


def _identity(segment: Segment) -> dict[str, Any]:
    """Return what has to be the same for an index to be of use."""
    return {"version": VERSION, "vectors_sha256": segment.entry.files[VECTORS].sha256}


def _read(folder: Path, segment: Segment) -> Any:
    """Return the FAISS index of a segment, None where there is none or it is of no use."""
    faiss, place = ivf_pq.library(), _place(folder, segment.name)
    path = place / ROWS
    try:
        about = json.loads((place / ABOUT).read_bytes())
        if about != {**_identity(segment), "bytes": path.stat().st_size, "crc32": _crc32(path)}:
            return None
        return faiss.read_index(str(path))
    except (OSError, ValueError, RuntimeError):
        return None


def _crc32(path: Path) -> int:
    found = 0
    for block in _blocks(path):
        found = crc32(block, found)
    return found


def _blocks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block
