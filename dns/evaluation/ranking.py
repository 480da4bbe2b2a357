"""Ranks a trial's gallery for each of its queries, by the features of the test images."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dns.evaluation.memory import free_bytes
from dns.evaluation.metrics import NO_MATCH, Metrics, PerQuery, mean_metrics, rank_queries
from dns.evaluation.open_set import Searches, search
from dns.evaluation.protocols import Protocol
from dns.evaluation.rerank import needed_bytes, rerank
from dns.evaluation.some_rows import EmbeddedRows
from dns.evaluation.trial import Compared, Images, TestSet, Trial
from ffcv_convert.common.errors import ConfigError, ProtocolError

GB = 1e9


@dataclass(frozen=True)
class Ranking:
    """The result of a trial. query_person_Q: identity of each query; query_path_Q: its image, for a mean the first of
    them. per_query: what each of the Q queries found, those without a match included; searches: what they find while
    half of the identities are left out of the gallery."""

    trial: Trial
    query_person_Q: Tensor
    query_path_Q: np.ndarray
    per_query: PerQuery
    metrics: Metrics
    searches: Searches

    def missed(self, test: TestSet) -> np.ndarray:
        """Return the rows of the test set, int64, of the queries that have a match and find another identity first."""
        missed_Q = (self.per_query.relevant > 0) & (self.per_query.rank0 > 0)
        return shown_rows(self.trial, test)[missed_Q.cpu().numpy()]


def compare(trial: Trial, test: TestSet, embedding_ND: EmbeddedRows, *, re_ranking: bool = False) -> Compared:
    """Compare every query of the trial with its whole gallery, as rank_trials does."""
    person_N, camera_N = _labels(test, embedding_ND)
    person, embedding = _queries(trial, test, person_N, embedding_ND)
    measure = rerank if re_ranking else distances
    gallery = trial.features(test, trial.gallery_rows, embedding_ND)
    return _compared(trial, test, person, camera_N, measure(embedding, gallery))


def shown_rows(trial: Trial, test: TestSet) -> np.ndarray:
    """Return a row of the test set for each query, int64 (Q,): the query's own; for a mean, the first of its images or
    frames."""
    if not trial.mean_query:
        return trial.query_rows
    return trial.query_rows[np.unique(test.person_N[trial.query_rows], return_index=True)[1]]


def rank_trials(
    protocol: Protocol,
    test: TestSet,
    embedding_ND: EmbeddedRows,
    trials: Sequence[int] | None = None,
    *,
    re_ranking: bool = False,
) -> list[Ranking]:
    """Rank every trial, or those with the given numbers. embedding_ND: embeddings by the test set's rows, on a device;
    similarity is the dot product, or k-reciprocal re-ranking of it. Raises ProtocolError."""
    chosen = protocol.trials(test, trials)
    person_N, camera_N = _labels(test, embedding_ND)
    distance_of = None if re_ranking else _shared_product(protocol, chosen, test, person_N, embedding_ND)
    rankings = []
    for trial in chosen:
        person, embedding = _queries(trial, test, person_N, embedding_ND)
        gallery_rows = trial.gallery_rows
        distance = (
            distance_of(trial) if distance_of else rerank(embedding, trial.features(test, gallery_rows, embedding_ND))
        )
        compared = _compared(trial, test, person, camera_N, distance)
        query, gallery, _, excluded = compared
        try:
            per_query = rank_queries(distance, query.person, gallery.person, excluded_QG=excluded, cmc=trial.cmc)
            metrics = mean_metrics(per_query)
        except ValueError as error:
            hint = ". It leaves images out by their cameras: for a set without cameras take regdb-t2v or regdb-v2t"
            same = (query.person[:, None] == gallery.person).any()
            cameras = trial.excluded and not trial.tracklet and str(error) == NO_MATCH and same
            raise ProtocolError(f"{trial.protocol}, trial {trial.number}: {error}{hint if cameras else ''}") from None
        path_Q = np.array([test.path_N[row] for row in shown_rows(trial, test)])
        rankings.append(Ranking(trial, person, path_Q, per_query, metrics, search(compared)))
    return rankings


def check_memory(protocol: Protocol, test: TestSet, width: int, device: torch.device) -> None:
    """Raise ConfigError where re-ranking the protocol's largest trial takes more memory than is free; say how much it
    takes where that is much. width: an embedding's."""
    queries = len(protocol.queries(test))
    gallery = max(map(len, protocol.galleries(test)))
    needed, free = needed_bytes(queries, gallery, width), free_bytes(device)
    said = f"re-ranking {queries + gallery:,} images ({protocol.name}) takes {needed / GB:.2f} GB of memory"
    if needed > free:
        raise ConfigError(
            f"eval.re_ranking: {said}, and {max(free, 0) / GB:.2f} GB are free. Leave it out, or test on a machine "
            "with more memory"
        )
    if needed > GB:
        print(f"note: {said}; {free / GB:.2f} GB are free", file=sys.stderr)


def _labels(test: TestSet, embedding_ND: EmbeddedRows) -> tuple[Tensor, Tensor]:
    """Return identity and camera of each test image, on the embeddings' device."""
    person, camera = (torch.from_numpy(column).to(embedding_ND.device) for column in (test.person_N, test.camera_N))
    return person, camera


def _compared(trial: Trial, test: TestSet, person_Q: Tensor, camera_N: Tensor, distance_QG: Tensor) -> Compared:
    query = Images(person_Q, camera_N[shown_rows(trial, test)])
    gallery_person = torch.from_numpy(test.person_N[trial.gallery_rows]).to(camera_N.device)
    gallery = Images(gallery_person, camera_N[trial.gallery_rows])
    return Compared(query, gallery, distance_QG, trial.excluded(query, gallery) if trial.excluded else None)


def _shared_product(
    protocol: Protocol, trials: Sequence[Trial], test: TestSet, person_N: Tensor, embedding_ND: EmbeddedRows
) -> Callable[[Trial], Tensor]:
    """Return a function trial -> distances (Q, G), all taken from one product: the images of one side are the same in
    all trials, and those of the other side are multiplied once, however many trials they are drawn in."""

    def drawn(trial: Trial) -> np.ndarray:
        return trial.query_rows if protocol.transposed else trial.gallery_rows

    first, pool = trials[0], np.unique(np.concatenate([drawn(trial) for trial in trials]))
    if protocol.transposed:
        same = first.features(test, first.gallery_rows, embedding_ND)
    else:
        same = _queries(first, test, person_N, embedding_ND)[1]
    product = distances(same, first.features(test, pool, embedding_ND))

    def distance(trial: Trial) -> Tensor:
        chosen = product[:, np.searchsorted(pool, drawn(trial))]
        return chosen.T.contiguous() if protocol.transposed else chosen

    return distance


def distances(query_QD: Tensor, gallery_GD: Tensor) -> Tensor:
    """Return minus the dot products, float64 (Q, G), as the published code takes them: in float32, near neighbours
    change places. On CUDA too; the largest product, LLCM's queries and all of its possible gallery, is 255 GFLOP."""
    return -query_QD.double() @ gallery_GD.double().T


def _queries(trial: Trial, test: TestSet, person_N: Tensor, embedding_ND: EmbeddedRows) -> tuple[Tensor, Tensor]:
    """Return identities and features of the trial's queries."""
    person, embedding = person_N[trial.query_rows], trial.features(test, trial.query_rows, embedding_ND)
    return _means(person, embedding.double()) if trial.mean_query else (person, embedding)


def _means(person_Q: Tensor, embedding_QD: Tensor) -> tuple[Tensor, Tensor]:
    """Return the identities, and the L2-normalised mean embedding of each."""
    persons, group = person_Q.unique(return_inverse=True)
    total = embedding_QD.new_zeros(len(persons), embedding_QD.shape[1]).index_add_(0, group, embedding_QD)
    return persons, functional.normalize(total, dim=1)
