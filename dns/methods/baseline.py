"""Builds the baseline of DNS (ECCV 2024): its two stems, shared layers and circle loss, without its modules."""

import copy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dns.backbone import build_backbone
from dns.layers import gem, make_classifier, make_neck
from dns.losses import WEIGHT, at_least_float32, circle_loss, weighted_sum
from dns.network import Losses, Network, NetworkOptions
from dns.optim import MULTIPLIER
from dns.option import option
from dns.published import PublishedNames


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """Losses: weights, margins and scales; a loss of weight 0 is not computed"""

    identity: float = option(1.0, "weight of the cross entropy over identities", WEIGHT)
    circle: float = option(1.0, "weight of the circle loss, which is divided by the batch size", WEIGHT)
    circle_margin: float = option(0.45, "margin of the circle loss", (0, 1))
    circle_gamma: float = option(64.0, "scale of the circle loss", (0, 1000))


@dataclass(frozen=True, kw_only=True)
class MultiplierOptions:
    """Learning-rate multipliers of the parameter groups"""

    rest: float = option(0.1, "both stems", MULTIPLIER)
    layer3: float = option(0.2, "layer3", MULTIPLIER)
    layer4: float = option(0.25, "layer4", MULTIPLIER)
    neck: float = option(1.0, "BN neck", MULTIPLIER)
    classifier: float = option(1.0, "classifier", MULTIPLIER)


class Outputs(NamedTuple):
    """BN(Z) and the classifier's logits, [visible, infrared]."""

    embedding_BD: Tensor
    logits_BC: Tensor


class Baseline(Network):
    def __init__(
        self, identities: int, options: NetworkOptions, losses: LossOptions, weights: dict[str, Tensor] | None = None
    ):
        super().__init__()
        self._losses = losses
        backbone = build_backbone(options.architecture, weights)
        self.visible_stem = backbone.stem
        self.other_stem = copy.deepcopy(self.visible_stem)
        self.layer3, self.layer4 = backbone.stages
        self.width = backbone.widths[-1]
        self.neck = make_neck(self.width)
        self.classifier = make_classifier(self.width, identities)

    def forward(self, visible: Tensor, other: Tensor) -> Outputs:
        embedding = self.neck(self._pooled(torch.cat([self.visible_stem(visible), self.other_stem(other)])))
        return Outputs(embedding, self.classifier(embedding))

    def loss(self, outputs: Outputs, person_B: Tensor) -> Losses:
        margin, gamma = self._losses.circle_margin, self._losses.circle_gamma
        return weighted_sum(
            {
                "identity": lambda: functional.cross_entropy(at_least_float32(outputs.logits_BC), person_B),
                "circle": lambda: (
                    circle_loss(outputs.embedding_BD, person_B, margin=margin, gamma=gamma) / len(person_B)
                ),
            },
            self._losses,
        )

    def embed(self, images: Tensor, *, visible: bool) -> tuple[Tensor, Tensor]:
        pooled = self._pooled((self.visible_stem if visible else self.other_stem)(images))
        return functional.normalize(pooled, dim=1), functional.normalize(at_least_float32(self.neck(pooled)), dim=1)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return self.by_module("layer3", "layer4", "neck", "classifier")

    @property
    def last_map(self) -> nn.Module:
        return self.layer4

    def _pooled(self, maps: Tensor) -> Tensor:
        return gem(self.layer4(self.layer3(maps)))


PUBLISHED = PublishedNames(
    {
        "visible.visible.": "visible_stem.",
        "thermal.thermal.": "other_stem.",
        "base.base.layer3.": "layer3.",
        "base.base.layer4.": "layer4.",
        "bottleneck.": "neck.",
        "classifier.": "classifier.",
    },
    unused=r"base\.base\.(conv1|bn1|layer1|layer2|fc)\.|(visible\.visible|thermal\.thermal)\.(layer3|layer4|fc)\.",
)
