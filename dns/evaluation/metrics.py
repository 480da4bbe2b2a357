"""CMC, mAP and mINP of rankings, vectorised; equal to the published loops to 1e-6 (see tests).

A query's excluded gallery images are taken out of its ranking; a query with no match left is left out of every mean.
AP is the mean precision at the matches, INP the number of matches over the last one's rank (Ye et al., TPAMI 2021).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

RANKS = 20
CMC = Literal["images", "identities"]


@dataclass(frozen=True)
class Metrics:
    """cmc: share of queries whose first match is at rank 1..20; chance: expected rank-1 of a random ranking."""

    cmc: list[float]
    mAP: float
    mINP: float
    chance: float


def rank_metrics(
    distance_QG: Tensor,
    query_person_Q: Tensor,
    gallery_person_G: Tensor,
    *,
    excluded_QG: Tensor | None = None,
    cmc: CMC = "images",
) -> Metrics:
    """Metrics of ascending distances, on the tensors' device.

    cmc: "images" counts ranks of images; "identities" ranks of identities in order of first appearance, as the
    published SYSU-MM01 and LLCM protocols do. Raises ValueError for distances that are not finite, and where no query
    has a match.
    """
    if not torch.isfinite(distance_QG).all():
        raise ValueError("distances hold values that are not finite")
    gallery = distance_QG.shape[1]
    if excluded_QG is None:
        excluded_QG = torch.zeros_like(distance_QG, dtype=torch.bool)
    distance_QG = torch.where(excluded_QG, float("inf"), distance_QG)  # last, behind every image that counts
    order = distance_QG.argsort(dim=1, stable=True)
    same_QG = (query_person_Q[:, None] == gallery_person_G[None, :]) & ~excluded_QG
    matches = same_QG.gather(1, order)
    relevant = matches.sum(dim=1)
    valid = relevant > 0
    if not valid.any():
        raise ValueError("no query has a match in the gallery")
    matches, order, relevant = matches[valid], order[valid], relevant[valid]
    kept = gallery - excluded_QG[valid].sum(dim=1)

    place = torch.arange(1, gallery + 1, device=order.device)
    precision = matches.cumsum(dim=1, dtype=torch.float32) / place
    average_precision = (precision * matches).sum(dim=1, dtype=torch.float64) / relevant
    last = (matches * place).amax(dim=1)
    if cmc == "images":
        rank = matches.float().argmax(dim=1)
    else:
        rank = _identity_rank(order, kept, query_person_Q[valid], gallery_person_G)
    hits = (rank[:, None] <= torch.arange(RANKS, device=rank.device)).double().mean(dim=0)
    return Metrics(
        cmc=hits.tolist(),
        mAP=average_precision.mean().item(),
        mINP=(relevant.double() / last).mean().item(),
        chance=(relevant.double() / kept).mean().item(),
    )


def _identity_rank(order_QG: Tensor, kept_Q: Tensor, query_person_Q: Tensor, gallery_person_G: Tensor) -> Tensor:
    """How many other identities appear before the query's own, among the first kept_Q images of its ranking."""
    identities, gallery_label_G = gallery_person_G.unique(return_inverse=True)
    queries, gallery = order_QG.shape
    place = torch.arange(gallery, device=order_QG.device).expand(queries, gallery)
    place = torch.where(place < kept_Q[:, None], place, gallery)
    first = torch.full((queries, len(identities)), gallery, device=order_QG.device)
    first.scatter_reduce_(1, gallery_label_G[order_QG], place, "amin")
    own = torch.searchsorted(identities, query_person_Q)
    return (first < first.gather(1, own[:, None])).sum(dim=1)
