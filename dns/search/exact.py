"""Finds the rows that are most similar to a query, by the product with every row that was chosen.

The products are taken in float32, chunk by chunk. Rounding may move each by MARGIN at most, so every row within twice
that of the last hit is kept, and these are compared again in float64. What comes out is therefore what float64 products
of all rows would give, in their order; of equal similarities, the earlier row comes first.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ffcv_convert.common.errors import DataError

CHUNK_BYTES = 1 << 20  # of float16: rows that are multiplied at once, small enough for the processor's cache
LENGTH = 0.01  # how far from 1 the length of a stored row may be: float16 rounds it by 0.0005


class Part(NamedTuple):
    """A segment to search. vectors_ND: float16, perhaps mapped; chosen: positions of the rows that count, None for all;
    name: for messages."""

    vectors_ND: np.ndarray
    chosen: np.ndarray | None
    name: str

    def __len__(self) -> int:
        return len(self.vectors_ND) if self.chosen is None else len(self.chosen)


class Found(NamedTuple):
    """The most similar rows of a query, by falling similarity: which part, which position in it; similarity float64."""

    part: np.ndarray
    position: np.ndarray
    similarity: np.ndarray


def most_similar(query_QD: np.ndarray, parts: Sequence[Part], count: int, device: torch.device) -> list[Found]:
    """Return up to `count` rows for each query. query_QD: float32, rows of length 1. Raises DataError for stored rows
    that are damaged."""
    query = torch.from_numpy(np.ascontiguousarray(query_QD, dtype=np.float32)).to(device)
    count = min(count, sum(map(len, parts)))
    if not count:
        return [Found(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)) for _ in query_QD]
    margin = _margin(query.shape[1])
    kept = _Kept(len(query), count, margin, device)
    for number, part in enumerate(parts):
        stored = _tensor(part.vectors_ND)
        size = max(1, CHUNK_BYTES // (2 * query.shape[1]))
        for begin in range(0, len(part), size):
            rows, positions = _chunk(stored, part.chosen, begin, size)
            rows = rows.to(device).float()
            _check_lengths(rows, positions, part.name)
            kept.add(query @ rows.T, number, positions)
    return [_ordered(query_D, parts, *kept.of(number), count) for number, query_D in enumerate(query_QD)]


def _margin(width: int) -> float:
    """Return how far a float32 product of two rows of length 1, of any order of summation, may be from the exact one
    (Higham, Accuracy and Stability of Numerical Algorithms, 3.1), with LENGTH to spare."""
    unit = width * 2.0**-24
    return unit / (1 - unit) * (1 + 2 * LENGTH)


class _Kept:
    """Rows that may be among the most similar: for each query, all whose similarity reaches its floor."""

    def __init__(self, queries: int, count: int, margin: float, device: torch.device):
        self._best = torch.full((queries, count), -torch.inf, device=device)
        self._count, self._margin = count, margin
        self._rows: list[tuple[Tensor, Tensor, int, Tensor]] = []

    def add(self, similarity_QC: Tensor, part: int, positions: Tensor) -> None:
        floor = self._floor()
        if not (similarity_QC.amax(dim=1) >= floor).any():
            return
        some = similarity_QC.topk(min(self._count, similarity_QC.shape[1]), dim=1).values
        self._best = torch.cat([self._best, some], dim=1).topk(self._count, dim=1).values
        query, column = (similarity_QC >= self._floor()[:, None]).nonzero(as_tuple=True)
        self._rows.append((query.cpu(), similarity_QC[query, column].cpu(), part, positions[column.cpu()]))

    def _floor(self) -> Tensor:
        return self._best[:, -1] - 2 * self._margin

    def of(self, query: int) -> tuple[np.ndarray, np.ndarray]:
        """Return part and position of a query's rows."""
        floor = self._floor()[query].item()
        parts, positions = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        for queries, similarity, part, position in self._rows:
            found = position[(queries == query) & (similarity >= floor)].numpy()
            positions.append(found)
            parts.append(np.full(len(found), part, dtype=np.int64))
        return np.concatenate(parts), np.concatenate(positions)


def _ordered(
    query_D: np.ndarray, parts: Sequence[Part], part_K: np.ndarray, position_K: np.ndarray, count: int
) -> Found:
    """Compare the kept rows in float64, and return the `count` most similar."""
    similarity_K, query = np.zeros(len(part_K)), query_D.astype(np.float64)
    for number, part in enumerate(parts):
        own = np.flatnonzero(part_K == number)
        for begin in range(0, len(own), 1024):  # all rows, where all are equal: a block at a time
            some = own[begin : begin + 1024]
            # Not by BLAS, which sums the last rows of a block in another order: equal rows would differ.
            similarity_K[some] = (part.vectors_ND[position_K[some]].astype(np.float64) * query).sum(axis=1)
    order = np.lexsort((position_K, part_K, -similarity_K))[:count]
    return Found(part_K[order], position_K[order], similarity_K[order])


def _tensor(vectors_ND: np.ndarray) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a mapped file cannot be written, and nobody does
        return torch.from_numpy(vectors_ND)


def _chunk(stored: Tensor, chosen: np.ndarray | None, begin: int, size: int) -> tuple[Tensor, Tensor]:
    """Return some chosen rows and their positions."""
    if chosen is None:
        rows = stored[begin : begin + size]
        return rows, torch.arange(begin, begin + len(rows))
    positions = torch.from_numpy(chosen[begin : begin + size])
    return stored[positions], positions


def _check_lengths(rows_CD: Tensor, positions: Tensor, name: str) -> None:
    length = torch.linalg.vector_norm(rows_CD, dim=1)
    wrong = ~((length - 1).abs() <= LENGTH)  # NaN too
    if wrong.any():
        first = int(positions[int(wrong.nonzero()[0])])
        raise DataError(
            f"{name}: damaged (row {first + 1:,} is no vector of length 1). Restore the file, or build the index again"
        )
