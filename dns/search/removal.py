"""Removes rows from an index, and joins its segments. Both write new segments from parts of the old ones, in blocks."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from dns.evaluation.results import writing
from dns.search import manifest as manifests
from dns.search.manifest import Manifest, SegmentEntry
from dns.search.milvus import copies
from dns.search.rows import Filters
from dns.search.segment import Segment
from dns.search.segment_writer import SegmentWriter, new_segment
from dns.search.store import only_writer, opened, opening, remove_made
from dns.search.table import SCHEMA, columns_of, plain
from dns.search.verification import check_files
from ffcv_convert.common.errors import ConfigError

BLOCK = 4096  # rows that are copied at once


def remove(folder: Path, filters: Filters) -> int:
    """Remove the rows that the filters choose from the disk: vectors, lines of the table and thumbnails, whatever was
    made of the rows, and their copies in Milvus. A track that lies partly in the span is removed whole. Other rows keep
    their numbers.

    Returns how many were removed. Raises ConfigError for filters without a condition, DataError for a damaged index,
    while another process writes it, or where a copy cannot be reached, ReportError where it cannot be written; the
    index is as before then.
    """
    if not columns_of(filters):
        raise ConfigError(
            f"{folder}: every row would be removed. Name a camera, a modality or a span of time; or delete the folder"
        )
    manifests.read(folder)  # before anything is written there
    with only_writer(folder), writing(folder):
        copied = copies.reached(folder)
        manifest = manifests.read(folder)
        segments: list[SegmentEntry] = []
        removed: list[int] = []  # their numbers
        written = 0
        for entry in manifest.segments:
            with opening(folder):
                segment = opened(folder, entry, manifest)
            chosen = segment.chosen(filters)
            assert chosen is not None
            removed += segment.numbers()[chosen].tolist()
            if not len(chosen):
                segments.append(entry)
            elif len(chosen) < len(segment):
                kept = np.setdiff1d(np.arange(len(segment)), chosen, assume_unique=True)
                segments.append(_rewritten(folder, manifest.name(after=written), [(segment, kept)]))
                written += 1
        if removed:
            remove_made(folder)
            for place in copied:
                copies.remove(place, removed)
            manifests.write(folder, manifest.after(tuple(segments), new=written))
            for place in copied:
                copies.refill(place, folder)
        return len(removed)


def compact(folder: Path) -> tuple[int, int]:
    """Join all segments into one, with the same rows in the same order. Returns how many segments there were and are.

    Raises DataError for a damaged index or while another process writes it, ReportError where it cannot be written; the
    index is as before then.
    """
    manifests.read(folder)
    with only_writer(folder), writing(folder):
        manifest = manifests.read(folder)
        before = len(manifest.segments)
        if before > 1:
            entry = _rewritten(folder, manifest.name(), _whole(folder, manifest))
            manifests.write(folder, manifest.after((entry,), new=1))
        return before, min(before, 1)


def _whole(folder: Path, manifest: Manifest) -> Iterator[tuple[Segment, None]]:
    """Yield the segments one after another: all at once could be more files than a process may open."""
    for entry in manifest.segments:
        with opening(folder):
            segment = opened(folder, entry, manifest)
        yield segment, None


def _rewritten(folder: Path, name: str, parts: Iterable[tuple[Segment, np.ndarray | None]]) -> SegmentEntry:
    """Write a new segment from the rows of others at these positions, rising; None for all of them."""
    with new_segment(folder, name) as target:
        for segment, kept in parts:
            check_files(segment)  # damage that is copied would have a right checksum from then on
            _copy(segment, kept, target)
    return target.entry


def _copy(segment: Segment, kept: np.ndarray | None, target: SegmentWriter) -> None:
    for begin, group in segment.groups(SCHEMA.names):
        for first in range(0, len(group), BLOCK):
            part, at = group.slice(first, BLOCK), np.arange(begin + first, begin + min(first + BLOCK, len(group)))
            if kept is not None:
                at = kept[np.searchsorted(kept, at[0]) : np.searchsorted(kept, at[-1], side="right")]
                part = part.take(at - begin - first)
            if len(at):
                target.write(segment.vectors_ND[at], plain(part), segment.thumbnails_of(part))
