"""Re-ranks (Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017).

An image's k-reciprocal neighbours are those of its k nearest that have it among theirs. Each image becomes a sparse
vector of weights over its (expanded) reciprocal neighbours; the Jaccard distance of two vectors is blended with the
original distance. Off in every published table of DNS: it looks at all queries at once, and costs memory (Q + G)^2.
"""

import torch
from torch import Tensor
from torch.nn import functional


def rerank(query_QD: Tensor, gallery_GD: Tensor, *, k1: int = 20, k2: int = 6, weight: float = 0.3) -> Tensor:
    """Return re-ranked distances (Q, G), float32, on the embeddings' device; it L2-normalises the embeddings.

    k1: neighbours looked at; k2: neighbours that a vector is averaged over; weight: the original distance's. The values
    are the paper's. Galleries smaller than k1 are taken as they are.
    """
    queries = len(query_QD)
    all_ND = functional.normalize(torch.cat([query_QD, gallery_GD]).float(), dim=1)
    distance = torch.cdist(all_ND, all_ND, compute_mode="use_mm_for_euclid_dist").square()
    distance = distance / distance.amax(dim=1, keepdim=True).clamp(min=1e-12)  # the published form scales each row
    order = distance.argsort(dim=1, stable=True)[:, : k1 + 1]
    weights = _encode(distance, order, k1)
    if k2 > 1:
        weights = torch.stack([weights[near].mean(dim=0) for near in order[:, :k2]])
    jaccard = _jaccard(weights[:queries], weights[queries:])
    return (1 - weight) * jaccard + weight * distance[:queries, queries:]


def _encode(distance: Tensor, order: Tensor, k1: int) -> Tensor:
    """Return (N, N): row i holds the Gaussian weights, summing to 1, of i's expanded k-reciprocal neighbours."""
    reciprocal = _reciprocal(order, k1)
    half = _reciprocal(order, round(k1 / 2))
    common = half.float() @ reciprocal.float().T  # [j, i]: how many of j's half neighbourhood lie in i's
    joins = (common > 2 / 3 * half.sum(dim=1, keepdim=True)).T & reciprocal  # [i, j]: j's may join i's
    expanded = reciprocal | (joins.float() @ half.float() > 0)
    weights = torch.where(expanded, torch.exp(-distance), 0)
    return weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-12)


def _reciprocal(order: Tensor, k: int) -> Tensor:
    """Return a mask (N, N): i and j are each among the other's k nearest, or the same."""
    near = torch.zeros(len(order), len(order), dtype=torch.bool, device=order.device)
    near.scatter_(1, order[:, : k + 1], True)
    return near & near.T


def _jaccard(query: Tensor, gallery: Tensor) -> Tensor:
    """Return the Jaccard distance of weight vectors that sum to 1: the shared weight is the sum of minima."""
    rows = []
    for weights in query:
        there = weights.nonzero().squeeze(1)
        shared = torch.minimum(weights[there], gallery[:, there]).sum(dim=1)
        rows.append(1 - shared / (2 - shared))
    return torch.stack(rows)
