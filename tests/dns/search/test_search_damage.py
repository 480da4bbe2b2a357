"""Damaged files of an index: refused when it is opened or read, or found by verify, never used in silence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dns.search import manifest as manifests
from dns.search.removal import compact, remove
from dns.search.rows import Filters
from dns.search.store import Index, appending
from dns.search.verification import verify
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import DataError
from tests.support.refusals import refusal
from tests.support.search_rows import NETWORK, WIDTH, append, content, files_in, made, vectors_of

FILES = manifests.FILES
FILTERS = [Filters(cameras=["door"]), Filters(modality=Modality.SKETCH), Filters(since_ms=2, until_ms=9)]


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of two segments. Read only."""
    folder = tmp_path_factory.mktemp("intact")
    for seed in (0, 1):
        append(folder, made(np.random.default_rng(seed), 20))
    return folder


@pytest.fixture
def folder(intact: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return shutil.copytree(intact, tmp_path / "index")


def everything(folder: Path) -> object:
    """What a search may read of an index."""
    index = Index.open(folder)
    chosen = [[np.asarray(segment.chosen(one)).tolist() for one in FILTERS] for segment in index.segments]
    return index.network, content(index), chosen


def seen(folder: Path, right: object, path: Path) -> str:
    """Return "right", "refused" with the path of the file, or "silent"."""
    try:
        return "right" if everything(folder) == right else "silent"
    except DataError as error:
        return "refused" if str(path) in str(error) else str(error)


def flipped(path: Path, at: int, bit: int) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[at] ^= 1 << bit
    path.write_bytes(damaged)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("cut", [0, 1, -1])
def test_a_file_of_another_size_is_refused_when_it_is_opened(file: str, cut: int, folder: Path) -> None:
    path = folder / "segments" / "000002" / file
    whole = path.read_bytes()
    path.write_bytes({0: b"", 1: whole + b"\0", -1: whole[:-1]}[cut])
    with refusal(DataError, path, f"{len(whole):,}"):
        Index.open(folder)
    with refusal(DataError, path):
        compact(folder)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_refused_when_it_is_opened(file: str, folder: Path) -> None:
    path = folder / "segments" / "000002" / file
    path.unlink()
    for read in (Index.open, compact, lambda folder: remove(folder, FILTERS[0])):
        with refusal(DataError, path):
            read(folder)
    shutil.rmtree(path.parent)
    with refusal(DataError, path.parent / FILES[0]):
        Index.open(folder)


def test_any_bit_of_the_table_is_noticed_where_it_is_read(intact: Path, folder: Path) -> None:
    path, right = folder / "segments" / "000001" / "rows.parquet", everything(intact)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    outcomes = []
    for _ in range(150):
        flipped(path, int(rng.integers(len(whole))), int(rng.integers(8)))
        with refusal(DataError, path):
            verify(folder)
        outcomes.append(seen(folder, right, path))
        path.write_bytes(whole)
    assert set(outcomes) <= {"refused", "right"}  # right: such as a column's offset that is not used
    assert outcomes.count("refused") > 100
    assert everything(folder) == right


@pytest.mark.parametrize("file", ["vectors.f16", "thumbnails.bin"])
def test_any_bit_of_the_other_files_is_found_by_verify_and_never_copied(file: str, folder: Path) -> None:
    path, rng = folder / "segments" / "000001" / file, np.random.default_rng(0)
    whole = path.read_bytes()
    for _ in range(8):
        flipped(path, int(rng.integers(len(whole))), int(rng.integers(8)))
        Index.open(folder)
        for change in (verify, compact, lambda folder: remove(folder, FILTERS[0])):
            with refusal(DataError, path, "SHA-256"):
                change(folder)
        path.write_bytes(whole)
    assert len(verify(folder)) == 3


@pytest.mark.parametrize("number", [np.nan, np.inf, 1.5, 0.0])
def test_a_vector_that_is_not_of_length_1_is_refused_as_it_is_read(number: float, folder: Path) -> None:
    path = folder / "segments" / "000001" / "vectors.f16"
    vectors_ND = np.fromfile(path, "<f2").reshape(-1, WIDTH)
    vectors_ND[17] = number
    vectors_ND.tofile(path)
    [segment, _] = Index.open(folder).segments
    assert segment.vectors(0, 17).shape == (17, WIDTH)
    with refusal(DataError, path, 17):
        segment.vectors(3, 20)


def edited(folder: Path, change: Callable[[dict[str, Any]], object], *, signed: bool = False) -> None:
    """Change the manifest. signed: with the right checksum, as a program with a mistake would write it."""
    content = json.loads((folder / "manifest.json").read_text())
    change(content)
    if signed:
        content["sha256"] = manifests._digest(
            {key: value for key, value in content.items() if key not in ("format", "version", "sha256")}
        )
    (folder / "manifest.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about.update(width="8"),
        lambda about: about.update(width=None),
        lambda about: about.update(segments={}),
        lambda about: about["segments"].pop(),
        lambda about: about["segments"][0].update(rows=21),
        lambda about: about["segments"][0].update(name="../000001"),
        lambda about: about["segments"][0]["files"].pop("rows.parquet"),
        lambda about: about["network"].pop("sha256"),
        lambda about: about.update(next_row=3),
        lambda about: about.pop("sha256"),
        lambda about: about.clear(),
        lambda about: about.update(format="dns-ffcv-export"),
    ],
)
def test_a_manifest_that_was_changed_is_refused(change: Callable[[dict[str, Any]], object], folder: Path) -> None:
    edited(folder, change)
    before = files_in(folder)
    for use in (Index.open, compact, verify, lambda folder: append(folder, [])):
        with refusal(DataError, folder / "manifest.json"):
            use(folder)
    assert files_in(folder) == before


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format": 1e999}'])
def test_a_manifest_of_other_bytes_is_refused(text: bytes, folder: Path) -> None:
    (folder / "manifest.json").write_bytes(text)
    with refusal(DataError, folder / "manifest.json"):
        Index.open(folder)


def test_any_bit_of_the_manifest_is_noticed(intact: Path, folder: Path) -> None:
    path, rng = folder / "manifest.json", np.random.default_rng(0)
    whole, right = path.read_bytes(), everything(intact)
    for _ in range(60):
        flipped(path, int(rng.integers(len(whole))), int(rng.integers(8)))
        assert seen(folder, right, path) in ("refused", "right")  # right: another white space
        path.write_bytes(whole)


def test_an_index_of_a_newer_version_is_refused(folder: Path) -> None:
    edited(folder, lambda about: about.update(version=2), signed=True)
    with refusal(DataError, folder / "manifest.json", 2, 1):
        Index.open(folder)


def test_verify_finds_what_a_program_with_a_mistake_wrote(tmp_path: Path) -> None:
    entries = made(np.random.default_rng(0), 3)
    with appending(tmp_path / "jpeg", NETWORK, WIDTH) as writer:
        writer.add(vectors_of(entries), [entry.row for entry in entries], [b"", b"\x89PNG", b""])
    with refusal(DataError, tmp_path / "jpeg" / "segments" / "000001" / "thumbnails.bin", 1):
        verify(tmp_path / "jpeg")
    append(tmp_path / "twice", entries)
    edited(tmp_path / "twice", lambda about: about.update(next_row=2), signed=True)
    append(tmp_path / "twice", entries)
    with refusal(DataError, tmp_path / "twice", "number"):
        verify(tmp_path / "twice")
