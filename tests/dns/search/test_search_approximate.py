"""Candidates from FAISS: they hold what a comparison with every row finds, and are made again where they have to be."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dns.search import candidates
from dns.search.__main__ import main
from dns.search.approximate import files, ivf_pq
from dns.search.removal import compact, remove
from dns.search.rows import Filters
from dns.search.store import Index, only_writer
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import ConfigError, DataError, ReportError
from tests.support.clustered_rows import WIDTH, append, asked, camera, drawn, near, recall
from tests.support.refusals import refusal

FEWEST, CANDIDATES = 400, 120
MADE = Path("made", "faiss")
EVERYTHING = Filters()


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of a few hundred rows are large."""
    monkeypatch.setattr(files, "FEWEST", FEWEST)
    monkeypatch.setattr(candidates, "FEWEST", CANDIDATES)
    monkeypatch.setattr(candidates, "TIMES", 1)


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of 1,600, 100 and 900 rows, and what FAISS made of the first and the last. Read only."""
    folder = tmp_path_factory.mktemp("approximate") / "Index"
    for seed, rows in enumerate((1600, 100, 900)):
        append(folder, drawn(rows, seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "FEWEST", FEWEST)
        assert files.build(folder) == 2
    return folder


@pytest.fixture
def folder(intact: Path, tmp_path: Path) -> Path:
    return shutil.copytree(intact, tmp_path / "Index")


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the segments that an index is built of from now on."""
    names: list[str] = []
    build = ivf_pq.build
    monkeypatch.setattr(ivf_pq, "build", lambda segment: names.append(segment.name) or build(segment))
    return names


def mean_recall(folder: Path, filters: Filters, queries: int = 5) -> float:
    found = files.opened(Index.open(folder))
    recalls = [
        recall(asked(folder, query_D, filters), asked(folder, query_D, filters, found))
        for query_D in near(folder, queries)
    ]
    return float(np.mean(recalls))


@pytest.mark.parametrize(
    "filters",
    [
        EVERYTHING,
        Filters(cameras=[camera(3)]),  # 1 % of the rows
        Filters(cameras=[camera(number) for number in range(0, 100, 2)], modality=Modality.VISIBLE),
        Filters(since_ms=100_000, until_ms=2_500_000),
    ],
    ids=["everything", "1 %", "40 %", "a span"],
)
def test_hits_are_those_of_comparing_every_row_and_similarities_too(folder: Path, filters: Filters) -> None:
    assert mean_recall(folder, filters, 20) > (1 - 1e-9 if len(filters.cameras) == 1 else 0.97)


def test_where_no_row_is_chosen_nobody_is_found(folder: Path) -> None:
    none = Filters(cameras=["none"], modality=Modality.VISIBLE)
    (found,) = asked(folder, near(folder, 1)[0], none, files.opened(Index.open(folder)))
    assert (found.hits, found.searched, found.decision) == ([], 0, "nobody")


def test_few_rows_of_a_large_segment_are_compared_and_all_of_a_small_one(folder: Path) -> None:
    index = Index.open(folder)
    found, query_D = files.opened(index), near(folder, 1)[0]
    parts = found.narrow(query_D, EVERYTHING, index.parts(EVERYTHING), 10)
    assert [len(part) for part in parts] == [CANDIDATES, 100, CANDIDATES]
    assert parts[1].chosen is None
    some = Filters(cameras=[camera(number) for number in range(30)])
    before = index.parts(some)
    after = found.narrow(query_D, some, before, 10)
    assert [len(part) for part in before] == [480, 30, 270]
    assert [len(part) for part in after] == [CANDIDATES, 30, 270]
    assert set(after[0].chosen) < set(before[0].chosen)
    assert len(found.narrow(query_D, some, before, 300)[0]) == 300  # as many as there shall be hits


def test_more_lists_are_looked_into_until_there_are_enough_candidates(folder: Path) -> None:
    """The rows that were chosen are those that are the least similar to the query."""
    index = Index.open(folder)
    segment, query_D = index.segments[0], near(folder, 1)[0]
    far = np.sort(np.argsort(segment.vectors_ND.astype(np.float32) @ query_D)[:150])
    faiss_index = files._read(folder, segment)
    found = ivf_pq.nearest(faiss_index, query_D, far, 150)
    assert found.tolist() == far.tolist()
    assert len(ivf_pq.nearest(faiss_index, query_D, far, 999)) == 150
    assert set(ivf_pq.nearest(faiss_index, query_D, far, 20)) < set(far.tolist())
    assert len(ivf_pq.nearest(faiss_index, query_D, None, 2000)) == 1600


@pytest.mark.parametrize(
    ("rows", "width", "sizes"),
    [
        (1_000_000, 2048, (4000, 128_000)),  # 4 sqrt(N), 32 rows of each
        (10_000_000, 512, (12_648, 404_736)),
        (10_000_000, 2048, (4096, 131_072)),  # 1 GiB
        (20_000, 2048, (564, 18_048)),
        (500, 48, (15, 480)),
        (10, 16, (1, 10)),
    ],
)
def test_sizes_follow_from_the_rows(rows: int, width: int, sizes: tuple[int, int]) -> None:
    assert ivf_pq.sizes(rows, width) == sizes


def test_only_what_is_missing_is_built(folder: Path, built: list[str]) -> None:
    files.opened(Index.open(folder))
    assert built == []
    append(folder, drawn(500, 9))
    append(folder, drawn(300, 10))
    files.opened(Index.open(folder))
    assert built == ["000004"]
    assert mean_recall(folder, EVERYTHING) > 0.97
    compact(folder)
    files.opened(Index.open(folder))
    assert built == ["000004", "000006"]
    assert [path.name for path in (folder / MADE).iterdir()] == ["000006"]
    assert mean_recall(folder, EVERYTHING) > 0.97


def damages() -> dict[str, Any]:
    def flip(path: Path, at: float) -> None:
        content = bytearray(path.read_bytes())
        content[int(at * (len(content) - 1))] ^= 1
        path.write_bytes(content)

    def edit(path: Path, **changes: object) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return {
        **{f"a flipped bit at {at}": lambda made, at=at: flip(made / "rows.faiss", at) for at in (0, 0.3, 0.7, 1)},
        "cut short": lambda made: (made / "rows.faiss").write_bytes((made / "rows.faiss").read_bytes()[:-100]),
        "empty": lambda made: (made / "rows.faiss").write_bytes(b""),
        "no rows": lambda made: (made / "rows.faiss").unlink(),
        "no about": lambda made: (made / "about.json").unlink(),
        "about cut short": lambda made: (made / "about.json").write_bytes(b'{"version"'),
        "of another version": lambda made: edit(made / "about.json", version=0),
    }


@pytest.mark.parametrize("damage", damages())
def test_what_is_damaged_or_of_other_vectors_is_built_again(damage: str, folder: Path, built: list[str]) -> None:
    damages()[damage](folder / MADE / "000003")
    assert files.build(folder) == 2
    assert built == ["000003"]
    files.opened(Index.open(folder))
    assert built == ["000003"]
    assert mean_recall(folder, EVERYTHING) > 0.97


def test_what_was_made_of_another_index_is_built_again(folder: Path, tmp_path: Path, built: list[str]) -> None:
    append(tmp_path / "Other", drawn(1600, 7))
    files.build(tmp_path / "Other")
    shutil.rmtree(folder / MADE / "000001")
    shutil.copytree(tmp_path / "Other" / MADE / "000001", folder / MADE / "000001")
    files.opened(Index.open(folder))
    assert built == ["000001", "000001"]


def test_a_removed_row_is_found_nowhere(folder: Path) -> None:
    gone = Filters(cameras=[camera(7)])
    index = Index.open(folder)
    vectors = np.concatenate([part.vectors_ND[part.chosen] for part in index.parts(gone)])
    assert len(vectors) == 26
    assert remove(folder, gone) == 26
    assert not (folder / "made").exists()
    found = files.opened(Index.open(folder))
    assert len(list((folder / MADE).iterdir())) == 2
    left = b"".join(path.read_bytes() for path in (folder / "made").rglob("*") if path.is_file())
    for vector_D in vectors:
        assert vector_D.tobytes() not in left
        assert vector_D.astype(np.float32).tobytes() not in left
    for vector_D in vectors[:5]:
        for one in asked(folder, vector_D.astype(np.float32), EVERYTHING, found, hits=30):
            assert not [hit for hit in one.hits if hit.row.camera == camera(7)]


def test_nothing_is_built_while_another_process_writes(folder: Path) -> None:
    """It could be removing rows, which would be learned from all the same."""
    shutil.rmtree(folder / "made")
    with only_writer(folder), refusal(DataError, folder, "another process"):
        files.opened(Index.open(folder))
    assert not (folder / "made").exists()


def test_a_reader_of_before_a_removal_compares_every_row_of_what_is_gone(folder: Path, built: list[str]) -> None:
    index, query_D = Index.open(folder), near(folder, 1)[0]
    remove(folder, Filters(cameras=[camera(7)]))
    narrowed = files.opened(index).narrow(query_D, EVERYTHING, index.parts(EVERYTHING), 10)
    assert [len(part) for part in narrowed] == [1600, 100, 900]
    assert len(built) == 2


def test_a_disk_that_fails_is_told_and_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __getattr__(self, name: str) -> Any:
            return getattr(faiss, name)

        def write_index(self, index: object, path: str) -> None:
            Path(path).write_bytes(b"half")
            raise RuntimeError("Error in void faiss::write_index")

    faiss = ivf_pq.library()
    shutil.rmtree(folder / MADE)
    with monkeypatch.context() as patch:
        patch.setattr(ivf_pq, "library", Full)
        with refusal(ReportError, folder, "could not be written"):
            files.build(folder)
    assert list((folder / MADE).iterdir()) == []
    assert files.build(folder) == 2


def test_damaged_rows_are_not_learned_from(folder: Path) -> None:
    path = folder / "segments" / "000003" / "vectors.f16"
    path.write_bytes(b"\0" * path.stat().st_size)
    shutil.rmtree(folder / MADE)
    with refusal(DataError, path):
        files.build(folder)


def test_without_faiss_it_says_how_to_install_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ivf_pq, "find_spec", lambda name: None)
    for run in (files.build, lambda folder: files.opened(Index.open(folder))):
        with refusal(ConfigError, "--approximate", "faiss-cpu", "'.[faiss]'"):
            run(folder)


def test_the_commands_build_and_search(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    append(tmp_path / "Index", drawn(900, 1))
    np.savez(tmp_path / "query.npz", features=near(tmp_path / "Index", 1))
    assert main(["build", str(tmp_path / "Index")]) == 0
    assert "1 segments are ready" in capsys.readouterr().out
    ask = ["search", str(tmp_path / "Index"), str(tmp_path / "query.npz"), "--modality=visible", "--hits=5"]
    page = f"--page={tmp_path / 'page.html'}"
    answers = []
    for options in ([], ["--approximate", page]):
        assert main([*ask, "--json", *options]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert [one.pop("approximate") for one in answers] == [False, True]
    assert answers[0] == answers[1]
    assert "a row as similar can have been missed" in (tmp_path / "page.html").read_text()
    assert main([*ask, "--approximate"]) == 0
    assert "a row as similar can have been missed" in capsys.readouterr().out


def test_a_width_of_whole_bytes_and_another_are_padded_alike() -> None:
    assert [ivf_pq.padded_width(width) for width in (1, 16, 17, WIDTH, 2048)] == [16, 16, 32, 48, 2048]


def test_every_row_is_in_the_list_that_faiss_would_put_it_in(folder: Path) -> None:
    segment = Index.open(folder).segments[0]
    built = ivf_pq.build(segment)
    padded_ND = np.pad(segment.vectors(0, len(segment)), ((0, 0), (0, built.d - WIDTH)))
    _, wanted_N1 = built.quantizer.search(padded_ND, 1)
    for number in range(built.nlist):
        size = built.invlists.list_size(number)
        rows = ivf_pq.library().rev_swig_ptr(built.invlists.get_ids(number), size)
        assert rows.tolist() == np.flatnonzero(wanted_N1[:, 0] == number).tolist()
