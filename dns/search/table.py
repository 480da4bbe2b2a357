"""The table of a segment, as Parquet: one line a row, and a checksum for each page."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dns.search.manifest import AGAIN
from dns.search.rows import Filters, Row
from dns.search.sightings import Box
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import DataError

ROW_GROUP = 1 << 16  # rows that are read together
NAMES = pa.dictionary(pa.int32(), pa.string())
TIME = pa.timestamp("ms")  # UTC
BOX = [pa.field(name, pa.float32()) for name in "xywh"]  # null where the box is the whole image
SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("camera", NAMES, nullable=False),
        pa.field("modality", NAMES, nullable=False),
        pa.field("first", TIME),
        pa.field("last", TIME),
        pa.field("images", pa.int32(), nullable=False),
        pa.field("track", pa.string(), nullable=False),
        pa.field("image", pa.string(), nullable=False),
        *BOX,
        pa.field("thumbnail_begin", pa.int64(), nullable=False),  # byte in thumbnails.bin
        pa.field("thumbnail_bytes", pa.int32(), nullable=False),
    ]
)
# While a table is put together, names stand in it as they are: each part of it would have numbers of its own for them.
PLAIN = pa.schema([field.with_type(pa.string()) if field.type == NAMES else field for field in SCHEMA])
OF_ROWS, OF_THUMBNAILS = PLAIN.names[:-2], PLAIN.names[-2:]
DAMAGE = (pa.ArrowException, OSError, ValueError, KeyError, OverflowError)  # what damaged bytes make pyarrow raise


def footer_sha256(content: np.ndarray) -> str:
    """Return the SHA-256 of the footer of a Parquet file, uint8 (bytes,): it says where everything else lies."""
    size = int.from_bytes(content[-8:-4].tobytes(), "little")
    return hashlib.sha256(content[-8 - size :].data).hexdigest()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what damaged bytes cause into a DataError."""
    try:
        yield
    except DAMAGE as error:
        raise DataError(f"{path}: damaged ({error}). {AGAIN}") from None


def table_of(rows: Sequence[Row], first_number: int) -> pa.Table:
    """Return the columns OF_ROWS of rows, which are numbered from `first_number`. Raises DataError for a name that is
    no UTF-8."""
    boxes = [row.box or (None,) * 4 for row in rows]
    columns: list[Sequence[Any]] = [
        range(first_number, first_number + len(rows)),
        [row.camera for row in rows],
        [row.modality.name.lower() for row in rows],
        *([getattr(row, name) for row in rows] for name in ("first_ms", "last_ms", "images", "track", "image")),
        *([box[side] for box in boxes] for side in range(4)),
    ]
    try:
        arrays = [pa.array(column, PLAIN.field(index).type) for index, column in enumerate(columns)]
    except UnicodeEncodeError as error:
        raise DataError(f"{error.object!a}: this name is no UTF-8. Rename the file, camera or track") from None
    return pa.table(arrays, schema=pa.schema([PLAIN.field(name) for name in OF_ROWS]))


def plain(table: pa.Table) -> pa.Table:
    """Return the columns OF_ROWS of a table that was read, as `table_of` makes them."""
    return table.select(OF_ROWS).cast(pa.schema([PLAIN.field(name) for name in OF_ROWS]))


def rows_of(table: pa.Table) -> list[Row]:
    """Return the rows of a table with the columns OF_ROWS."""
    columns = {}
    for name in OF_ROWS:
        column = table.column(name)
        columns[name] = (column.cast(pa.int64()) if column.type == TIME else column).to_pylist()
    rows = []
    for number, camera, modality, first, last, images, track, image, *box in zip(*columns.values(), strict=True):
        place = None if box[0] is None else Box(*box)
        rows.append(Row(number, camera, Modality[modality.upper()], first, last, images, track, image, place))
    return rows


def columns_of(filters: Filters) -> list[str]:
    """Return the columns that the filters look at, none where they choose every row."""
    looked_at = {
        "camera": bool(filters.cameras),
        "modality": filters.modality is not None,
        "first": filters.until_ms is not None,
        "last": filters.since_ms is not None,
    }
    return [name for name, needed in looked_at.items() if needed]


def chosen_lines(table: pa.Table, filters: Filters) -> np.ndarray:
    """Return which lines of a table the filters choose: bool (N,). It needs the columns of `columns_of`."""
    chosen_N = np.ones(table.num_rows, bool)
    if filters.cameras:
        chosen_N &= _named(table.column("camera"), set(filters.cameras))
    if filters.modality is not None:
        chosen_N &= _named(table.column("modality"), {filters.modality.name.lower()})
    if filters.since_ms is not None:
        chosen_N &= _true(pc.greater_equal(table.column("last"), pa.scalar(filters.since_ms, TIME)))
    if filters.until_ms is not None:
        chosen_N &= _true(pc.less(table.column("first"), pa.scalar(filters.until_ms, TIME)))
        if filters.since_ms is not None:
            chosen_N &= filters.since_ms < filters.until_ms  # a track may begin before and end after an empty span
    return chosen_N


def _named(column: pa.ChunkedArray, names: set[str]) -> np.ndarray:
    """Whether each line holds one of the names. They are looked up once for each different one, not for each line."""
    found = []
    for chunk in column.chunks:
        wanted = np.array([name in names for name in chunk.dictionary.to_pylist()], bool)
        found.append(wanted[chunk.indices.to_numpy()])
    return np.concatenate(found)


def _true(column: pa.ChunkedArray) -> np.ndarray:
    return pc.fill_null(column, False).to_numpy()
