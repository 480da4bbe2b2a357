"""Computes what a protocol's trials give beyond their means.

AP of each query and of each pair of cameras, similarities, and verification: is this the same identity? (false accepts
and false rejects of a threshold on the similarity).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from dns.evaluation.metrics import PerQuery, rank_queries
from dns.evaluation.ranking import Compared, Ranking, compare, shown_rows
from dns.evaluation.some_rows import EmbeddedRows, SomeRows
from dns.evaluation.trial import TestSet, Trial

LIKENESS_IMAGES = 2000  # test images whose similarities to each other are counted
BINS = 50
TARGETS = (0.1, 0.01, 0.001, 0.0001)  # shares of false accepts that the table of thresholds looks for


@dataclass(frozen=True)
class Study:
    """The results of a protocol. rankings: those of every trial; the rest is of its first one. query_rows: the row of
    the test set that stands for each query."""

    protocol: str
    rankings: Sequence[Ranking]
    trial: Trial
    compared: Compared
    query_rows: np.ndarray

    @property
    def per_query(self) -> PerQuery:
        return self.rankings[0].per_query


def study(test: TestSet, rankings: Sequence[Ranking], embedding_ND: EmbeddedRows, *, re_ranking: bool = False) -> Study:
    """Study a protocol. rankings: those of its every trial, made from these embeddings and with this re_ranking."""
    trial = rankings[0].trial
    compared = compare(trial, test, embedding_ND, re_ranking=re_ranking)
    return Study(trial.protocol, rankings, trial, compared, shown_rows(trial, test))


def average_precision(per_query: PerQuery) -> np.ndarray:
    """Return the AP of each query, in [0, 1], float64 (Q,); NaN where it has no match."""
    return (per_query.precision / per_query.relevant).cpu().numpy()  # 0 / 0 is NaN


class CameraPairs(NamedTuple):
    """The mAP of each pair of cameras, in [0, 1]: queries of one camera, and a gallery of only one camera's images.
    query, gallery: the cameras' numbers; mAP_QG: NaN where no query has a match."""

    query: list[int]
    gallery: list[int]
    mAP_QG: np.ndarray


def camera_pairs(compared: Compared) -> CameraPairs:
    query, gallery, distance_QG, excluded_QG = compared
    cameras = gallery.camera.unique().tolist()
    columns = []
    for camera in cameras:
        there = gallery.camera == camera
        excluded = None if excluded_QG is None else excluded_QG[:, there]
        found = rank_queries(distance_QG[:, there], query.person, gallery.person[there], excluded_QG=excluded)
        columns.append(average_precision(found))
    camera_Q, precision_QG = query.camera.cpu().numpy(), np.stack(columns, axis=1)
    of = np.unique(camera_Q).tolist()
    return CameraPairs(of, cameras, np.stack([_means(precision_QG[camera_Q == camera]) for camera in of]))


def _means(precision_QG: np.ndarray) -> np.ndarray:
    """Return the mean of each column, over the queries with a match."""
    known = ~np.isnan(precision_QG)
    total = np.where(known, precision_QG, 0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


class Likeness(NamedTuple):
    """A histogram of the similarities of pairs of test images. centre: the middles of the bins; share: kind of pair ->
    per cent of its pairs in each bin; images: how many images the pairs come from."""

    centre: np.ndarray
    share: dict[str, np.ndarray]
    images: int


def likeness(test: TestSet, embedding_ND: EmbeddedRows, *, seed: int = 0) -> Likeness:
    """Count the similarities of all pairs of at most LIKENESS_IMAGES test images, drawn with `seed` among those that
    were embedded. Pairs that a protocol leaves out are among them."""
    known = embedded_rows(embedding_ND)
    rows = np.sort(np.random.default_rng(seed).permutation(known)[:LIKENESS_IMAGES])
    embedding = embedding_ND[rows].double()
    one, other = np.triu_indices(len(rows), k=1)
    similarity = (embedding @ embedding.T).cpu().numpy()[one, other]
    person, modality = test.person_N[rows], test.modality_N[rows]
    same, within = person[one] == person[other], modality[one] == modality[other]
    edges = np.linspace(similarity.min(), similarity.max(), BINS + 1)
    share = {}
    for whose, mask in (("same identity", same), ("different identities", ~same)):
        for where, side in (("within a modality", within), ("across modalities", ~within)):
            counts = np.histogram(similarity[mask & side], edges)[0]
            if counts.any():
                share[f"{whose}, {where}"] = 100 * counts / counts.sum()
    return Likeness((edges[1:] + edges[:-1]) / 2, share, len(rows))


def embedded_rows(embedding_ND: EmbeddedRows) -> np.ndarray:
    """Return the rows that have an embedding, int64, ascending."""
    if isinstance(embedding_ND, SomeRows):
        return embedding_ND.row_M
    return np.flatnonzero(~embedding_ND[:, 0].isnan().cpu().numpy())


def scores(compared: Compared) -> tuple[np.ndarray, np.ndarray]:
    """Return the similarity of every pair that counts, and whether both images show one identity."""
    same = compared.query.person[:, None] == compared.gallery.person
    counts = torch.ones_like(same) if compared.excluded_QG is None else ~compared.excluded_QG
    return -compared.distance_QG[counts].cpu().numpy(), same[counts].cpu().numpy()


class Curve(NamedTuple):
    """False accepts and false rejects by threshold: a pair is accepted if its similarity is at least the threshold.
    threshold: the distinct similarities, falling, after one (inf) that accepts nothing; false_accept: share of the
    pairs of different identities that are accepted; false_reject: share of the pairs of one identity that are not."""

    threshold: np.ndarray
    false_accept: np.ndarray
    false_reject: np.ndarray

    @property
    def equal_error(self) -> int:
        """Return the position of the threshold at which the two shares are nearest to each other."""
        return int(np.abs(self.false_accept - self.false_reject).argmin())

    @property
    def area(self) -> float:
        """Return the area under the ROC."""
        return float(np.trapezoid(1 - self.false_reject, self.false_accept))


def roc(similarity_P: np.ndarray, same_P: np.ndarray) -> Curve:
    """Compute the curve of P pairs. same_P: which show one identity. Raises ValueError where all or no pairs do."""
    if same_P.all() or not same_P.any():
        raise ValueError("a ROC needs pairs of one identity and pairs of two")
    order = np.argsort(-similarity_P, kind="stable")
    similarity, same = similarity_P[order], same_P[order]
    last = np.append(np.flatnonzero(np.diff(similarity)), len(similarity) - 1)  # last of equal similarities
    accepted = np.cumsum(same)[last]
    false = last + 1 - accepted
    return Curve(
        np.append(np.inf, similarity[last]),
        np.append(0.0, false / false[-1]),
        np.append(1.0, 1 - accepted / accepted[-1]),
    )


class Threshold(NamedTuple):
    """A row of the table of thresholds. reason: why it is there; the shares are those of exactly this value."""

    reason: str
    value: float
    false_accept: float
    false_reject: float


def thresholds(curve: Curve) -> list[Threshold]:
    """Return the threshold with the fewest false rejects for each target that the pairs can tell; and the equal
    error."""
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
    """Return the decimal number with the fewest digits that is above `low` and at most `high`."""
    for digits in range(2, 17):
        value = math.floor(high * 10**digits) / 10**digits
        if low < value <= high:
            return value
    return float(high)


def thinned(curve: Curve, *, points: int = 200) -> np.ndarray:
    """Return positions of at most about `points` of a curve, spread over both shares evenly and over small false
    accepts by their logarithm: what a figure needs."""
    smallest = max(curve.false_accept[curve.false_accept > 0].min(initial=1.0), 1e-12)
    wanted = np.concatenate([np.linspace(0, 1, points // 2), np.geomspace(smallest, 1, points // 2)])
    return np.unique(np.clip(np.searchsorted(curve.false_accept, wanted), 0, len(curve.threshold) - 1))
