"""Copies in Milvus Lite, by a file and an address: they find the same hits, and what is removed is gone there too."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dns.search import candidates
from dns.search.__main__ import main
from dns.search.milvus import collection, copies
from dns.search.milvus.expression import expression
from dns.search.removal import remove
from dns.search.rows import Filters
from dns.search.store import Index
from dns.search.verification import verify
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import ConfigError, DataError
from tests.support.clustered_rows import append, asked, camera, drawn, near, recall
from tests.support.refusals import assert_tells, refusal
from tests.support.search_commands import contents, rows_of

ROWS, CANDIDATES = 300, 60
GONE = Filters(cameras=[camera(7)])
FILTERS = {
    "nothing": Filters(),
    "cameras": Filters(cameras=[camera(number) for number in range(0, 100, 2)]),
    "visible": Filters(modality=Modality.VISIBLE),
    "since": Filters(since_ms=100_000),
    "until": Filters(until_ms=200_000),
    "all": Filters([camera(number) for number in range(90)], Modality.VISIBLE, 20_000, 280_000),
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "FEWEST", CANDIDATES)
    monkeypatch.setattr(candidates, "TIMES", 1)
    monkeypatch.setattr(collection, "BLOCK", 70)


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index of two segments, and a copy of it. Read only."""
    top = tmp_path_factory.mktemp("milvus")
    for seed in (0, 1):
        append(top / "Index", drawn(ROWS // 2, seed))
    assert copies.copy(top / "Index", str(top / "milvus.db")) == ROWS
    return top


@pytest.fixture
def top(intact: Path, tmp_path: Path) -> Path:
    """A copy of it, that may be changed."""
    shutil.copytree(intact, tmp_path / "top")
    write_places(tmp_path / "top" / "Index", str(tmp_path / "top" / "milvus.db"))
    return tmp_path / "top"


def write_places(folder: Path, *uris: str) -> None:
    (known,) = json.loads((folder / copies.FILE).read_text())
    (folder / copies.FILE).write_text(json.dumps([{**known, "uri": uri} for uri in uris]))


def found_in(top: Path, filters: Filters, query_D: np.ndarray, uri: str = "") -> list[Any]:
    index = Index.open(top / "Index")
    with copies.opened(index, uri or str(top / "milvus.db")) as source:
        return asked(top / "Index", query_D, filters, source)


@contextmanager
def served(path: Path) -> Iterator[str]:
    """Milvus Lite's server for other programs, by its address."""
    from milvus_lite.adapter.grpc.server import start_server_in_thread

    server, database, port = start_server_in_thread(str(path))
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop(grace=None)
        database.close()


def test_hits_are_those_of_comparing_every_row_whatever_is_filtered(intact: Path) -> None:
    index = Index.open(intact / "Index")
    with copies.opened(index, str(intact / "milvus.db")) as source:
        for name, filters in FILTERS.items():
            for query_D in near(intact / "Index", 3):
                exact = asked(intact / "Index", query_D, filters)
                assert recall(exact, asked(intact / "Index", query_D, filters, source)) == 1, name
            parts = index.parts(filters)
            narrowed = source.narrow(near(intact / "Index", 1)[0], filters, parts, 10)
            assert sum(map(len, narrowed)) == CANDIDATES < sum(map(len, parts)), name
            assert all(set(b.chosen) <= set(range(150) if a.chosen is None else a.chosen)
                       for a, b in zip(parts, narrowed, strict=True))  # fmt: skip


def test_few_chosen_rows_are_compared_without_asking(intact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index.open(intact / "Index")
    with copies.opened(index, str(intact / "milvus.db")) as source:
        monkeypatch.setattr(collection.Collection, "nearest", lambda *_: pytest.fail("asked"))
        parts = index.parts(GONE)
        assert [part.chosen.tolist() for part in source.narrow(near(intact / "Index", 1)[0], GONE, parts, 10)] == [
            part.chosen.tolist() for part in parts
        ]


def test_filters_in_milvus_s_words() -> None:
    assert expression(Filters()) == ""
    assert expression(Filters(["a", 'b "c" \\ ü'], Modality.INFRARED, -5, 7)) == (
        'camera in ["a", "b \\"c\\" \\\\ ü"] and modality == "infrared" and last >= -5 and first < 7'
    )


def test_a_copy_holds_what_the_table_says(intact: Path) -> None:
    (place,) = copies.read(intact / "Index")
    rows, names = rows_of(intact / "Index"), ["row", "camera", "modality", "first", "last", "images", "track", "image"]
    with collection.connected(place) as there:
        there.check(Index.open(intact / "Index"))
        held = {
            one["row"]: one for one in there._client.query(there._name, "row >= 0", output_fields=[*names, "vector"])
        }
    stored_ND = np.concatenate([segment.vectors_ND for segment in Index.open(intact / "Index").segments])
    assert len(held) == len(rows) == ROWS
    for row, vector_D in zip(rows, stored_ND, strict=True):
        one = held[row.number]
        times = (2**63 - 1, -(2**63)) if row.first_ms is None else (row.first_ms, row.last_ms)
        told = (row.camera, row.modality.name.lower(), *times, row.images, row.track, row.image)
        assert tuple(one[name] for name in names[1:]) == told
        assert np.array_equal(np.asarray(one["vector"], np.float32), vector_D.astype(np.float32))


def test_rows_that_were_added_since_are_asked_for_and_then_copied(top: Path) -> None:
    append(top / "Index", drawn(80, 2))
    with refusal(DataError, top / "milvus.db", ROWS, ROWS + 80, "copy"):
        found_in(top, Filters(), near(top / "Index", 1)[0])
    assert copies.copy(top / "Index", str(top / "milvus.db")) == 80
    assert copies.copy(top / "Index", str(top / "milvus.db")) == 0
    query_D = drawn(80, 2)[30]
    (best,) = [one.hits[0] for one in found_in(top, Filters(modality=Modality.VISIBLE), query_D)]
    assert best.row.number in range(ROWS + 20, ROWS + 40)


def test_a_copy_of_another_index_with_the_same_numbers_is_refused(top: Path) -> None:
    """Of two copies of a folder, each gives the next numbers to rows of its own."""
    shutil.copytree(top / "Index", top / "Other" / "Index")
    append(top / "Index", drawn(80, 2))
    assert copies.copy(top / "Index", str(top / "milvus.db")) == 80
    with refusal(DataError, top / "milvus.db", ROWS, ROWS + 80, top / "Other" / "Index" / copies.FILE):
        found_in(top / "Other", Filters(), near(top / "Index", 1)[0], str(top / "milvus.db"))
    append(top / "Other" / "Index", drawn(80, 3))
    for use in (
        lambda: copies.copy(top / "Other" / "Index", str(top / "milvus.db")),
        lambda: found_in(top / "Other", Filters(), near(top / "Index", 1)[0], str(top / "milvus.db")),
    ):
        with refusal(DataError, top / "milvus.db", ROWS + 79, top / "Other" / "Index" / copies.FILE):
            use()
    (top / "Other" / "Index" / copies.FILE).unlink()
    assert copies.copy(top / "Other" / "Index", str(top / "milvus.db")) == ROWS + 80
    for folder in (top, top / "Other"):
        query_D = near(folder / "Index", 1)[0]
        found = found_in(folder, Filters(), query_D, str(top / "milvus.db"))
        assert recall(asked(folder / "Index", query_D, Filters()), found) == 1


def test_one_folder_has_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert {copies.place_of(uri) for uri in ("a.db", "./a.db", "b/../a.db")} == {str(tmp_path / "a.db")}


def bytes_in(path: Path) -> bytes:
    return b"".join(one.read_bytes() for one in sorted(path.rglob("*")) if one.is_file())


@pytest.mark.parametrize("by", ["a file", "an address"])
def test_a_removed_row_is_in_no_file_of_a_copy(by: str, top: Path) -> None:
    index = Index.open(top / "Index")
    gone = [vector_D.astype(np.float32) for part in index.parts(GONE) for vector_D in part.vectors_ND[part.chosen]]
    assert len(gone) == 3
    before = bytes_in(top / "milvus.db")
    assert all(vector_D.tobytes() in before for vector_D in gone)
    if by == "a file":
        assert remove(top / "Index", GONE) == 3
    else:
        with served(top / "milvus.db") as address:
            write_places(top / "Index", address)
            assert remove(top / "Index", GONE) == 3
        write_places(top / "Index", str(top / "milvus.db"))
    after = bytes_in(top / "milvus.db")
    assert not any(vector_D.tobytes() in after for vector_D in gone)
    verify(top / "Index")
    exact = asked(top / "Index", gone[0], Filters())
    found = found_in(top, Filters(), gone[0])
    assert recall(exact, found) == 1
    assert not [hit for one in found for hit in one.hits if hit.row.camera == camera(7)]


def test_a_server_is_told_to_delete_the_rows_by_their_numbers(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no Milvus Lite, and takes the bytes from its disk by itself."""
    from pymilvus import MilvusClient

    monkeypatch.setattr(MilvusClient, "get_server_version", lambda _: "v2.6.2")
    compacted: list[str] = []
    monkeypatch.setattr(MilvusClient, "compact", lambda _, name: compacted.append(name))
    with served(top / "milvus.db") as address:
        write_places(top / "Index", address)
        assert remove(top / "Index", GONE) == 3
        query_D = near(top / "Index", 1)[0]
        assert recall(asked(top / "Index", query_D, Filters()), found_in(top, Filters(), query_D, address)) == 1
        (place,) = copies.read(top / "Index")
        with collection.connected(place) as there:
            assert there._numbers(0, ROWS) == {row.number for row in rows_of(top / "Index")}
    assert compacted == [place.collection]


@pytest.mark.parametrize("what", ["is gone", "does not answer", "is held"])
def test_nothing_is_removed_where_a_copy_cannot_be_reached(
    what: str, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "Index" / "made").mkdir()
    (top / "Index" / "made" / "graph").write_bytes(b"of all rows")
    named = str(top / "milvus.db")
    holder: Any = None
    if what == "is gone":
        (top / "milvus.db").rename(top / "elsewhere.db")
    elif what == "is held":
        from milvus_lite import MilvusLite

        holder = MilvusLite(named)
    else:
        monkeypatch.setattr(collection, "PATIENCE_S", 0.3)
        named = "http://127.0.0.1:1"
        write_places(top / "Index", named)
    before = contents(top / "Index")
    with refusal(DataError, named):
        remove(top / "Index", GONE)
    if holder:
        holder.close()
    assert contents(top / "Index") == before
    assert not (top / "milvus.db").exists() or what != "is gone"


def test_a_removal_that_fails_in_a_copy_leaves_the_index_and_can_be_repeated(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        from pymilvus import MilvusException

        raise MilvusException(message="out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(collection.Collection, "remove", fail)
        with refusal(DataError, top / "milvus.db", "out of memory"):
            remove(top / "Index", GONE)
    assert len(Index.open(top / "Index")) == ROWS
    with monkeypatch.context() as patch:
        patch.setattr(collection.Collection, "fill", fail)
        with refusal(DataError, top / "Index", top / "milvus.db", "copy"):
            remove(top / "Index", GONE)
    assert len(Index.open(top / "Index")) == ROWS - 3
    assert copies.copy(top / "Index", str(top / "milvus.db")) == ROWS - 3


def test_a_copy_that_was_stopped_is_known_and_made_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(tmp_path / "Index", drawn(ROWS, 0))
    uri = str(tmp_path / "milvus.db")

    class Stopped(BaseException):
        pass

    def stop(*_: object) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(collection.Collection, "_index", stop)
        with pytest.raises(Stopped):
            copies.copy(tmp_path / "Index", uri)
    assert [place.uri for place in copies.read(tmp_path / "Index")] == [uri]
    with refusal(DataError, uri, 0, ROWS):
        found_in(tmp_path, Filters(), near(tmp_path / "Index", 1)[0])
    assert copies.copy(tmp_path / "Index", uri) == ROWS
    query_D = near(tmp_path / "Index", 1)[0]
    assert recall(asked(tmp_path / "Index", query_D, Filters()), found_in(tmp_path, Filters(), query_D)) == 1


MISTAKES: dict[str, tuple[list[str], list[str]]] = {
    "no uri": (["search", "Index", "q.npz", "--modality=visible", "--from=milvus"], ["--from", "--uri"]),
    "uri alone": (["search", "Index", "q.npz", "--modality=visible", "--uri=milvus.db"], ["--uri", "--from"]),
    "not copied": (
        ["search", "Index", "q.npz", "--modality=visible", "--from=milvus", "--uri=other.db"],
        ["--uri", "other.db", "copy"],
    ),
    "no such kind": (["copy", "Index", "--to=milvus", "--uri=milvus.txt"], ["--uri", "milvus.txt", ".db"]),
    "no port": (["copy", "Index", "--to=milvus", "--uri=http://localhost:99999"], ["--uri", "http://localhost:99999", "http://localhost:19530"]),
    "no host": (["copy", "Index", "--to=milvus", "--uri=http://"], ["--uri", "http://", ".db"]),
    "no server": (["copy", "Index", "--to=milvus", "--uri=ftp://localhost"], ["--uri", "ftp://localhost", "http://localhost:19530"]),
    "a password": (
        ["copy", "Index", "--to=milvus", "--uri=http://root:secret@localhost:19530"], ["--uri", "MILVUS_TOKEN"]
    ),
    "no index": (["copy", "None", "--to=milvus", "--uri=milvus.db"], ["None"]),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told(name: str, top: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]) -> None:
    monkeypatch.chdir(top)
    np.savez("q.npz", features=near(top / "Index", 1))
    arguments, told = MISTAKES[name]
    before = contents(top)
    said = refused(main, arguments)
    assert_tells(said, *told)
    assert "secret" not in said
    assert contents(top) == before


def test_a_damaged_list_of_copies_stops_a_removal(top: Path) -> None:
    (top / "Index" / copies.FILE).write_text("[{")
    before = contents(top / "Index")
    with refusal(DataError, top / "Index" / copies.FILE):
        remove(top / "Index", GONE)
    assert contents(top / "Index") == before


@pytest.mark.parametrize(("module", "package"), [("pymilvus", "pymilvus"), ("milvus_lite", "milvus-lite")])
def test_without_the_libraries_it_says_how_to_install_them(
    module: str, package: str, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "find_spec", lambda name: None if name == module else name)
    for run in (
        lambda: copies.copy(top / "Index", str(top / "milvus.db")),
        lambda: found_in(top, Filters(), near(top / "Index", 1)[0]),
        lambda: remove(top / "Index", GONE),
    ):
        with refusal(ConfigError, package, "'.[milvus]'"):
            run()


def test_the_commands_copy_and_search(
    top: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(top)
    np.savez("q.npz", features=near(top / "Index", 1))
    assert main(["copy", "Index", "--to=milvus", "--uri=milvus.db"]) == 0
    assert "0 rows copied" in capsys.readouterr().out
    answers = []
    for options in ([], ["--from=milvus", "--uri=milvus.db"]):
        assert main(["search", "Index", "q.npz", "--modality=visible", "--hits=5", "--json", *options]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert [one.pop("approximate") for one in answers] == [False, True]
    assert answers[0] == answers[1]
