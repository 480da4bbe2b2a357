"""Measures how many strangers of a gallery are as similar to a query as an image that was found.

Strangers are counted as in dns/evaluation/open_set.py: images of another identity than the query's. Each test image of
the query's modality searches the whole gallery. At a similarity, the mean over these queries of the people with an
image at least as similar, and of such images, is what the page expects of another query. A query whose person is not in
the gallery meets one stranger more: there, the number is too low by one part in as many as the gallery has people.

Queries of one identity resemble each other, so pairs of identities decide, not pairs of images: a curve ends at the
similarity that DECIDING pairs of identities reach. Beyond it too few tell.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from dns.evaluation.open_set import DECIDING

POINTS = 300  # of a curve, at most: between them, a line
QUERIES = 256  # multiplied at once: 10,000 gallery images take 10 MB


class Curve(NamedTuple):
    """What is expected at similarities that fall: people with an image at least as similar, and such images. Without
    points where fewer than DECIDING pairs of identities are compared."""

    similarity: np.ndarray
    people: np.ndarray
    images: np.ndarray


class Strangers(NamedTuple):
    """What each query met at similarities that fall: strangers with an image at least as similar, and such images."""

    similarity: np.ndarray
    people_QP: np.ndarray
    images_QP: np.ndarray


def expected_strangers(
    query_QD: np.ndarray, person_Q: np.ndarray, gallery_GD: np.ndarray, person_G: np.ndarray
) -> Curve:
    """Return the curve of a direction, from query to gallery. Embeddings: float32, rows of length 1."""
    counted = count_strangers(query_QD, person_Q, gallery_GD, person_G)
    return Curve(counted.similarity, counted.people_QP.mean(axis=0), counted.images_QP.mean(axis=0))


def count_strangers(
    query_QD: np.ndarray,
    person_Q: np.ndarray,
    gallery_GD: np.ndarray,
    person_G: np.ndarray,
    *,
    deciding: int = DECIDING,
) -> Strangers:
    """Count the strangers that each query meets, at the similarities of the curve of expected_strangers. deciding: so
    many pairs of identities end the curve."""
    blocks = partial(_blocks, query_QD, person_Q, gallery_GD, person_G)
    best_QI = np.concatenate([_best(similarity_BG, person_G) for similarity_BG in blocks()])
    compared = np.sort(best_QI[best_QI > -np.inf])[::-1]
    pairs = _of_identities(best_QI, person_Q)
    if len(pairs) < deciding:
        return Strangers(np.zeros(0), *np.zeros((2, len(person_Q), 0)))
    first = int((compared >= pairs[deciding - 1]).sum())
    ranks = np.unique(np.geomspace(first, len(compared), POINTS).round().astype(int))
    at = np.unique(compared[ranks - 1])  # rising
    people_QP = _at_least(best_QI, at)
    images_QP = np.concatenate([_at_least(similarity_BG, at) for similarity_BG in blocks()])
    return Strangers(at[::-1], people_QP[:, ::-1], images_QP[:, ::-1])


def _blocks(
    query_QD: np.ndarray, person_Q: np.ndarray, gallery_GD: np.ndarray, person_G: np.ndarray
) -> Iterator[np.ndarray]:
    """Yield the similarities of some queries after others, (B, G); those of one identity are -inf."""
    for begin in range(0, len(person_Q), QUERIES):
        similarity = query_QD[begin : begin + QUERIES] @ gallery_GD.T
        similarity[person_Q[begin : begin + QUERIES, None] == person_G] = -np.inf
        yield similarity


def _best(similarity_BG: np.ndarray, person_G: np.ndarray) -> np.ndarray:
    """Return the similarity of each identity's most similar image: (B, G) -> (B, identities)."""
    order = np.argsort(person_G, kind="stable")
    begin = np.unique(person_G[order], return_index=True)[1]
    return np.maximum.reduceat(similarity_BG[:, order], begin, axis=1)


def _of_identities(best_QI: np.ndarray, person_Q: np.ndarray) -> np.ndarray:
    """Return the similarity of the most similar images of each pair of different identities, falling."""
    best = _best(best_QI.T, person_Q)
    return np.sort(best[best > -np.inf])[::-1]


def _at_least(values_QN: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Count the values of each query that are at least as large as each of `at`, which rises: int32 (Q, P)."""
    count = values_QN.shape[1]
    found = [count - np.searchsorted(row, at, side="left") for row in np.sort(values_QN, axis=1)]
    return np.array(found, dtype=np.int32).reshape(len(values_QN), len(at))
