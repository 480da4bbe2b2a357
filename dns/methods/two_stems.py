"""Builds what AGW, CAJ, DEEN and the baseline share: a stem a modality, a common trunk, a BN neck, a classifier."""

import copy
from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dns.layers import make_classifier, make_neck
from dns.losses import at_least_float32
from dns.network import Network
from dns.optim import MULTIPLIER
from dns.option import option


@dataclass(frozen=True, kw_only=True)
class MultiplierOptions:
    """Learning-rate multipliers of the parameter groups"""

    rest: float = option(0.1, "stems and trunk", MULTIPLIER)
    neck: float = option(1.0, "BN neck", MULTIPLIER)
    classifier: float = option(1.0, "classifier", MULTIPLIER)


class Outputs(NamedTuple):
    """Z and the classifier's logits."""

    pooled_BD: Tensor
    logits_BC: Tensor


class TwoStems(Network):
    """A network whose modalities share all but their stems, which start equal. width: numbers in a row of Z. neck_bias:
    whether the neck's bias is trained."""

    def __init__(self, stem: nn.Module, width: int, identities: int, *, neck_bias: bool = False):
        super().__init__()
        self.visible_stem = stem
        self.other_stem = copy.deepcopy(stem)
        self.width = self.parts * width
        self.neck = make_neck(width, bias=neck_bias)
        self.classifier = make_classifier(width, identities)

    @abstractmethod
    def pooled(self, maps: Tensor) -> Tensor:
        """Return Z of the stems' maps (rows, C, H, W), float32 at least: the rows of part 1, of part 2 and so on."""

    def pooled_batch(self, visible: Tensor, other: Tensor) -> Tensor:
        """Return Z of a training batch, see forward."""
        return self.pooled(torch.cat([self.visible_stem(visible), self.other_stem(other)]))

    def forward(self, visible: Tensor, other: Tensor) -> tuple[Tensor, ...]:
        pooled = self.pooled_batch(visible, other)
        return Outputs(pooled, self.classifier(self.neck(pooled)))

    def embed(self, images: Tensor, *, visible: bool) -> tuple[Tensor, Tensor]:
        pooled = self.pooled((self.visible_stem if visible else self.other_stem)(images))
        return self._side_by_side(pooled), self._side_by_side(at_least_float32(self.neck(pooled)))

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return self.by_module("neck", "classifier")

    def _side_by_side(self, rows: Tensor) -> Tensor:
        """Return (B, parts D) of (parts B, D), each part L2-normalised."""
        parts = functional.normalize(rows, dim=1).unflatten(0, (self.parts, -1))  # not chunk: export would fix B
        return parts.transpose(0, 1).flatten(1)
