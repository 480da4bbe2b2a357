"""Queries to look at, and the gallery images that are nearest to each."""

from typing import NamedTuple

import numpy as np
import torch

from dns.evaluation.protocols import TestSet
from dns.report.study import Study, average_precision

WORST, MEDIAN, RANDOM, NEAREST = 20, 20, 10, 10


class Neighbour(NamedTuple):
    """A gallery image. row: of the test set; rank: among the images that count, from 1, None for an excluded one."""

    row: int
    similarity: float
    right: bool
    rank: int | None


class RankedQuery(NamedTuple):
    """group: worst, median or random; row: of the test set; precision: AP in [0, 1]; first: rank of the first right
    image; matches: right images in the gallery that count."""

    group: str
    row: int
    person: int
    precision: float
    first: int
    matches: int
    neighbours: list[Neighbour]


def chosen_queries(precision_Q: np.ndarray, *, seed: int = 0) -> list[tuple[str, int]]:
    """Group and number of the queries with the lowest AP, of those in the middle, and of some drawn from the others.
    Queries without a match (NaN) are left out; none comes twice."""
    order = np.argsort(precision_Q, kind="stable")[: int((~np.isnan(precision_Q)).sum())].tolist()
    worst = order[:WORST]
    start = max(len(worst), len(order) // 2 - MEDIAN // 2)
    median = order[start : start + MEDIAN]
    rest = sorted(set(order) - {*worst, *median})
    drawn = np.random.default_rng(seed).permutation(rest)[:RANDOM].tolist() if rest else []
    return [(group, int(q)) for group, some in (("worst", worst), ("median", median), ("random", drawn)) for q in some]


def ranked_queries(study: Study, test: TestSet) -> list[RankedQuery]:
    """The chosen queries of a study, each with its NEAREST images of the gallery, excluded ones among them."""
    precision = average_precision(study.per_query)
    return [_ranked(study, test, group, query, float(precision[query])) for group, query in chosen_queries(precision)]


def _ranked(study: Study, test: TestSet, group: str, query: int, precision: float) -> RankedQuery:
    distance_G = study.compared.distance_QG[query]
    excluded_G = study.compared.excluded_QG[query] if study.compared.excluded_QG is not None else None
    order = distance_G.argsort(stable=True)
    counts = torch.ones_like(order, dtype=torch.bool) if excluded_G is None else ~excluded_G[order]
    ranks = counts.cumsum(0)
    person, rows = int(study.compared.query.person[query]), study.trial.gallery_rows
    right = study.compared.gallery.person[order] == person
    neighbours = [
        Neighbour(
            row=int(rows[int(order[place])]),
            similarity=-float(distance_G[order[place]]),
            right=bool(right[place]),
            rank=int(ranks[place]) if counts[place] else None,
        )
        for place in range(min(NEAREST, len(order)))
    ]
    return RankedQuery(
        group, int(study.query_rows[query]), person, precision,
        first=int(ranks[right & counts][0]), matches=int((right & counts).sum()), neighbours=neighbours,
    )  # fmt: skip


def query_table(study: Study, test: TestSet) -> tuple[list[str], list[list[str | float]]]:
    """Header and a line for each query of the first trial: what compare.py reads. first: rank of the first right image
    or identity, as the protocol's CMC counts; 0 where the gallery holds no right image."""
    header = ["protocol", "query", "identity", "camera", "first", "AP", "nearest", "nearest identity", "similarity"]
    _, _, distance_QG, excluded_QG = study.compared
    masked = distance_QG if excluded_QG is None else distance_QG.masked_fill(excluded_QG, torch.inf)
    nearest = masked.sort(dim=1, stable=True).indices[:, 0]  # argmin takes any of equal ones
    similarity = (-masked.gather(1, nearest[:, None]))[:, 0].tolist()
    found = study.per_query
    first = torch.where(found.relevant > 0, found.rank0 + 1, 0).tolist()
    precision = ["" if np.isnan(value) else float(value) for value in average_precision(found)]
    lines: list[list[str | float]] = []
    for query, (row, column) in enumerate(zip(study.query_rows, nearest.tolist(), strict=True)):
        near = study.trial.gallery_rows[column]
        who = [test.path_N[row], int(test.person_N[row]), int(test.camera_N[row])]
        other = [test.path_N[near], int(test.person_N[near]), similarity[query]]
        lines.append([study.protocol, *who, first[query], precision[query], *other])
    return header, lines
