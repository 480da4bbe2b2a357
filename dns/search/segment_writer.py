"""Writes the files of a new segment as its rows come, in little memory."""

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dns.search.manifest import FILES, SEGMENTS, TABLE, THUMBNAILS, VECTORS, FileEntry, SegmentEntry
from dns.search.table import OF_THUMBNAILS, PLAIN, ROW_GROUP, SCHEMA, footer_sha256
from ffcv_convert.common import atomic


class HashedFile:
    """A new file that knows its size and its SHA-256. pyarrow writes to it as well."""

    closed = False  # pyarrow asks

    def __init__(self, path: Path):
        self._file = io.BufferedWriter(io.FileIO(path, "w"))
        self._digest = hashlib.sha256()
        self.bytes = 0

    def write(self, content: bytes) -> int:
        self._file.write(content)
        self._digest.update(content)
        self.bytes += len(content)
        return len(content)

    def tell(self) -> int:
        return self.bytes

    def flush(self) -> None:
        self._file.flush()

    def finish(self) -> FileEntry:
        """Flush it to the disk and close it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return FileEntry(self.bytes, self._digest.hexdigest())

    def close(self) -> None:
        with suppress(OSError):  # closing writes the buffer, which fails again if the disk is full
            self._file.close()


class SegmentWriter:
    """Writes a segment's three files below `folder`. entry: what the manifest says of them, once they are finished.

    Raises OSError where the disk is full or fails.
    """

    entry: SegmentEntry

    def __init__(self, folder: Path):
        self._folder = folder
        self._files = {file: HashedFile(folder / file) for file in FILES}
        # A camera or a modality is one of few, an image is not.
        options = {"compression": "zstd", "use_dictionary": ["camera", "modality"], "write_page_checksum": True}
        self._table = pq.ParquetWriter(self._files[TABLE], SCHEMA, **options)
        self._waiting: list[pa.Table] = []  # lines of the group of rows that is not yet full
        self._rows = 0

    def write(self, vectors_BD: np.ndarray, table: pa.Table, thumbnails: Sequence[bytes]) -> None:
        """Write B rows. vectors_BD: float16; table: the columns OF_ROWS of PLAIN; thumbnails: JPEGs, or empty."""
        self._files[VECTORS].write(vectors_BD.astype("<f2", copy=False).tobytes())
        sizes_B = np.array([len(thumbnail) for thumbnail in thumbnails], np.int64)
        begins_B = self._files[THUMBNAILS].bytes + np.cumsum(sizes_B) - sizes_B
        self._files[THUMBNAILS].write(b"".join(thumbnails))
        for name, numbers_B in zip(OF_THUMBNAILS, (begins_B, sizes_B), strict=True):
            field = PLAIN.field(name)
            table = table.append_column(field, pa.array(numbers_B).cast(field.type))
        self._waiting.append(table)
        self._rows += len(vectors_BD)
        while sum(part.num_rows for part in self._waiting) >= ROW_GROUP:
            self._write_group()

    def finish(self, name: str) -> None:
        """Flush the files to the disk."""
        if self._waiting:
            self._write_group()
        self._table.close()
        files = {file: self._files[file].finish() for file in FILES}
        footer = footer_sha256(np.memmap(self._folder / TABLE, np.uint8, mode="r"))
        self.entry = SegmentEntry(name, self._rows, files, footer)

    def close(self) -> None:
        """Close the files, finished or not."""
        self._table.is_open = False  # or it would write its last lines to the closed file when it is collected
        for file in self._files.values():
            file.close()

    def _write_group(self) -> None:
        """Write the first ROW_GROUP of the waiting lines. Names get their numbers here, so that the table holds no name
        without a row: what was removed is gone."""
        waiting = pa.concat_tables(self._waiting)
        self._table.write_table(waiting.slice(0, ROW_GROUP).combine_chunks().cast(SCHEMA))
        self._waiting = [waiting.slice(ROW_GROUP)] if len(waiting) > ROW_GROUP else []


@contextmanager
def new_segment(folder: Path, name: str) -> Iterator[SegmentWriter]:
    """Yield the writer of a new segment of the index in `folder`. At the end of the block its folder appears whole and
    its `entry` is known; after an exception there is no folder."""
    with atomic.replacing_folder(folder / SEGMENTS / name) as unfinished:
        writer = SegmentWriter(unfinished)
        try:
            yield writer
            writer.finish(name)
        finally:
            writer.close()
