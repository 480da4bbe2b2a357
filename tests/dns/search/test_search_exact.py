"""The most similar rows: those of a naive product in float64, whatever is chosen and however rows are split."""

import numpy as np
import pytest
import torch

from dns.search import exact
from dns.search.exact import Part, most_similar
from ffcv_convert.common.errors import DataError

CPU = torch.device("cpu")
Naive = list[list[tuple[int, int]]]


def unit(rng: np.random.Generator, rows: int, width: int) -> np.ndarray:
    """Rows of length 1, in clusters, as embeddings of people are: neighbours differ little."""
    centre = rng.normal(size=(max(1, rows // 7), width))
    vectors = centre[rng.integers(len(centre), size=rows)] + 0.2 * rng.normal(size=(rows, width))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def parts_of(rng: np.random.Generator, sizes: list[int], width: int, share: float | None = None) -> list[Part]:
    parts = []
    for number, size in enumerate(sizes):
        chosen = None if share is None else np.flatnonzero(rng.random(size) < share)
        parts.append(Part(unit(rng, size, width).astype(np.float16), chosen, f"part {number}"))
    return parts


def naive(query_QD: np.ndarray, parts: list[Part], count: int) -> Naive:
    """Part and position of the most similar rows, by a loop over all of them in float64."""
    found = []
    for query_D in query_QD:
        scored = []
        for number, part in enumerate(parts):
            for position in range(len(part.vectors_ND)) if part.chosen is None else part.chosen.tolist():
                similarity = float(part.vectors_ND[position].astype(np.float64) @ query_D.astype(np.float64))
                scored.append((-similarity, number, position))
        found.append([(number, position) for _, number, position in sorted(scored)[:count]])
    return found


def places(found: list[exact.Found]) -> Naive:
    return [list(zip(one.part.tolist(), one.position.tolist(), strict=True)) for one in found]


@pytest.mark.parametrize("share", [None, 0.3, 0.01])
@pytest.mark.parametrize("count", [1, 10, 500])
def test_same_rows_as_a_naive_product(monkeypatch: pytest.MonkeyPatch, share: float | None, count: int) -> None:
    monkeypatch.setattr(exact, "CHUNK_BYTES", 2 * 32 * 17)  # 17 rows
    rng = np.random.default_rng(count)
    parts, query_QD = parts_of(rng, [40, 1, 130, 17], 32, share), unit(rng, 5, 32).astype(np.float32)
    assert places(most_similar(query_QD, parts, count, CPU)) == naive(query_QD, parts, count)


def test_similarities_are_those_of_float64() -> None:
    rng = np.random.default_rng(0)
    parts, query_QD = parts_of(rng, [50], 16), unit(rng, 3, 16).astype(np.float32)
    for query_D, found in zip(query_QD, most_similar(query_QD, parts, 7, CPU), strict=True):
        expected = np.sort(parts[0].vectors_ND.astype(np.float64) @ query_D.astype(np.float64))[::-1][:7]
        np.testing.assert_allclose(found.similarity, expected, rtol=0, atol=1e-15)


def test_rows_that_float32_cannot_tell_apart_stand_in_the_order_of_float64() -> None:
    """Rows whose similarities differ by less than float32 rounds, as the float64 products show."""
    rng = np.random.default_rng(1)
    base = unit(rng, 1, 2048)[0]
    rows = np.tile(base.astype(np.float16), (300, 1))
    columns = rng.integers(2048, size=300)
    rows[np.arange(300), columns] = np.nextafter(rows[np.arange(300), columns], np.float16(1))  # one step of float16
    query_QD, parts = base[None].astype(np.float32), [Part(rows, None, "near")]
    in_float32 = np.argsort(-(rows.astype(np.float32) @ query_QD[0]), kind="stable")[:50].tolist()
    found = places(most_similar(query_QD, parts, 50, CPU))
    assert found == naive(query_QD, parts, 50)
    assert [position for _, position in found[0]] != in_float32


def test_rows_at_the_edge_of_the_hits_are_not_lost_to_rounding() -> None:
    """Thousands of rows as similar as the last hit, but for steps of float16 that cancel: float32 cannot order them."""
    rng = np.random.default_rng(3)
    query_D, lists = unit(rng, 1, 2048)[0].astype(np.float32), []
    rows = np.tile(query_D.astype(np.float16), (2000, 1))
    for row in rows:
        up, down = rng.integers(2048, size=(2, 40))
        row[up] = np.nextafter(row[up], np.float16(1))
        row[down] = np.nextafter(row[down], np.float16(-1))
    parts = [Part(rows, None, "near")]
    for count in (20, 100, 400):
        found, exactly = places(most_similar(query_D[None], parts, count, CPU)), naive(query_D[None], parts, count)
        assert found == exactly
        lists.append({position for _, position in exactly[0]})
    in_float32 = np.argsort(-(rows.astype(np.float32) @ query_D), kind="stable")
    assert any(set(in_float32[: len(one)].tolist()) != one for one in lists)  # so the margin is needed


@pytest.mark.parametrize("width", [8, 2048])
def test_equal_rows_stay_in_order_at_any_place_of_a_block(width: int) -> None:
    rng = np.random.default_rng(4)
    row, query_QD = unit(rng, 1, width).astype(np.float16), unit(rng, 1, width).astype(np.float32)
    for count in range(1, 70, 3):
        parts = [Part(np.tile(row, (count, 1)), None, "equal")]
        assert places(most_similar(query_QD, parts, count, CPU)) == [[(0, one) for one in range(count)]]


def test_of_equal_rows_the_earlier_comes_first() -> None:
    rng = np.random.default_rng(2)
    rows = np.tile(unit(rng, 1, 8).astype(np.float16), (30, 1))
    parts = [Part(rows, None, "a"), Part(rows, np.array([3, 9]), "b")]
    query_QD = rows[:1].astype(np.float32)
    assert places(most_similar(query_QD, parts, 31, CPU)) == [[(0, row) for row in range(30)] + [(1, 3)]]


def test_fewer_rows_than_hits_and_none_at_all() -> None:
    rng = np.random.default_rng(3)
    query_QD = unit(rng, 2, 8).astype(np.float32)
    assert [len(one.position) for one in most_similar(query_QD, parts_of(rng, [3], 8), 10, CPU)] == [3, 3]
    none = [Part(unit(rng, 4, 8).astype(np.float16), np.zeros(0, dtype=np.int64), "none")]
    assert [len(one.position) for one in most_similar(query_QD, none, 10, CPU)] == [0, 0]
    assert [len(one.position) for one in most_similar(query_QD, [], 10, CPU)] == [0, 0]


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_row_that_is_damaged_is_named(value: float) -> None:
    rng = np.random.default_rng(4)
    (part,) = parts_of(rng, [20], 8)
    part.vectors_ND[13] = value
    with pytest.raises(DataError, match=r"part 0: damaged \(row 14 is no vector of length 1\)"):
        most_similar(unit(rng, 1, 8).astype(np.float32), [part], 1, CPU)
