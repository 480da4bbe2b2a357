"""Is this the same identity? False accepts and false rejects of a threshold on the similarity."""

import math
from typing import NamedTuple

import numpy as np

TARGETS = (0.1, 0.01, 0.001, 0.0001)  # shares of false accepts that the table of thresholds looks for


class Curve(NamedTuple):
    """A pair is accepted if its similarity is at least the threshold. threshold: the distinct similarities, falling,
    after one (inf) that accepts nothing; false_accept: share of the pairs of different identities that are accepted;
    false_reject: share of the pairs of one identity that are not."""

    threshold: np.ndarray
    false_accept: np.ndarray
    false_reject: np.ndarray

    @property
    def equal_error(self) -> int:
        """Position of the threshold at which the two shares are nearest to each other."""
        return int(np.abs(self.false_accept - self.false_reject).argmin())

    @property
    def area(self) -> float:
        """Under the ROC."""
        return float(np.trapezoid(1 - self.false_reject, self.false_accept))


def roc(similarity_P: np.ndarray, same_P: np.ndarray) -> Curve:
    """Of P pairs. Raises ValueError where all or none of them are of one identity."""
    if same_P.all() or not same_P.any():
        raise ValueError("a ROC needs pairs of one identity and pairs of two")
    order = np.argsort(-similarity_P, kind="stable")
    similarity, same = similarity_P[order], same_P[order]
    last = np.append(np.flatnonzero(np.diff(similarity)), len(similarity) - 1)  # of equal similarities
    accepted = np.cumsum(same)[last]
    false = last + 1 - accepted
    return Curve(
        np.append(np.inf, similarity[last]),
        np.append(0.0, false / false[-1]),
        np.append(1.0, 1 - accepted / accepted[-1]),
    )


class Threshold(NamedTuple):
    """reason: why it is in the table; the shares are those of exactly this value."""

    reason: str
    value: float
    false_accept: float
    false_reject: float


def thresholds(curve: Curve) -> list[Threshold]:
    """For each target that the pairs can tell, the threshold with the fewest false rejects; and the equal error."""
    smallest = curve.false_accept[curve.false_accept > 0].min()
    found = []
    for target in TARGETS:
        if target >= smallest:
            place = int(np.searchsorted(curve.false_accept, target, side="right")) - 1
            found.append(_threshold(curve, place, f"false accepts at most {100 * target:g} %"))
    return [*found, _threshold(curve, max(1, curve.equal_error), "equal shares")]


def _threshold(curve: Curve, place: int, reason: str) -> Threshold:
    below = curve.threshold[place + 1] if place + 1 < len(curve.threshold) else -math.inf
    value = shortest_between(below, curve.threshold[place])
    return Threshold(reason, value, float(curve.false_accept[place]), float(curve.false_reject[place]))


def shortest_between(low: float, high: float) -> float:
    """The decimal number with the fewest digits that is above `low` and at most `high`."""
    for digits in range(2, 17):
        value = math.floor(high * 10**digits) / 10**digits
        if low < value <= high:
            return value
    return float(high)


def thinned(curve: Curve, *, points: int = 200) -> np.ndarray:
    """Positions of at most about `points` of a curve, spread over both shares evenly and over small false accepts by
    their logarithm: what a figure needs."""
    smallest = max(curve.false_accept[curve.false_accept > 0].min(initial=1.0), 1e-12)
    wanted = np.concatenate([np.linspace(0, 1, points // 2), np.geomspace(smallest, 1, points // 2)])
    return np.unique(np.clip(np.searchsorted(curve.false_accept, wanted), 0, len(curve.threshold) - 1))
