"""An index whose writer is killed at any moment: it holds the rows of before or of after, and the next writer works."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from dns.search.store import Index
from dns.search.verification import verify
from ffcv_convert.common.errors import DataError
from tests.faults.conftest import Tally
from tests.faults.search_child import ADDED, BEFORE, DOOR, OPERATIONS, Run, children
from tests.support.search_rows import (
    MADE_OF_ROWS,
    Entries,
    append,
    content,
    files_in,
    files_of,
    made,
    make_of_rows,
    without,
)

Times = Callable[[int, int], int]
IN_ONE = 10  # rows of each segment


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with children() as run:
        yield run


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of several segments, and something that was made of its rows. Read only."""
    folder = tmp_path_factory.mktemp("start")
    for first in range(0, BEFORE, IN_ONE):
        append(folder, made(np.random.default_rng(first), IN_ONE, first))
    make_of_rows(folder)
    return folder


def rows_in(folder: Path) -> Entries:
    """What an index holds; nothing where none was made yet."""
    if not (folder / "manifest.json").exists():
        return {}
    return content(Index.open(folder))


def numbered(entries: list) -> Entries:
    return {entry.row.number: entry for entry in entries}


def check(folder: Path, before: Entries, after: Entries, tally: Tally, what: str) -> bool:
    """The index holds all of before or all of after; the next writer adds to it and leaves no other file. Returns
    whether it was after."""
    try:
        found = rows_in(folder)
        if list(found.items()) not in ([*before.items()], [*after.items()]):
            tally.wrong("lost" if found.keys() < before.keys() else "silent", f"{what}: rows {sorted(found)}")
            return False
        if len(found) < len(before) and (folder / MADE_OF_ROWS).exists():
            tally.wrong("silent", f"{what}: what was made of removed rows is still there")
        highest = max(found, default=-1) if before.keys() <= found.keys() else max(before)
        append(folder, made(np.random.default_rng(2), 1, highest + 1))
        with_next = rows_in(folder)
        if list(with_next.items())[:-1] != list(found.items()) or list(with_next)[-1] != highest + 1:
            tally.wrong("lost", f"{what}: after the next addition there are {sorted(with_next)}")
        verify(folder)
        left = files_in(folder) - {str(MADE_OF_ROWS)} - files_of(Index.open(folder))
        if left or {path.name for path in (folder / "segments").iterdir()} != {*names(folder)}:
            tally.wrong("silent", f"{what}: left {sorted(left)}, {os.listdir(folder / 'segments')}")
    except DataError as error:
        tally.wrong("crashed", f"{what}: {error}")
        return False
    return list(found.items()) == list(after.items())


def names(folder: Path) -> list[str]:
    return [segment.name for segment in Index.open(folder).segments]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_writer_killed_at_any_call_leaves_the_rows_of_before_or_of_after(
    operation: str, start: Path, run: Run, tmp_path: Path, tally: Tally, times: Times
) -> None:
    def copy(name: str) -> Path:
        folder = tmp_path / name
        return folder if operation == "first" else shutil.copytree(start, folder)

    before = {} if operation == "first" else rows_in(start)
    added = numbered(made(np.random.default_rng(1), ADDED, len(before)))
    after = {"remove": without(before, DOOR), "compact": before}.get(operation, {**before, **added})
    whole = copy("whole")
    calls = run(operation, 0, whole)
    assert calls is not None
    assert calls > 20
    assert check(whole, before, after, tally, f"{operation}, not killed")
    outcomes = set()
    for number in np.linspace(1, calls, times(5, 20)).astype(int).tolist():
        folder = copy(str(number))
        if run(operation, number, folder) is not None:
            pytest.fail(f"{operation} was not killed at call {number} of {calls}")
        tally.did("kills")
        outcomes.add(check(folder, before, after, tally, f"{operation}, killed at call {number} of {calls}"))
    assert outcomes == ({True} if operation == "compact" else {False, True})
