"""FAISS's files, whose builder is killed at any moment: the rows stay, and the next search builds what is missing."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from dns.search import candidates
from dns.search.answer import Answer
from dns.search.approximate import files, ivf_pq
from dns.search.candidates import Candidates
from dns.search.rows import Filters
from dns.search.store import Index
from dns.search.verification import verify
from ffcv_convert.common.errors import UserError
from tests.faults.conftest import Tally
from tests.faults.search_child import BUILDING, CANDIDATES, LARGE, QUERY, Run, children
from tests.support.clustered_rows import append, asked, drawn, near
from tests.support.search_commands import contents

SEGMENTS = {"000001": 600, "000002": 100, "000003": 500}  # name -> rows
MADE = Path("made", "faiss")
Start = dict[str, Path]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name, value in (
        (files, "FEWEST", LARGE), (candidates, "FEWEST", CANDIDATES), (candidates, "TIMES", 1), (ivf_pq, "BLOCK", 100),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, value)


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with children() as run:
        yield run


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """An index for each operation, and one whose files are whole. A build begins from nothing; a search finds a file
    that is missing, a damaged one, which it builds last, and the folder of a segment that is there no longer."""
    found = {name: tmp_path / f"start-{name}" for name in ("build", "search", "unbroken")}
    for number, rows in enumerate(SEGMENTS.values()):
        append(found["build"], drawn(rows, number))
    shutil.copytree(found["build"], found["unbroken"])
    assert files.build(found["unbroken"]) == 2
    shutil.copytree(found["unbroken"], found["search"])
    shutil.copytree(found["search"] / MADE / "000003", found["search"] / MADE / "000009")
    shutil.rmtree(found["search"] / MADE / "000001")
    with open(found["search"] / MADE / "000003" / files.ROWS, "r+b") as file:
        file.truncate(1000)
    np.savez(tmp_path / QUERY, features=near(found["build"], 1))
    return found


class Whole(NamedTuple):
    """What an index has. rows: the bytes of the files of the segments; exact, found: the answers that compare every
    row, and candidates."""

    rows: dict[str, bytes]
    exact: list[list[Answer]]
    found: list[list[Answer]]


def whole(folder: Path) -> Whole:
    """Look at an index, and search it as for the first time."""
    rows = {name: content for name, content in contents(folder).items() if name.startswith("segments")}
    source = files.opened(Index.open(folder))
    return Whole(rows, answers(folder, None), answers(folder, source))


def answers(folder: Path, source: Candidates | None) -> list[list[Answer]]:
    return [asked(folder, query_D, Filters(), source) for query_D in near(folder, 3)]


def check(folder: Path, unbroken: Whole, tally: Tally, what: str) -> None:
    """The rows are those of before, and the next search answers as after an unbroken build and tidies up."""
    try:
        verify(folder)
        found = whole(folder)
        if (found.rows, found.exact) != (unbroken.rows, unbroken.exact):
            tally.wrong("lost", f"{what}: other rows, or other exact answers")
        if found.found != unbroken.found:
            tally.wrong("silent", f"{what}: other answers")
    except UserError as error:
        tally.wrong("crashed", f"{what}: {error}")
    made = {path.name for path in (folder / MADE).iterdir()}
    left = {path.name for path in folder.iterdir()} - {"writer.partial"}  # empty: the next writer locks it again
    if made != {"000001", "000003"} or left != {"manifest.json", "segments", "made"}:
        tally.wrong("silent", f"{what}: left {sorted(made)}, {sorted(left)}")


@pytest.mark.parametrize("operation", BUILDING)
def test_a_builder_killed_at_any_moment_loses_nothing(
    operation: str, start: Start, run: Run, tmp_path: Path, tally: Tally, times: Callable[[int, int], int]
) -> None:
    unbroken = whole(start["unbroken"])

    def killed(moment: object) -> int | None:
        folder = tmp_path / "Index"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(start[operation], folder)
        begin = time.monotonic()
        calls = run(operation, moment, folder)
        took_s.append(time.monotonic() - begin)
        check(folder, unbroken, tally, f"{operation}, killed at {moment}")
        return calls

    by_call, took_s = times(4, 16), list[float]()
    calls = killed(0)
    assert calls is not None
    assert calls > 30
    moments: list[Any] = np.linspace(1, calls, by_call).astype(int).tolist()
    moments += [f"{share * took_s[0]:.4f}s" for share in np.random.default_rng(0).uniform(0.05, 1, times(1, 4))]
    outcomes = [killed(moment) for moment in moments]
    tally.did("kills", outcomes.count(None))
    assert outcomes[:by_call] == [None] * by_call  # at a random time it may have ended already
