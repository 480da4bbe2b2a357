"""Computes 95 % intervals of Rank-1, mAP and mINP by a bootstrap over identities, and compares two methods in pairs.

Queries of one identity succeed and fail together, so that a bootstrap over queries gives intervals that are too narrow.
Identities are drawn with replacement, all their queries with them. The galleries stay as they were drawn: an interval
says how much the figure depends on whose images were searched for, not on the draw of the gallery (the table's ±) and
not on the training.

A figure is a mean over trials of the mean over a trial's queries with a match. So query q of trial t, of T trials, has
the weight 1 / (T * such queries of t), and an identity the sums of weights and of weighted values over its queries. A
draw's figure is the quotient of both sums over the drawn identities; with each identity once, it is the table's.

Runs that differ in the seed alone have an interval of another kind (over_seeds): it says how much their mean depends on
the initial weights and the batches, and nothing of other people or galleries.

Two methods are compared on the same queries: the difference of each identity's sums is drawn (interval), and its sign
is flipped at random (permutation test, two-sided). A flip that gives exactly the difference found counts as a larger
one, so that the test of Rank-1, which counts whole queries, is a little cautious.
"""

import math
from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any, Literal, NamedTuple

import numpy as np

from dns.evaluation.ranking import Ranking

DRAWS, SEED = 1000, 0
LEVEL = 0.95
STATISTICS = ("rank1", "mAP", "mINP")
By = Literal["identities", "queries"]


class Sums(NamedTuple):
    """The sums over the queries of each of I identities (or of each of I queries over its trials). name_I: which one;
    weight_I; value_IS: weighted STATISTICS."""

    name_I: np.ndarray
    weight_I: np.ndarray
    value_IS: np.ndarray


def sums_of(rankings: Sequence[Ranking], by: By = "identities") -> Sums:
    """Add up what the queries of every trial found. `by` queries: an image is one query, however many trials it is
    in."""
    names, weights, values = [], [], []
    for ranking in rankings:
        found = [column.cpu().numpy() for column in ranking.per_query]
        relevant, _, rank0, precision, last = found
        valid = relevant > 0
        names.append((ranking.query_person_Q.cpu().numpy() if by == "identities" else ranking.query_path_Q)[valid])
        share = np.full(valid.sum(), 1 / (len(rankings) * valid.sum()))
        relevant, rank0, precision, last = relevant[valid], rank0[valid], precision[valid], last[valid]
        weights.append(share)
        values.append(np.stack([rank0 < 1, precision / relevant, relevant / last], axis=1) * share[:, None])
    return add_up(np.concatenate(names), np.concatenate(weights), np.concatenate(values))


def add_up(name_Q: np.ndarray, weight_Q: np.ndarray, value_QS: np.ndarray) -> Sums:
    """Add up weights and weighted values of the same name."""
    name_I, group_Q = np.unique(name_Q, return_inverse=True)
    value_IS = np.zeros((len(name_I), value_QS.shape[1]))
    np.add.at(value_IS, group_Q, value_QS)
    return Sums(name_I, np.bincount(group_Q, weight_Q, len(name_I)), value_IS)


def bounds(weight_I: np.ndarray, value_IS: np.ndarray, *, draws: int = DRAWS, seed: int = SEED) -> np.ndarray:
    """Return the lower and upper bound of each statistic, (2, S): percentiles over the draws."""
    count = len(weight_I)
    drawn = np.random.default_rng(seed).integers(0, count, size=(draws, count))
    times = np.stack([np.bincount(draw, minlength=count) for draw in drawn]).astype(np.float64)
    estimates = (times @ value_IS) / (times @ weight_I)[:, None]
    tail = 100 * (1 - LEVEL) / 2
    return np.percentile(estimates, [tail, 100 - tail], axis=0)


def interval(rankings: Sequence[Ranking]) -> dict[str, Any]:
    """Return what a row says of its uncertainty: bounds of each statistic by identities, and beside them by queries;
    the number of identities and of draws, and the seed."""
    found: dict[str, Any] = {"draws": DRAWS, "seed": SEED, "level": LEVEL}
    for by in ("identities", "queries"):
        sums = sums_of(rankings, by)
        low_high = bounds(sums.weight_I, sums.value_IS).T.tolist()
        found[by] = {"count": len(sums.name_I), **dict(zip(STATISTICS, low_high, strict=True))}
    return found


def over_seeds(values: Sequence[float]) -> tuple[float, float]:
    """Return the lower and upper bound of the mean over runs of several seeds, two at least: Student's t, which takes
    the figures of a seed as normally distributed. Three seeds give a wide interval, and an honest one."""
    from scipy.stats import t  # not above: it takes a second to import

    half = t.ppf((1 + LEVEL) / 2, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return mean(values) - half, mean(values) + half


class Difference(NamedTuple):
    """The first method's figure minus the second's, in [-1, 1]: its 95 % bounds, and how often as large a difference
    arises by chance."""

    difference: float
    low: float
    high: float
    p: float


def paired(first: Sums, second: Sums, *, draws: int = DRAWS, seed: int = SEED) -> dict[str, Difference]:
    """Compare two methods on the same queries, by statistic. Raises ValueError where the queries differ."""
    if not (np.array_equal(first.name_I, second.name_I) and np.allclose(first.weight_I, second.weight_I)):
        raise ValueError("the two files rank different queries")
    apart_IS = first.value_IS - second.value_IS
    low_S, high_S = bounds(first.weight_I, apart_IS, draws=draws, seed=seed)
    sign = np.random.default_rng(seed + 1).integers(0, 2, size=(draws, len(apart_IS))) * 2.0 - 1
    total_S = apart_IS.sum(axis=0)
    as_large_S = (np.abs(sign @ apart_IS) >= np.abs(total_S) - 1e-12).sum(axis=0)
    p_S = (1 + as_large_S) / (1 + draws)
    difference_S = total_S / first.weight_I.sum()
    columns = zip(difference_S.tolist(), low_S.tolist(), high_S.tolist(), p_S.tolist(), strict=True)
    return {name: Difference(*column) for name, column in zip(STATISTICS, columns, strict=True)}
