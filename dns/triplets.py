"""Computes Euclidean distances and the triplet losses of AGW, CAJ and DEEN, in float32 at least.

None of them reads a number on the host, so that a CUDA graph can hold them.
"""

import torch
from torch import Tensor
from torch.nn import functional

from dns.losses import at_least_float32

LEAST_SQUARE = 1e-12  # below which a distance has no gradient, as published
SHARE = 1e-6  # added to a sum of weights: see weighted_distances
MOST_SQUARE = 88.0  # exp() of more overflows in float32


def distances(first_ND: Tensor, second_MD: Tensor) -> Tensor:
    """Return Euclidean distances, (N, M), float32 at least."""
    first_ND, second_MD = at_least_float32(first_ND), at_least_float32(second_MD)
    squares = first_ND.square().sum(dim=1)[:, None] + second_MD.square().sum(dim=1)[None, :]
    return (squares - 2 * first_ND @ second_MD.T).clamp(min=LEAST_SQUARE).sqrt()


def own_distances(first_ND: Tensor, second_ND: Tensor) -> Tensor:
    """Return the distance of each row to the same row of the other tensor, (N,), float32 at least."""
    apart = at_least_float32(first_ND) - at_least_float32(second_ND)
    return apart.square().sum(dim=1).clamp(min=LEAST_SQUARE).sqrt()


def hinge(shall_be_less: Tensor, than: Tensor, margin: float) -> Tensor:
    """Return the mean of max(0, shall_be_less - than + margin)."""
    return (shall_be_less - than + margin).clamp(min=0).mean()


def hard_triplet(embedding_BD: Tensor, person_B: Tensor, *, margin: float) -> Tensor:
    """Return the triplet loss of the hardest positive and the hardest negative (Hermans et al., 2017), mean over
    anchors."""
    distance = distances(embedding_BD, embedding_BD)
    same = person_B[:, None] == person_B[None, :]
    positive = distance.masked_fill(~same, -torch.inf).amax(dim=1)
    negative = distance.masked_fill(same, torch.inf).amin(dim=1)
    return hinge(positive, negative, margin)


def weighted_distances(embedding_BD: Tensor, person_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return the softly hardest positive and negative distance of each anchor, (B,) each (Ye et al., TPAMI 2022).

    Weights are exp(d) of the positives, the anchor itself among them, and exp(-d) of the negatives, over their sum plus
    1e-6. As published, the largest d is subtracted for the positives alone: where all negatives are farther than about
    14, their weights no longer sum to 1. Gradients flow through the weights.
    """
    distance = distances(embedding_BD, embedding_BD)
    same = (person_B[:, None] == person_B[None, :]).to(distance.dtype)
    largest = (distance * same).max(dim=1, keepdim=True).values
    found = []
    for exponent, mask in ((distance - largest, same), (-distance, 1 - same)):
        weight = (exponent * mask).exp() * mask
        found.append((distance * weight / (weight.sum(dim=1, keepdim=True) + SHARE)).sum(dim=1))
    return found[0], found[1]


def weighted_triplet(embedding_BD: Tensor, person_B: Tensor) -> Tensor:
    """Return AGW's weighted regularised triplet loss, mean over anchors."""
    positive, negative = weighted_distances(embedding_BD, person_B)
    return functional.softplus(positive - negative).mean()


def squared_triplet(embedding_BD: Tensor, person_B: Tensor) -> Tensor:
    """Return CAJ's squared-difference form of it (Ye et al., ICCV 2021), mean over anchors.

    The square is at most 88: an anchor farther off than that has no gradient, as published.
    """
    positive, negative = weighted_distances(embedding_BD, person_B)
    square = (positive - negative).square().clamp(max=MOST_SQUARE)
    return functional.softplus(torch.where(positive > negative, square, -square)).mean()
