"""Builds CAJ (Ye et al., ICCV 2021): AGW's network with two views of each visible image, and a squared triplet loss.

The published code also computes a divergence between the logits of the first view and of infrared images, and
multiplies it by 0: it is left out.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from dns.losses import WEIGHT, at_least_float32, weighted_sum
from dns.methods.agw import AGW
from dns.methods.two_stems import Outputs
from dns.network import Losses, NetworkOptions
from dns.option import option
from dns.triplets import squared_triplet, weighted_triplet


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """Losses: weights; a loss of weight 0 is not computed"""

    identity: float = option(1.0, "weight of the cross entropy over identities", WEIGHT)
    triplet: float = option(1.0, "weight of the triplet loss", WEIGHT)
    square: bool = option(True, "the triplet loss squares the difference of distances; false: as AGW's")


class CAJ(AGW):
    """Rows are [first view of visible images, second view, infrared]."""

    views: ClassVar[int] = 2
    blocks: ClassVar[int] = 3

    def __init__(
        self, identities: int, options: NetworkOptions, losses: LossOptions, weights: dict[str, Tensor] | None = None
    ):
        super().__init__(identities, options, losses, weights)  # type: ignore[arg-type]
        self._triplet = squared_triplet if losses.square else weighted_triplet

    def loss(self, outputs: Outputs, person_B: Tensor) -> Losses:
        person = torch.cat([person_B.chunk(2)[0], person_B])
        return weighted_sum(
            {
                "identity": lambda: functional.cross_entropy(at_least_float32(outputs.logits_BC), person),
                "triplet": lambda: self._triplet(outputs.pooled_BD, person),
            },
            self._losses,
        )
