"""One segment: a folder of three files, written once and never changed.

vectors.f16       little-endian float16 (N, D), rows of length 1
rows.parquet      one line a row: see table.py
thumbnails.bin    JPEGs one after another; the table says where each begins and how long it is
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dns.search.manifest import AGAIN, FILES, TABLE, THUMBNAILS, VECTORS, SegmentEntry
from dns.search.rows import Filters, Row
from dns.search.table import (
    OF_ROWS,
    OF_THUMBNAILS,
    SCHEMA,
    chosen_lines,
    columns_of,
    footer_sha256,
    reading,
    rows_of,
)  # fmt: skip
from ffcv_convert.common.errors import DataError

LENGTH_TOLERANCE = 1e-3  # how far a vector may be from length 1 when it comes
ROUNDING = 1e-3  # how much farther float16 may put it: its numbers are off by 1 in 2,048 at most


class Segment:
    """The files of a segment, opened for reading; what another process removes stays readable.

    Raises FileNotFoundError where a file is missing, DataError where it is of another size or damaged. Positions count
    the segment's rows from 0.
    """

    def __init__(self, folder: Path, entry: SegmentEntry, width: int):
        self.folder, self.entry, self.name = folder, entry, entry.name
        self.bytes = {file: _mapped(folder / file, entry.files[file].bytes) for file in FILES}
        self.vectors_ND: np.ndarray = self.bytes[VECTORS].view("<f2").reshape(entry.rows, width)
        with reading(folder / TABLE):
            if footer_sha256(self.bytes[TABLE]) != entry.footer_sha256:
                raise ValueError("its footer is not what was written")
            source = pa.BufferReader(pa.py_buffer(self.bytes[TABLE]))
            self.table = pq.ParquetFile(source, page_checksum_verification=True)
            about = self.table.metadata
            groups = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
        self._ends = np.cumsum(groups)

    def __len__(self) -> int:
        return self.entry.rows

    def vectors(self, begin: int, end: int) -> np.ndarray:
        """Return the vectors from a position to before another, float32 (B, D). Raises DataError where one is not of
        length 1; `vectors_ND` looks at none."""
        found_BD = self.vectors_ND[begin:end].astype(np.float32)
        if wrong := not_unit(found_BD, LENGTH_TOLERANCE + ROUNDING):
            what = f"the vector at position {begin + wrong[0]:,} has the length {wrong[1]:.4g}, not 1"
            raise DataError(f"{self.folder / VECTORS}: damaged ({what}). {AGAIN}")
        return found_BD

    def chosen(self, filters: Filters) -> np.ndarray | None:
        """Return the positions of the rows that the filters choose: int64, rising; None where that is all of them
        because nothing is filtered. Raises DataError where the table is damaged."""
        columns = columns_of(filters)
        if not columns:
            return None
        found = [begin + np.flatnonzero(chosen_lines(part, filters)) for begin, part in self.groups(columns)]
        return np.concatenate(found)

    def numbers(self) -> np.ndarray:
        """Return the number of each row, int64 (N,). Raises DataError where the table is damaged."""
        return np.concatenate([part.column("row").to_numpy() for _, part in self.groups(["row"])])

    def rows(self, positions: Sequence[int] | np.ndarray) -> list[Row]:
        """Return the rows at these positions, in their order. Raises DataError where the table is damaged."""
        return self._each(positions, OF_ROWS, rows_of)

    def thumbnails(self, positions: Sequence[int] | np.ndarray) -> list[bytes]:
        """Return the JPEGs at these positions, in their order; empty where there is none. Raises DataError where the
        table is damaged."""
        return self._each(positions, OF_THUMBNAILS, self.thumbnails_of)

    def position(self, number: int) -> int | None:
        """Return the position of the row of this number; None where the segment has none. Only the groups whose numbers
        reach from below it to above are read. Raises DataError where the table is damaged."""
        column = SCHEMA.get_field_index("row")
        for group, end in enumerate(self._ends.tolist()):
            about = self.table.metadata.row_group(group)
            limits = about.column(column).statistics
            if limits.min <= number <= limits.max:
                with reading(self.folder / TABLE):
                    number_N = self._group(group, ["row"]).column("row").to_numpy()
                if len(found := np.flatnonzero(number_N == number)):
                    return end - about.num_rows + int(found[0])
        return None

    def names(self, column: str) -> set[str]:
        """Return the different names in a column, such as camera. Raises DataError where the table is damaged."""
        return {name for _, part in self.groups([column]) for name in part.column(column).unique().to_pylist()}

    def thumbnails_of(self, table: pa.Table) -> list[bytes]:
        """Return the thumbnails of a part of the table. Raises DataError where one does not lie in their file."""
        kept, found = self.bytes[THUMBNAILS], []
        for begin, size in zip(*(table.column(name).to_pylist() for name in OF_THUMBNAILS), strict=True):
            if not 0 <= begin <= begin + size <= len(kept):
                raise DataError(f"{self.folder / TABLE}: damaged (a thumbnail lies outside {THUMBNAILS}). {AGAIN}")
            found.append(kept[begin : begin + size].tobytes())
        return found

    def groups(self, columns: list[str]) -> Iterator[tuple[int, pa.Table]]:
        """Yield the position of the first row, and these columns, of each group of rows. Raises DataError."""
        begin = 0
        for group in range(len(self._ends)):
            with reading(self.folder / TABLE):
                part = self._group(group, columns)
            yield begin, part
            begin += part.num_rows

    def _group(self, group: int, columns: list[str]) -> pa.Table:
        part = self.table.read_row_group(group, columns=columns)
        part.validate(full=True)  # such as: names are UTF-8, and each number of a name has one
        return part

    def _each(self, positions: Any, columns: list[str], make: Callable[[pa.Table], list]) -> list:
        """Return what `make` makes of each line at these positions. Only the groups that hold one are read."""
        position_N = np.asarray(positions, np.int64)
        group_N = np.searchsorted(self._ends, position_N, side="right")
        found: list[Any] = [None] * len(position_N)
        for group in np.unique(group_N):
            at = np.flatnonzero(group_N == group)
            with reading(self.folder / TABLE):
                part = self._group(group, columns)
                lines = part.take(position_N[at] - (self._ends[group] - part.num_rows))
                for index, one in zip(at, make(lines), strict=True):
                    found[index] = one
        return found


def _mapped(path: Path, size_bytes: int) -> np.ndarray:
    """Return the bytes of a file, mapped: they are read when they are looked at."""
    found_bytes = path.stat().st_size
    if found_bytes != size_bytes:
        raise DataError(f"{path}: has {found_bytes:,} bytes, the manifest says {size_bytes:,}. {AGAIN}")
    return np.memmap(path, np.uint8, mode="r") if size_bytes else np.empty(0, np.uint8)


def not_unit(vectors_BD: np.ndarray, tolerance: float) -> tuple[int, float] | None:
    """Return the position and the length of the first row that is not finite, or not of length 1, or None."""
    vectors_BD = np.asarray(vectors_BD, np.float32)
    length_B = np.sqrt(np.einsum("bd,bd->b", vectors_BD, vectors_BD))
    wrong = np.flatnonzero(~(np.abs(length_B - 1) <= tolerance))  # NaN is wrong as well
    return (int(wrong[0]), float(length_B[wrong[0]])) if len(wrong) else None
