"""A method of one's own, as docs/extending.md describes one: two views of each visible image, and two parts to compare.

Three blocks of rows [visible, its second view, infrared]: what no half of a batch would fit.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dns.backbones import build_backbone
from dns.losses import WEIGHT, at_least_float32, weighted_sum
from dns.methods import Method
from dns.network import Losses, Network, NetworkOptions
from dns.optim import MULTIPLIER
from dns.option import option


@dataclass(frozen=True, kw_only=True)
class OwnModelOptions(NetworkOptions):
    """Network of one's own"""

    method: str = option("own", "this one")


@dataclass(frozen=True, kw_only=True)
class OwnLossOptions:
    """Losses of one's own"""

    identity: float = option(1.0, "weight of the cross entropy", WEIGHT)
    views: float = option(0.5, "weight of the distance between views", WEIGHT)


@dataclass(frozen=True, kw_only=True)
class OwnMultiplierOptions:
    """Multipliers of one's own"""

    rest: float = option(0.5, "all but the classifier", MULTIPLIER)
    classifier: float = option(1.0, "the classifier", MULTIPLIER)


class OwnOutputs(NamedTuple):
    embedding_RD: Tensor
    logits_RC: Tensor


class OwnNetwork(Network):
    views, blocks, parts = 2, 3, 2

    def __init__(
        self, identities: int, options: OwnModelOptions, losses: OwnLossOptions, weights: dict | None = None
    ) -> None:
        super().__init__()
        self._losses = losses
        backbone = build_backbone(options.architecture, weights)
        self.visible_stem, (self.layer3, self.layer4), half = backbone.stem, backbone.stages, backbone.widths[1]
        self.width = 2 * half
        self.neck, self.classifier = nn.BatchNorm1d(half), nn.Linear(half, identities, bias=False)

    def _pooled(self, images: Tensor) -> Tensor:
        return self.layer4(self.layer3(self.visible_stem(images))).mean(dim=(2, 3))

    def forward(self, visible: Tensor, other: Tensor) -> OwnOutputs:
        embedding = self.neck(self._pooled(torch.cat([visible, other])))
        return OwnOutputs(embedding, self.classifier(embedding))

    def loss(self, outputs: OwnOutputs, person_B: Tensor) -> Losses:
        first, second, _ = at_least_float32(outputs.embedding_RD).chunk(3)
        visible, other = person_B.chunk(2)
        person_R = torch.cat([visible, visible, other])
        return weighted_sum(
            {
                "identity": lambda: functional.cross_entropy(at_least_float32(outputs.logits_RC), person_R),
                "views": lambda: (first - second).square().mean(),
            },
            self._losses,
        )

    def embed(self, images: Tensor, *, visible: bool) -> tuple[Tensor, Tensor]:
        pooled = at_least_float32(self._pooled(images))
        z, bn = (torch.stack([side, side.square()], dim=1) for side in (pooled, self.neck(pooled)))
        return functional.normalize(z, dim=2).flatten(1), functional.normalize(bn, dim=2).flatten(1)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        own = list(self.classifier.parameters())
        return {"rest": [one for one in self.parameters() if one is not own[0]], "classifier": own}

    @property
    def last_map(self) -> nn.Module:
        return self.layer4


OWN = Method(OwnNetwork, OwnModelOptions, OwnLossOptions, OwnMultiplierOptions, feature="sum")
