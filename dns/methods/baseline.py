"""Builds the baseline of DNS (ECCV 2024): its two stems, shared layers and circle loss, without its modules."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from dns.backbones import build_backbone
from dns.layers import pooling
from dns.losses import WEIGHT, at_least_float32, circle_loss, weighted_sum
from dns.methods.two_stems import TwoStems
from dns.network import Losses, NetworkOptions
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


class Baseline(TwoStems):
    def __init__(
        self, identities: int, options: NetworkOptions, losses: LossOptions, weights: dict[str, Tensor] | None = None
    ):
        backbone = build_backbone(options.architecture, weights)
        super().__init__(backbone.stem, backbone.widths[-1], identities, neck_bias=True)
        self._losses = losses
        self.layer3, self.layer4 = backbone.stages
        self._pool = pooling(backbone.rectified)

    def forward(self, visible: Tensor, other: Tensor) -> Outputs:
        embedding = self.neck(self.pooled_batch(visible, other))
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

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return self.by_module("layer3", "layer4", "neck", "classifier")

    @property
    def last_map(self) -> nn.Module:
        return self.layer4

    def pooled(self, maps: Tensor) -> Tensor:
        return self._pool(self.layer4(self.layer3(maps)))


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
