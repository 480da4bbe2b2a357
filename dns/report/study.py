"""What a protocol's trials give beyond their means: AP of each query, of each pair of cameras, and similarities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dns.evaluation.evaluator import Evaluator
from dns.evaluation.metrics import PerQuery, rank_queries
from dns.evaluation.protocols import PROTOCOLS, TestSet, Trial
from dns.evaluation.ranking import Compared, Ranking, compare, shown_rows

LIKENESS_IMAGES = 2000  # of the test set, whose similarities to each other are counted
BINS = 50


@dataclass(frozen=True)
class Study:
    """A protocol. rankings: of every trial; the rest is of its first one. query_rows: the row of the test set that
    stands for each query."""

    protocol: str
    rankings: Sequence[Ranking]
    trial: Trial
    compared: Compared
    query_rows: np.ndarray

    @property
    def per_query(self) -> PerQuery:
        return self.rankings[0].per_query


def study(evaluator: Evaluator, embedding_ND: Tensor, protocol: str, *, re_ranking: bool) -> Study:
    """Raises ProtocolError, see rank_trials."""
    rankings = evaluator.rankings(embedding_ND, protocol, re_ranking=re_ranking)
    trial = PROTOCOLS[protocol].trials(evaluator.test_set, [0])[0]
    compared = compare(trial, evaluator.test_set, embedding_ND, re_ranking=re_ranking)
    return Study(protocol, rankings, trial, compared, shown_rows(trial, evaluator.test_set))


def average_precision(per_query: PerQuery) -> np.ndarray:
    """AP of each query, in [0, 1], float64 (Q,); NaN where it has no match."""
    return (per_query.precision / per_query.relevant).cpu().numpy()  # 0 / 0 is NaN


class CameraPairs(NamedTuple):
    """mAP in [0, 1] of the queries of a camera where the gallery holds one camera's images alone. mAP_QG: NaN where no
    query has a match."""

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
    """Of each column, over the queries with a match."""
    known = ~np.isnan(precision_QG)
    total = np.where(known, precision_QG, 0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


class Likeness(NamedTuple):
    """How often each similarity occurs among pairs of test images. centre: the middles of the bins; share: kind of
    pair -> per cent of its pairs in each bin; images: how many images the pairs are of."""

    centre: np.ndarray
    share: dict[str, np.ndarray]
    images: int


def likeness(test: TestSet, embedding_ND: Tensor, *, seed: int = 0) -> Likeness:
    """Of all pairs of at most LIKENESS_IMAGES test images, drawn with `seed`; whatever a protocol leaves out."""
    count = len(test.person_N)
    rows = np.sort(np.random.default_rng(seed).permutation(count)[:LIKENESS_IMAGES])
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


def scores(compared: Compared) -> tuple[np.ndarray, np.ndarray]:
    """Similarity of every pair that counts, and whether it is of one identity."""
    same = compared.query.person[:, None] == compared.gallery.person
    counts = torch.ones_like(same) if compared.excluded_QG is None else ~compared.excluded_QG
    return -compared.distance_QG[counts].cpu().numpy(), same[counts].cpu().numpy()
