"""Several processes at one index, full disks, and folders that cannot be written."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from dns.search import manifest as manifests
from dns.search import store
from dns.search.removal import compact, remove
from dns.search.rows import Filters
from dns.search.segment import Segment
from dns.search.store import Index
from dns.search.verification import verify
from ffcv_convert.common.errors import DataError, ReportError
from tests.conftest import REPOSITORY
from tests.support.refusals import assert_tells, refusal
from tests.support.search_rows import MADE_OF_ROWS, append, content, files_in, files_of, made, make_of_rows

DOOR = Filters(cameras=["door"])
WRITERS: list[Callable[[Path], object]] = [
    lambda folder: append(folder, made(np.random.default_rng(9), 60, 40)),
    lambda folder: remove(folder, DOOR),
    compact,
]
HOLDS_IT = """
import sys
from pathlib import Path
from dns.search.store import appending
from tests.support.search_rows import NETWORK, WIDTH
with appending(Path(sys.argv[1]), NETWORK, WIDTH):
    print("writing", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index of two segments, and something that was made of its rows."""
    for first in (0, 20):
        append(tmp_path / "index", made(np.random.default_rng(first), 20, first))
    make_of_rows(tmp_path / "index")
    return tmp_path / "index"


def everything_in(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_in(folder)}


def test_one_process_writes_and_others_read(folder: Path) -> None:
    before, rows = everything_in(folder), content(Index.open(folder))
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS_IT, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        for write in WRITERS:
            with refusal(DataError, folder, "another process"):
                write(folder)
        assert content(Index.open(folder)) == rows
        verify(folder)
        process.communicate("\n", timeout=60)
    assert process.returncode == 0
    assert everything_in(folder) == before
    for write in WRITERS:
        write(folder)


def test_a_reader_keeps_what_it_opened_while_rows_are_removed(folder: Path) -> None:
    reader = Index.open(folder)
    before, vectors_ND = content(reader), reader.segments[1].vectors_ND.copy()
    assert remove(folder, DOOR)
    compact(folder)
    remove(folder, Filters(cameras=["hall", "Hof süd"]))
    assert len(Index.open(folder)) == 0
    assert content(reader) == before
    assert np.array_equal(reader.segments[1].vectors_ND, vectors_ND)
    chosen = reader.segments[0].chosen(DOOR)
    assert chosen is not None
    assert [row.camera for row in reader.segments[0].rows(chosen)] == ["door"] * len(chosen)


@pytest.mark.parametrize("opened_before", [0, 1])
def test_a_reader_whose_manifest_is_replaced_before_it_opens_the_segments_reads_it_again(
    opened_before: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def opened(*arguments: object) -> Segment:
        calls.append(arguments)
        if len(calls) == 1 + opened_before:
            remove(folder, DOOR)
            compact(folder)
        return real(*arguments)

    real = store.opened
    monkeypatch.setattr(store, "opened", opened)
    index = Index.open(folder)
    assert [segment.name for segment in index.segments] == ["000005"]
    assert all(entry.row.camera != "door" for entry in content(index).values())
    assert len(calls) == 2 + opened_before


@contextmanager
def limited(kind: int, limit: int) -> Iterator[None]:
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


def complaint(write: Callable[[Path], object], folder: Path) -> str:
    """What the writer says where it cannot write, "" where it can."""
    try:
        write(folder)
    except ReportError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("write", WRITERS)
def test_on_a_full_disk_the_index_stays_as_it_was(write: Callable[[Path], object], folder: Path) -> None:
    before, complaints = everything_in(folder), []
    for limit in range(0, 8000, 200):  # bytes of any one file: each is too large in its turn
        with limited(resource.RLIMIT_FSIZE, limit):
            complaints.append(complaint(write, folder))
        if not complaints[-1]:
            break
        assert_tells(complaints[-1], folder, "could not be written")
        after = everything_in(folder)
        assert after.items() <= before.items(), limit
        assert before.keys() - after.keys() <= {str(MADE_OF_ROWS)}, limit  # a removal deletes it first
        verify(folder)
    assert len(complaints) > 5
    assert not complaints[-1]
    assert files_in(folder) >= files_of(Index.open(folder))
    verify(folder)


def test_what_cannot_be_written_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything_in(folder)

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "a file")

    monkeypatch.setattr(manifests, "write", refused)
    for write in WRITERS:
        with refusal(ReportError, folder, "Permission denied"):
            write(folder)
    assert content(Index.open(folder)).keys() == set(range(40))
    assert files_in(folder) <= set(before)


def test_more_segments_than_files_may_be_open_ask_for_compaction(folder: Path) -> None:
    lowest = os.dup(0)  # the lowest number that is free: at most three more files can be opened below the limit
    os.close(lowest)
    with limited(resource.RLIMIT_NOFILE, lowest + 3), refusal(DataError, folder, "compact"):
        Index.open(folder)


def test_every_writer_removes_what_a_killed_one_left(folder: Path) -> None:
    rows = content(Index.open(folder))
    for write in (lambda folder: append(folder, []), compact, lambda folder: remove(folder, DOOR)):
        segments = folder / "segments"
        shutil.copytree(next(segments.iterdir()), segments / "000777")
        shutil.copytree(next(segments.iterdir()), segments / "000778.unfinished")
        (segments / "notes of the user").mkdir(exist_ok=True)
        (folder / "manifest.json.partial").write_bytes(b"{")
        (folder / "writer.partial").touch()
        write(folder)
        index = Index.open(folder)
        assert files_in(folder) - {str(MADE_OF_ROWS)} == files_of(index)
        assert {path.name for path in segments.iterdir()} == {"notes of the user", *(s.name for s in index.segments)}
    assert content(index).items() <= rows.items()
