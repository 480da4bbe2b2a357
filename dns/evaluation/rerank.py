"""Re-ranks (Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017).

An image's k-reciprocal neighbours are those of its k nearest that have it among theirs. Each image becomes a sparse
vector of weights over its (expanded) reciprocal neighbours; the Jaccard distance of two vectors is blended with the
original distance. Off in every published table of DNS: it looks at all queries at once.

Only the original distances exist for all N = Q + G images at once, (N, N) in float32, and the result, (Q, G): see
needed_bytes. Everything else is sparse, or computed for a block of rows.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

K1, K2, WEIGHT = 20, 6, 0.3  # the paper's
BLOCK_BYTES = 256_000_000  # of what is computed for a block of rows
COLUMN_BYTES = 24  # of these, for each row of a block and each image
MORE_BYTES = 64_000_000  # what libraries take at their first call


def needed_bytes(queries: int, gallery: int, width: int) -> int:
    """Return how much memory re-ranking takes at most: 4 bytes a pair of images, 4 a pair of query and gallery image, a
    block, copies of the embeddings of this width, and sparse vectors of some 300 numbers."""
    images = queries + gallery
    block = min(BLOCK_BYTES, COLUMN_BYTES * images**2)
    return 4 * images**2 + 4 * queries * gallery + block + images * (16 * width + 10_000) + MORE_BYTES


def rerank(query_QD: Tensor, gallery_GD: Tensor, *, k1: int = K1, k2: int = K2, weight: float = WEIGHT) -> Tensor:
    """Return re-ranked distances (Q, G), float32, on the embeddings' device; it L2-normalises the embeddings.

    k1: neighbours looked at; k2: neighbours that a vector is averaged over; weight: the original distance's. Galleries
    smaller than k1 are taken as they are.
    """
    queries = len(query_QD)
    all_ND = functional.normalize(torch.cat([query_QD, gallery_GD]).float(), dim=1)
    distance = torch.cdist(all_ND, all_ND, compute_mode="use_mm_for_euclid_dist").square_()
    distance /= distance.amax(dim=1, keepdim=True).clamp(min=1e-12)  # the published form scales each row
    order = torch.cat([distance[rows].argsort(dim=1, stable=True)[:, : k1 + 1].clone() for rows in _blocks(distance)])
    weights = _sparse(_encoded(distance, order, k1))
    if k2 > 1:
        weights = _sparse(_averaged(weights, order[:, :k2]))
    return _blended(weights, distance, queries, weight)


class _Sparse(NamedTuple):
    """A sparse matrix. Row n holds `value` at `column`, ascending, from first[n] to first[n + 1]."""

    first: Tensor
    column: Tensor
    value: Tensor

    def take(self, row_R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what these rows hold: number of the row in row_R, column and value of each entry."""
        count = self.first[row_R + 1] - self.first[row_R]
        number = torch.arange(len(row_R), device=row_R.device).repeat_interleave(count)
        before = count.cumsum(0) - count
        place = torch.arange(len(number), device=row_R.device) + (self.first[row_R] - before)[number]
        return number, self.column[place], self.value[place]

    def transposed(self, columns: int) -> "_Sparse":
        count = self.first.diff()
        row = torch.arange(len(count), device=count.device).repeat_interleave(count)
        order = self.column.argsort(stable=True)
        return _Sparse(_first(self.column.bincount(minlength=columns)), row[order], self.value[order])


def _first(count: Tensor) -> Tensor:
    return functional.pad(count.cumsum(0), (1, 0))


def _sparse(blocks: Iterator[Tensor]) -> _Sparse:
    """Keep what is not 0 of a matrix that comes in blocks of rows."""
    counts, columns, values = [], [], []
    for dense in blocks:
        row, column = dense.nonzero(as_tuple=True)
        counts.append(row.bincount(minlength=len(dense)))
        columns.append(column)
        values.append(dense[row, column])
    return _Sparse(_first(torch.cat(counts)), torch.cat(columns), torch.cat(values))


def _blocks(image_N: Tensor) -> list[slice]:
    """Return blocks of about equally many of the N images, whose (N, N) takes COLUMN_BYTES a number meanwhile."""
    images = len(image_N)
    count = -(-images * images * COLUMN_BYTES // BLOCK_BYTES)
    edges = [images * number // min(count, images) for number in range(min(count, images) + 1)]
    return [slice(*pair) for pair in pairwise(edges)]


def _encoded(distance: Tensor, order: Tensor, k1: int) -> Iterator[Tensor]:
    """Yield blocks of (N, N): row i holds the Gaussian weights, summing to 1, of i's expanded k-reciprocal neighbours.

    order: (N, K) each image's nearest ones. A neighbour whose own reciprocal neighbours among half as many are mostly
    i's too brings them along.
    """
    half = order[:, : round(k1 / 2) + 1]
    mutual, mutual_half = (torch.cat([_mutual(near, rows) for rows in _blocks(distance)]) for near in (order, half))
    enough = 2 / 3 * mutual_half.sum(dim=1)
    for rows in _blocks(distance):
        near = order[rows]
        expanded = torch.zeros_like(distance[rows], dtype=torch.bool).scatter_(1, near, mutual[rows])
        brought, counts = half[near], mutual_half[near]  # (R, K, H): each neighbour's own, and whether they count
        common = expanded.gather(1, brought.flatten(1)).view_as(counts) & counts
        joins = (common.sum(dim=2) > enough[near]) & mutual[rows]
        row, neighbour, place = (joins[:, :, None] & counts).nonzero(as_tuple=True)
        expanded[row, brought[row, neighbour, place]] = True
        weights = torch.where(expanded, torch.exp(-distance[rows]), 0)
        yield weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-12)


def _mutual(order: Tensor, rows: slice) -> Tensor:
    """Return a mask (R, K): which of the images that are nearest to these rows have them among their nearest."""
    own = torch.arange(len(order), device=order.device)[rows]
    return (order[order[rows]] == own[:, None, None]).any(dim=2)


def _averaged(weights: _Sparse, order: Tensor) -> Iterator[Tensor]:
    """Yield blocks of (N, N): row i is the mean of the rows of `weights` that order[i] names. They are averaged one by
    one: torch adds up in an order that depends on the shape, and results would differ in their last bit."""
    dense = weights.value.new_zeros(order.shape[1], len(order))
    for rows in _blocks(order):
        block = weights.value.new_empty(rows.stop - rows.start, len(order))
        for mean, near in zip(block, order[rows], strict=True):
            number, column, value = weights.take(near)
            dense.zero_()[number, column] = value
            torch.mean(dense, dim=0, out=mean)
        yield block


def _blended(weights: _Sparse, distance: Tensor, queries: int, weight: float) -> Tensor:
    """Return the blend (Q, G) of the original distance and the Jaccard distance of the vectors, which sum to 1: the
    weight that two of them share is the sum of minima."""
    images = len(distance)
    first = weights.first[: queries + 1].tolist()
    gallery = _Sparse(weights.first[queries:] - first[-1], weights.column[first[-1] :], weights.value[first[-1] :])
    by_column = gallery.transposed(images)
    result = distance.new_empty(queries, images - queries)
    for query in range(queries):
        own = slice(first[query], first[query + 1])
        number, image, value = by_column.take(weights.column[own])
        others = value.new_zeros(images - queries, own.stop - own.start)
        others[image, number] = value
        shared = torch.minimum(weights.value[own], others).sum(dim=1)
        jaccard = 1 - shared / (2 - shared)
        result[query] = (1 - weight) * jaccard + weight * distance[query, queries:]
    return result
