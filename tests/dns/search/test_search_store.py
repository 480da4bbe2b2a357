"""The index on the disk, compared with a plain dict of the rows that were added and not removed."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from dns.search import removal, segment_writer, table
from dns.search.removal import compact, remove
from dns.search.rows import Filters
from dns.search.store import Index
from dns.search.verification import verify
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import ConfigError
from tests.support.refusals import refusal
from tests.support.search_rows import (
    CAMERAS,
    MADE_OF_ROWS,
    Entries,
    append,
    content,
    files_in,
    files_of,
    is_chosen,
    made,
    make_of_rows,
    without,
)

TIMES = some.none() | some.integers(-6, 24)
FILTERS = some.builds(
    Filters,
    cameras=some.lists(some.sampled_from((*CAMERAS, "roof")), max_size=2).map(tuple),
    modality=some.none() | some.sampled_from(Modality),
    since_ms=TIMES,
    until_ms=TIMES,
)
OPERATION = some.integers(0, 23) | FILTERS | some.just("compact")  # how many rows are added; what is removed
EVERYTHING = Filters()


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment of a few rows has several groups, and several blocks are copied of each."""
    monkeypatch.setattr(segment_writer, "ROW_GROUP", 10)
    monkeypatch.setattr(removal, "BLOCK", 4)


def add(folder: Path, entries: Entries, count: int, seed: int = 0, number: int | None = None) -> None:
    """Add rows to the index and to the dict. number: of the first of them, by default one more than the last there."""
    first = max(entries, default=-1) + 1 if number is None else number
    new = made(np.random.default_rng([seed, first]), count, first)
    append(folder, new)
    entries |= {entry.row.number: entry for entry in new}


@settings(max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(operations=some.lists(OPERATION, min_size=2, max_size=6))
def test_rows_are_those_added_and_not_removed_in_any_order(
    operations: list[int | str | Filters], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, entries, given_numbers = tmp_path_factory.mktemp("index"), {}, 9
    add(folder, entries, given_numbers)
    for operation in operations:
        before = Index.open(folder)
        make_of_rows(folder)
        if isinstance(operation, int):
            add(folder, entries, operation, number=given_numbers)
            given_numbers += operation
        elif operation == "compact":
            assert compact(folder) == (len(before.segments), min(len(before.segments), 1))
        elif operation == EVERYTHING:
            with refusal(ConfigError, folder):
                remove(folder, operation)
        else:
            kept = without(entries, operation)
            assert remove(folder, operation) == len(entries) - len(kept)
            assert (folder / MADE_OF_ROWS).exists() == (len(kept) == len(entries))
            entries = kept
        index = Index.open(folder)
        assert list(content(index).items()) == list(entries.items())
        assert len(index) == len(entries)
        assert files_in(folder) - {str(MADE_OF_ROWS)} == files_of(index)
        verify(folder)


@settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(filters=FILTERS)
def test_filters_choose_what_a_loop_over_all_rows_chooses(filters: Filters, of_40: Path) -> None:
    [segment] = Index.open(of_40).segments
    rows = segment.rows(range(40))
    chosen = segment.chosen(filters)
    if filters == EVERYTHING:
        assert chosen is None
        return
    assert chosen is not None
    assert chosen.dtype == np.int64
    assert chosen.tolist() == [position for position, row in enumerate(rows) if is_chosen(row, filters)]


@pytest.fixture(scope="module")
def of_40(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of 40 rows in one segment with groups of 10 rows. Read only."""
    folder = tmp_path_factory.mktemp("of-40")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment_writer, "ROW_GROUP", 10)
        append(folder, made(np.random.default_rng(1), 40))
    return folder


def test_a_span_holds_its_first_moment_and_not_its_last_one(tmp_path: Path) -> None:
    entries = made(np.random.default_rng(0), 4)
    spans = [(10, 10), (10, 14), (14, 15), (None, None)]
    rows = [entry.row._replace(first_ms=a, last_ms=b) for entry, (a, b) in zip(entries, spans, strict=True)]
    append(tmp_path, [entry._replace(row=row) for entry, row in zip(entries, rows, strict=True)])
    [segment] = Index.open(tmp_path).segments

    def seen(since: int | None, until: int | None) -> list[int]:
        return np.asarray(segment.chosen(Filters(since_ms=since, until_ms=until))).tolist()

    assert seen(10, 11) == [0, 1]
    assert seen(11, 14) == [1]  # a part of what it lasted
    assert seen(14, 15) == [1, 2]
    assert seen(None, 10) == []
    assert seen(15, None) == [2]
    assert seen(None, 10**12) == [0, 1, 2]


def test_rows_and_thumbnails_come_in_the_order_of_the_positions_from_their_groups_alone(
    of_40: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [segment] = Index.open(of_40).segments
    everything, thumbnails = segment.rows(range(40)), segment.thumbnails(range(40))
    read: list[int] = []
    group = segment._group
    monkeypatch.setattr(segment, "_group", lambda number, columns: read.append(number) or group(number, columns))
    positions = np.array([31, 2, 39, 2, 30])
    assert segment.rows(positions) == [everything[position] for position in positions]
    assert segment.thumbnails(positions) == [thumbnails[position] for position in positions]
    assert read == [0, 3, 0, 3]
    assert segment.rows([]) == segment.thumbnails([]) == []


def test_all_tables_are_one_parquet_table(tmp_path: Path) -> None:
    import pyarrow.dataset as dataset

    entries: Entries = {}
    add(tmp_path, entries, 12)
    add(tmp_path, entries, 13)
    joined = dataset.dataset(sorted((tmp_path / "segments").glob("*/rows.parquet")), format="parquet").to_table()
    assert joined.schema.equals(table.SCHEMA)
    assert joined.column("row").to_pylist() == list(range(25))
    assert joined.column("camera").to_pylist() == [entry.row.camera for entry in entries.values()]


def test_a_removed_name_is_in_no_file(tmp_path: Path) -> None:
    entries: Entries = {}
    add(tmp_path, entries, 30)
    gone = [entry for entry in entries.values() if entry.row.camera == "door"]
    assert remove(tmp_path, Filters(cameras=["door"])) == len(gone) > 3
    left = b"".join((tmp_path / name).read_bytes() for name in files_in(tmp_path))
    assert not any(entry.vector in left or (entry.thumbnail and entry.thumbnail in left) for entry in gone)
    import pyarrow.parquet as pq

    [segment] = Index.open(tmp_path).segments
    column = pq.read_table(segment.folder / "rows.parquet").column("camera")
    assert all("door" not in chunk.dictionary.to_pylist() for chunk in column.chunks)
