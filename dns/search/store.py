"""The index: a folder of segments and the manifest that names them.

    INDEX/
      manifest.json            see manifest.py
      segments/000001/         see segment.py; never changed: what changes an index writes new segments
      made/                    what other programs make of the rows, deleted when rows are removed
      writer.partial           locked by the process that writes; readers take no lock

Readers see what the manifest said when they opened the index. A segment is on the disk before the manifest names it,
and is deleted after the manifest no longer does; so a process may be killed at any moment.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from errno import EMFILE
from pathlib import Path
from typing import Any

import numpy as np

from dns.evaluation.results import writing
from dns.search import manifest as manifests
from dns.search.exact import Part
from dns.search.manifest import AGAIN, NAME, SEGMENTS, VECTORS, Manifest, SegmentEntry
from dns.search.rows import Filters, Row
from dns.search.segment import LENGTH_TOLERANCE, Segment, not_unit
from dns.search.segment_writer import SegmentWriter, new_segment
from dns.search.table import table_of
from ffcv_convert.common import atomic
from ffcv_convert.common.errors import ConfigError, DataError

MADE, WRITER = "made", "writer"


class Index:
    """An index that was opened for reading. segments: in the order in which their rows were added; width: D of the
    vectors; network: what embedded them."""

    def __init__(self, folder: Path, manifest: Manifest, segments: list[Segment]):
        self.folder, self.width, self.network, self.segments = folder, manifest.width, manifest.network, segments

    def __len__(self) -> int:
        return sum(map(len, self.segments))

    def parts(self, filters: Filters) -> list[Part]:
        """Return what a search goes through: the rows of each segment that the filters choose. Raises DataError where a
        table is damaged."""
        found = []
        for segment in self.segments:
            chosen = segment.chosen(filters)
            every = chosen is None or len(chosen) == len(segment)
            found.append(Part(segment.vectors_ND, None if every else chosen, str(segment.folder / VECTORS)))
        return found

    def cameras(self) -> set[str]:
        """Return the names of all cameras. Raises DataError where a table is damaged."""
        return {name for segment in self.segments for name in segment.names("camera")}

    @classmethod
    def open(cls, folder: Path) -> "Index":
        """Open an index. Raises DataError where there is none, or where it is damaged; `verify` finds more damage,
        because it reads every byte."""
        while True:
            manifest = manifests.read(folder)
            with opening(folder):
                try:
                    return cls(folder, manifest, [opened(folder, entry, manifest) for entry in manifest.segments])
                except FileNotFoundError:
                    if manifests.read(folder) == manifest:
                        raise
                    # Another process has removed rows or joined segments since: what it wrote is there to be read.


def opened(folder: Path, entry: SegmentEntry, manifest: Manifest) -> Segment:
    return Segment(folder / SEGMENTS / entry.name, entry, manifest.width)


@contextmanager
def opening(folder: Path) -> Iterator[None]:
    """Turn an OSError of opening segments into a DataError."""
    try:
        yield
    except OSError as error:
        advice = "Join the segments of the index: compact" if error.errno == EMFILE else AGAIN
        raise DataError(f"{error.filename or folder}: {error.strerror or error}. {advice}") from None


class Appender:
    """Adds rows to an index."""

    def __init__(self, folder: Path, manifest: Manifest, stack: ExitStack):
        self._folder, self._manifest, self._stack = folder, manifest, stack
        self._segment: SegmentWriter | None = None
        self.count = 0

    def add(self, vectors_BD: np.ndarray, rows: Sequence[Row], thumbnails: Sequence[bytes]) -> None:
        """Add B rows. vectors_BD: float, of length 1; rows: their `number` is ignored, the index gives its own;
        thumbnails: JPEGs, or empty. Raises DataError, ReportError where they cannot be written."""
        if not len(vectors_BD) == len(rows) == len(thumbnails) or vectors_BD.shape[1:] != (self._manifest.width,):
            raise ValueError(f"{vectors_BD.shape} vectors, {len(rows)} rows, {len(thumbnails)} thumbnails")
        if not rows:
            return
        if wrong := not_unit(vectors_BD, LENGTH_TOLERANCE):
            what = f"its embedding has the length {wrong[1]:.4g}, not 1"
            raise DataError(f"{rows[wrong[0]].image}: {what}. Check the network with other images, or export it again")
        table = table_of(rows, self._manifest.next_row + self.count)
        with writing(self._folder):
            if self._segment is None:
                self._segment = self._begin()
            self._segment.write(vectors_BD.astype(np.float16), table, thumbnails)
        self.count += len(rows)

    def _begin(self) -> SegmentWriter:
        if not self._manifest.next_row:  # a folder with segments and no manifest is damaged, never unfinished
            manifests.write(self._folder, self._manifest)
        return self._stack.enter_context(new_segment(self._folder, self._manifest.name()))

    def finish(self) -> None:
        """Make the new segment a part of the index."""
        if self._segment is None:
            return
        with writing(self._folder):
            self._stack.close()
            segments = (*self._manifest.segments, self._segment.entry)
            manifests.write(self._folder, self._manifest.after(segments, new=1, rows=self.count))


@contextmanager
def appending(folder: Path, network: Mapping[str, Any], width: int) -> Iterator[Appender]:
    """Yield what adds rows to the index in `folder`, which is made where there is none. The rows appear together when
    the block ends; after an exception, and without rows, the index is as before.

    network: what embeds, with `sha256` and `feature`; other keys are kept of the first time. width: D. Raises DataError
    for an index of another network or width, or while another process writes it; ReportError where it cannot be
    written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with only_writer(folder):
        manifest = manifests.find(folder)
        if manifest is None:
            _check_empty(folder)
        if manifest is None or not manifest.next_row:  # 0: nothing was added before the first writer stopped
            manifest = Manifest(width, dict(network))
        _check_same(folder, manifest, network, width)
        with ExitStack() as stack:
            appender = Appender(folder, manifest, stack)
            yield appender
            appender.finish()


def _check_empty(folder: Path) -> None:
    others = {path.name for path in folder.iterdir()} - {f"{name}.partial" for name in (WRITER, manifests.FILE)}
    if others:
        what = f"is not empty, and {manifests.FILE} is missing: it holds {sorted(others)[0]}"
        raise ConfigError(f"{folder}: {what}. Name a new folder, or an index; if this was one, restore that file")


def _check_same(folder: Path, manifest: Manifest, network: Mapping[str, Any], width: int) -> None:
    there, here = _named(manifest.network, manifest.width), _named(network, width)
    if there != here:
        what = f"its rows were embedded by the network {there}, not by {here} (SHA-256, feature, width)"
        raise DataError(f"{folder}: {what}. Name that network, or make another index")


def _named(network: Mapping[str, Any], width: int) -> str:
    return f"{network['sha256']} {network['feature']} {width}"


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Let no other process write the index; remove what a killed one left, and at the end what the manifest no longer
    names. Raises DataError while another process writes it, ReportError where it cannot be written."""
    with ExitStack() as stack:
        with writing(folder):
            try:
                stack.enter_context(atomic.partial_file(folder / WRITER))
            except BlockingIOError:
                raise DataError(
                    f"{folder}: another process is writing it. Wait for it to end, then try again"
                ) from None
            _sweep(folder)
        try:
            yield
        finally:
            with writing(folder):
                _sweep(folder)


def _sweep(folder: Path) -> None:
    """Remove the segments that the manifest does not name. Without a manifest nothing is removed: it may be lost."""
    atomic.sweep(folder / manifests.FILE)
    manifest = manifests.find(folder)
    segments = folder / SEGMENTS
    if manifest is None or segments.is_symlink() or not segments.is_dir():  # what a link names is not ours
        return
    named = {entry.name for entry in manifest.segments}
    for path in (folder / SEGMENTS).iterdir():
        if re.fullmatch(rf"{NAME}(\.unfinished)?", path.name) and path.name not in named:
            shutil.rmtree(path)


def remove_made(folder: Path) -> None:
    """Delete what other programs made of the rows."""
    made = folder / MADE
    if made.is_dir() and not made.is_symlink():
        shutil.rmtree(made)
    elif os.path.lexists(made):
        made.unlink()
