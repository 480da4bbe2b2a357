"""Ranks features under every convention of a data set, through dns.evaluation, and lists what they cannot give."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dns.evaluation.protocols import PROTOCOLS, Protocol, fitting
from dns.evaluation.ranking import Ranking, check_memory, rank_trials
from dns.evaluation.tables import Row, ranked_row
from dns.evaluation.trial import TestSet
from dns.judge.names import MATRIX
from dns.judge.orders import Placed
from ffcv_convert.common.errors import ProtocolError

FAMILIES = {
    "sysu": "sysu",
    "regdb": "regdb",
    "llcm": "llcm",
    "market_sketch_1k": "mask1k",
    "pku_sketch": "pku",
    "hitsz_vcm": "vcm",
    "buptcampus": "bupt",
}
SAME_LENGTH = 1e-5  # relative difference of lengths, below which all distances rank alike
STORED = "as stored"  # what a file does not say of its features
DOT, COSINE, EUCLIDEAN = "dot product", "cosine", "Euclidean"


class Judged(NamedTuple):
    """One row of the table: a file's features, of one kind, under one convention."""

    file: str
    matrix: str
    protocol: str
    measure: str
    re_ranking: bool
    row: Row
    rankings: Sequence[Ranking]


class Refused(NamedTuple):
    """A row that the features cannot give."""

    what: str
    reason: str


def protocols_of(dataset: str, test: TestSet) -> list[Protocol]:
    """Return every protocol of the set; for a set without a published one, the families that fit. Raises
    ProtocolError."""
    fit = [FAMILIES[dataset]] if dataset in FAMILIES else [name.partition("-")[0] for name in fitting(test)]
    return [protocol for name, protocol in PROTOCOLS.items() if name.partition("-")[0] in fit]


def judge(
    placed: Placed, protocols: Sequence[Protocol], test: TestSet, *, re_ranking: bool, about: Mapping[str, Any]
) -> tuple[list[Judged], list[Refused]]:
    """Rank the features under every protocol, trial and distance that they give. about: what each row says beside."""
    judged, refused = [], []
    for protocol in protocols:
        try:
            trials = _given(protocol, test, placed.given_N)
        except ProtocolError as error:
            refused.append(Refused(protocol.name, str(error).removeprefix(f"{protocol.name}: ")))
            continue
        every = 1 if not protocol.shots else len(protocol.galleries(test))
        if len(trials) < every:
            which = f"{every - len(trials)} of {every} trials" if trials else "every trial"
            refused.append(Refused(f"{protocol.name}, {which}", "needs images that the files do not hold"))
        if trials:
            judged += _judge_protocol(placed, protocol, trials, test, re_ranking=re_ranking, about=about)
    return judged, refused


def _given(protocol: Protocol, test: TestSet, given_N: np.ndarray) -> list[int]:
    """Return the numbers of the trials whose images all have features."""
    return [trial.number for trial in protocol.trials(test) if given_N[trial.rows(test)].all()]


def _judge_protocol(
    placed: Placed, protocol: Protocol, trials: Sequence[int], test: TestSet, *, re_ranking: bool,
    about: Mapping[str, Any],
) -> list[Judged]:  # fmt: skip
    found = []
    for kind, matrix_ND in placed.matrices.items():
        embedding_ND = torch.from_numpy(matrix_ND)
        ways = [(name, embedding, False) for name, embedding in measures(embedding_ND, protocol, test)]
        if re_ranking:
            check_memory(protocol, test, embedding_ND.shape[1], embedding_ND.device)
            ways.append((COSINE, embedding_ND, True))
        for measure, embedding, again in ways:
            rankings = rank_trials(protocol, test, embedding, trials, re_ranking=again)
            how = {"feature": f"{kind}; {measure}", "flip": STORED, "re_ranking": "k-reciprocal" if again else "off"}
            row = ranked_row(protocol.name, rankings, **how, **about)
            found.append(Judged(placed.name, kind, protocol.name, measure, again, row, rankings))
    return found


def measures(embedding_ND: Tensor, protocol: Protocol, test: TestSet) -> list[tuple[str, Tensor]]:
    """Return the distances that rank differently, each as features whose dot product ranks as it does: rank_trials
    compares by dot products. One where all features have the same length; else the dot product, cosine, and Euclidean.
    The first is that of the features as they are. Means of tracklets are normalised, so that all distances rank alike.

    Euclidean: -|q - g|^2 / 2 is q.g - |g|^2 / 2 but for a number of the query alone. So a query gets one more number,
    1, and a gallery image -|g|^2 / 2: the two are of different modalities.
    """
    if protocol.tracklet:
        return [(f"{COSINE}, {EUCLIDEAN}", embedding_ND)]
    wide_ND = embedding_ND.double()
    length_N = wide_ND.norm(dim=1)
    known = length_N[~length_N.isnan()]
    if (known.max() - known.min()) / known.max() < SAME_LENGTH:
        return [(f"{COSINE}, {EUCLIDEAN}", embedding_ND)]
    queries = torch.from_numpy(test.modality_N == (protocol.gallery if protocol.transposed else protocol.query))
    more_N1 = torch.where(queries, 1.0, -(length_N**2) / 2)[:, None]
    return [
        (DOT, embedding_ND),
        (COSINE, functional.normalize(wide_ND, dim=1)),
        (EUCLIDEAN, torch.cat([wide_ND, more_N1], dim=1)),
    ]


def cannot_give(placed: Placed, *, re_ranking: bool) -> list[Refused]:
    """List the conventions that no file of features can give, and those that were not asked for."""
    refused = [Refused("flip off, published, normalised", "needs the images: features are with it or without")]
    if MATRIX in placed.matrices:
        refused.append(Refused("BN(Z) and Z side by side", "the file holds one matrix, under no name of eval.export"))
    if not re_ranking:
        refused.append(Refused("re-ranking", "was not asked for: --re-ranking"))
    return refused
