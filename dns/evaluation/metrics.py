"""Computes CMC, mAP and mINP of rankings, vectorised; equal to the published loops to 1e-6 (see tests).

Excluded gallery images do not stand in a query's ranking; a query without a match does not enter any mean. AP is the
mean precision at the matches, INP the number of matches over the last one's rank (Ye et al., TPAMI 2021).

Distances are compared in float64, as the published code does. Rankings are not sorted: the rank of a match is the
number of gallery images that are not farther. Every image is looked up among the query's few matches (searchsorted),
and the look-ups are counted: O(Q G log(matches)), in pieces that stay in the cache. Equal distances rank by gallery
position, as in a stable sort: where a match shares its distance with another image, that query is sorted after all.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

RANKS = 20
CMC = Literal["images", "identities"]
PIECE = {"cpu": 1 << 18, "cuda": 1 << 23}  # distances looked at together
LAST = torch.iinfo(torch.int64).max  # key of an image that does not count
NO_MATCH = "no query has a match in the gallery"
NOT_FINITE = "embeddings contain NaN or inf. Use an earlier checkpoint, or train again"


@dataclass(frozen=True)
class Metrics:
    """Means over the queries with a match. cmc: share of first matches at rank 1..20; chance: expected rank-1 of a
    random ranking; matched, queries: how many have a match, of how many (results of earlier versions do not say)."""

    cmc: list[float]
    mAP: float
    mINP: float
    chance: float
    matched: int | None = None
    queries: int | None = None

    @property
    def matched_share(self) -> float:
        return self.matched / self.queries if self.matched and self.queries else 1.0


class PerQuery(NamedTuple):
    """What each of Q queries found. relevant: matches; kept: images that count; rank0: images or identities before the
    first match; precision: sum over the matches, float64; last: place of the last match."""

    relevant: Tensor
    kept: Tensor
    rank0: Tensor
    precision: Tensor
    last: Tensor


def rank_queries(
    distance_QG: Tensor,
    query_person_Q: Tensor,
    gallery_person_G: Tensor,
    *,
    excluded_QG: Tensor | None = None,
    cmc: CMC = "images",
) -> PerQuery:
    """Find where each query's matches stand, by ascending distances (any float), on the tensors' device.

    cmc: "images" counts ranks of images; "identities" ranks of identities in order of first appearance, as the
    published SYSU-MM01 and LLCM protocols do. Raises ValueError for distances that are not finite, and where there are
    none.
    """
    if not torch.isfinite(distance_QG).all():
        raise ValueError(NOT_FINITE)
    if not distance_QG.numel():
        raise ValueError(NO_MATCH)
    queries, gallery = distance_QG.shape
    rows = max(1, PIECE[distance_QG.device.type] // gallery)
    identities, label_G = gallery_person_G.unique(return_inverse=True)
    pieces = []
    for start in range(0, queries, rows):
        piece = slice(start, start + rows)
        excluded = None if excluded_QG is None else excluded_QG[piece]
        same = query_person_Q[piece, None] == gallery_person_G
        by_identity = (label_G, len(identities)) if cmc == "identities" else None
        pieces.append(_rank(_keys(distance_QG[piece], excluded), same, excluded, by_identity))
    return PerQuery(*(torch.cat(columns) for columns in zip(*pieces, strict=True)))


def mean_metrics(per_query: PerQuery) -> Metrics:
    """Average over the queries with a match. Raises ValueError where none has one."""
    valid = per_query.relevant > 0
    if not valid.any():
        raise ValueError(NO_MATCH)
    found = PerQuery(*(column[valid] for column in per_query))
    hits = (found.rank0[:, None] <= torch.arange(RANKS, device=found.rank0.device)).double().mean(dim=0)
    return Metrics(
        cmc=hits.tolist(),
        mAP=(found.precision / found.relevant).mean().item(),
        mINP=(found.relevant.double() / found.last).mean().item(),
        chance=(found.relevant.double() / found.kept).mean().item(),
        matched=len(found.relevant),
        queries=len(valid),
    )


def _keys(distance: Tensor, excluded: Tensor | None) -> Tensor:
    """Return int64 numbers that sort as the distances do in float64; LAST where excluded."""
    bits = (distance.double().contiguous() + 0.0).view(torch.int64)  # + 0.0 turns -0.0 into 0.0
    keys = torch.where(bits < 0, bits ^ LAST, bits)
    return keys if excluded is None else keys.masked_fill_(excluded, LAST)


def _rank(keys: Tensor, same: Tensor, excluded: Tensor | None, by_identity: tuple[Tensor, int] | None) -> PerQuery:
    """Rank a piece. by_identity: labels (G) and number of the gallery's identities, where the CMC counts these."""
    if excluded is None:
        kept = torch.full((len(keys),), keys.shape[1], device=keys.device)
    else:
        same = same & ~excluded
        kept = keys.shape[1] - excluded.sum(dim=1)
    relevant = same.sum(dim=1)
    matches = _matches(keys, same, relevant)
    behind = torch.searchsorted(matches, keys)  # how many matches lie before each image
    tied = _tied(keys, matches, behind, relevant)
    if tied.any():
        keys[tied] = _places(keys[tied])
        matches = _matches(keys, same, relevant)
        behind = torch.searchsorted(matches, keys)
    most = matches.shape[1]
    counts = torch.zeros(len(keys), most + 1, dtype=torch.int64, device=keys.device)
    counts.scatter_add_(1, behind, torch.ones_like(behind))
    place = counts[:, :most].cumsum(dim=1)  # for each match: the images not behind it, itself included
    number = torch.arange(1, most + 1, device=keys.device)
    there = number <= relevant[:, None]
    precision = torch.where(there, number / place.double(), 0).sum(dim=1)
    last = torch.where(there, place, 0).amax(dim=1)
    if by_identity is None:
        return PerQuery(relevant, kept, place[:, 0] - 1, precision, last)
    label, identities = by_identity
    first = torch.full((len(keys), identities), LAST, device=keys.device)
    first.scatter_reduce_(1, label.expand(keys.shape), keys, "amin")
    return PerQuery(relevant, kept, (first < matches[:, :1]).sum(dim=1), precision, last)


def _tied(keys: Tensor, matches: Tensor, behind: Tensor, relevant: Tensor) -> Tensor:
    """Return a mask of the queries with a match whose key another image has as well."""
    found = (matches.gather(1, behind.clamp(max=matches.shape[1] - 1)) == keys) & (keys != LAST)
    equal_matches = (matches[:, 1:] == matches[:, :-1]) & (matches[:, 1:] != LAST)
    return (found.sum(dim=1) > relevant) | equal_matches.any(dim=1)


def _places(keys: Tensor) -> Tensor:
    """Return each image's place in a stable sort of its row, LAST where its key is LAST: only those are equal."""
    order = keys.argsort(dim=1, stable=True)
    places = torch.empty_like(keys).scatter_(1, order, torch.arange(keys.shape[1], device=keys.device).expand_as(keys))
    return places.masked_fill_(keys == LAST, LAST)


def _matches(keys: Tensor, same: Tensor, relevant: Tensor) -> Tensor:
    """Return the keys of each query's matches, ascending, filled up with LAST: at least one column."""
    matches = torch.full((len(keys), max(1, int(relevant.max()))), LAST, device=keys.device)
    query, image = same.nonzero(as_tuple=True)
    column = torch.arange(len(query), device=keys.device) - (relevant.cumsum(0) - relevant)[query]
    matches[query, column] = keys[query, image]
    return matches.sort(dim=1).values
