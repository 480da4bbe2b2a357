"""Adding rows to an index: what is kept of them, and what is refused."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dns.search.removal import compact, remove
from dns.search.rows import Filters
from dns.search.sightings import Box
from dns.search.store import Index, appending
from dns.search.verification import verify
from ffcv_convert.common.errors import ConfigError, DataError
from tests.support.refusals import refusal
from tests.support.search_rows import NETWORK, WIDTH, append, files_in, made, vectors_of


def test_vectors_are_rounded_to_float16_and_a_box_may_hold_nan(tmp_path: Path) -> None:
    [entry] = made(np.random.default_rng(0), 1)
    vector_BD = np.full((1, WIDTH), np.sqrt(1 / WIDTH), np.float32)
    with appending(tmp_path, NETWORK, WIDTH) as writer:
        writer.add(vector_BD, [entry.row._replace(box=Box(1.5, float("nan"), 2.0, 3.0))], [b""])
    [segment] = Index.open(tmp_path).segments
    assert segment.vectors_ND.dtype == "<f2"
    assert segment.vectors_ND.tolist() == vector_BD.astype(np.float16).tolist()
    assert segment.vectors(0, 1).tolist() == vector_BD.astype(np.float16).astype(np.float32).tolist()
    [row] = segment.rows([0])
    assert row.box is not None
    assert np.isnan(row.box.y)
    assert (row.box.x, row.box.width, row.box.height) == (1.5, 2.0, 3.0)


def test_nothing_is_written_without_rows_or_after_an_exception(tmp_path: Path) -> None:
    folder, entries = tmp_path / "a" / "index", made(np.random.default_rng(0), 9)
    append(folder, [])
    assert files_in(folder) == set()
    with refusal(DataError, folder, "manifest.json"):
        Index.open(folder)
    append(folder, entries)
    before = {name: (folder / name).read_bytes() for name in files_in(folder)}
    append(folder, [])
    with refusal(DataError, entries[0].row.image), appending(folder, NETWORK, WIDTH) as writer:
        writer.add(vectors_of(entries), [entry.row for entry in entries], [b""] * 9)
        writer.add(2 * vectors_of(entries), [entry.row for entry in entries], [b""] * 9)
    assert {name: (folder / name).read_bytes() for name in files_in(folder)} == before
    assert sorted(os.listdir(folder / "segments")) == ["000001"]


def test_another_network_or_width_is_refused_and_a_moved_one_is_not(tmp_path: Path) -> None:
    append(tmp_path, made(np.random.default_rng(0), 3))
    with appending(tmp_path, {**NETWORK, "file": "moved.pt"}, WIDTH):
        pass
    others = [({**NETWORK, "sha256": "77" * 32}, WIDTH), ({**NETWORK, "feature": "z"}, WIDTH), (NETWORK, WIDTH + 1)]
    for network, width in others:
        there = f"{NETWORK['sha256']} {NETWORK['feature']} {WIDTH}"
        here = f"{network['sha256']} {network['feature']} {width}"
        with refusal(DataError, tmp_path, there, here), appending(tmp_path, network, width):
            pass
    assert Index.open(tmp_path).network == NETWORK


def scaled(vectors_BD: np.ndarray, by: float) -> np.ndarray:
    vectors_BD[1] *= by
    return vectors_BD


@pytest.mark.parametrize("by", [0.0, 0.998, 1.002, 1e30, np.inf, np.nan])
def test_a_vector_that_is_not_of_length_1_is_refused(by: float, tmp_path: Path) -> None:
    entries = made(np.random.default_rng(0), 3)
    rows = [entry.row for entry in entries]
    exact_BD = vectors_of(entries)
    exact_BD /= np.linalg.norm(exact_BD, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        wrong_BD = scaled(exact_BD.copy(), by)
    with refusal(DataError, rows[1].image), appending(tmp_path, NETWORK, WIDTH) as writer:
        writer.add(wrong_BD, rows, [b""] * 3)
    with appending(tmp_path, NETWORK, WIDTH) as writer:
        writer.add(scaled(exact_BD, 1.0005), rows, [b""] * 3)
    assert verify(tmp_path)


def test_a_name_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    [entry] = made(np.random.default_rng(0), 1)
    named = entry._replace(row=entry.row._replace(image=os.fsdecode(b"caf\xe9.jpg")))
    with refusal(DataError, "caf", "UTF-8"):
        append(tmp_path, [named])


def test_arrays_of_other_lengths_are_a_mistake_of_the_caller(tmp_path: Path) -> None:
    entries = made(np.random.default_rng(0), 3)
    rows = [entry.row for entry in entries]
    wrong: list[Callable[[], tuple]] = [
        lambda: (vectors_of(entries), rows[:2], [b""] * 3),
        lambda: (vectors_of(entries), rows, [b""] * 2),
        lambda: (vectors_of(entries)[:, 1:], rows, [b""] * 3),
    ]
    for arguments in wrong:
        with pytest.raises(ValueError, match="vectors"), appending(tmp_path, NETWORK, WIDTH) as writer:
            writer.add(*arguments())


def test_a_folder_of_other_things_is_no_index(tmp_path: Path) -> None:
    (tmp_path / "segments" / "000001").mkdir(parents=True)
    (tmp_path / "segments" / "000001" / "vectors.f16").write_bytes(b"the manifest is lost")
    with refusal(ConfigError, tmp_path, "segments"):
        append(tmp_path, made(np.random.default_rng(0), 3))
    for change in (compact, verify, Index.open, lambda folder: remove(folder, Filters(cameras=["door"]))):
        with refusal(DataError, tmp_path, "manifest.json"):
            change(tmp_path)
    assert files_in(tmp_path) == {"segments/000001/vectors.f16"}
