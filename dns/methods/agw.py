"""Builds AGW (Ye et al., TPAMI 2022): stems of one convolution, non-local blocks in the shared trunk, GeM, and a
weighted regularised triplet loss. GeM's power is fixed, as in the published code.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from dns.backbones import build_backbone
from dns.layers import NonLocal, gem
from dns.losses import WEIGHT, at_least_float32, weighted_sum
from dns.methods.two_stems import Outputs, TwoStems
from dns.network import Losses, NetworkOptions
from dns.option import option
from dns.published import PublishedNames
from dns.triplets import weighted_triplet

NON_LOCAL = (0, 2, 3, 0)  # non-local blocks at the end of each stage: after so many of its last blocks, one each


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """Losses: weights; a loss of weight 0 is not computed"""

    identity: float = option(1.0, "weight of the cross entropy over identities", WEIGHT)
    triplet: float = option(1.0, "weight of the weighted regularised triplet loss", WEIGHT)


class AGW(TwoStems):
    pooled_stem: ClassVar[bool] = True

    def __init__(
        self, identities: int, options: NetworkOptions, losses: LossOptions, weights: dict[str, Tensor] | None = None
    ):
        backbone = build_backbone(options.architecture, weights, pooled=True)
        super().__init__(backbone.stem, backbone.widths[-1], identities)
        self._losses = losses
        stages = zip(backbone.stages, NON_LOCAL, backbone.widths, strict=True)
        self.stages = nn.ModuleList(Stage(stage, min(number, len(stage)), width) for stage, number, width in stages)

    def loss(self, outputs: Outputs, person_B: Tensor) -> Losses:
        return weighted_sum(
            {
                "identity": lambda: functional.cross_entropy(at_least_float32(outputs.logits_BC), person_B),
                "triplet": lambda: weighted_triplet(outputs.pooled_BD, person_B),
            },
            self._losses,
        )

    @property
    def last_map(self) -> nn.Module:
        return self.stages[-1]

    def pooled(self, maps: Tensor) -> Tensor:
        for stage in self.stages:
            maps = stage(maps)
        return gem(maps)


class Stage(nn.Module):
    """A ResNet's stage with a non-local block after each of its last `number` blocks. width: its channels."""

    def __init__(self, blocks: nn.Sequential, number: int, width: int):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.non_local = nn.ModuleList(NonLocal(width) for _ in range(number))

    def forward(self, maps: Tensor) -> Tensor:
        first = len(self.blocks) - len(self.non_local)
        for number, block in enumerate(self.blocks):
            maps = block(maps)
            if number >= first:
                maps = self.non_local[number - first](maps)
        return maps


_MODULES = {"theta": "theta", "phi": "phi", "g.0": "g", "W.0": "step.expand", "W.1": "step.norm"}
PUBLISHED = PublishedNames(
    {
        "visible_module.visible.": "visible_stem.",
        "thermal_module.thermal.": "other_stem.",
        **{f"base_resnet.base.layer{number + 1}.": f"stages.{number}.blocks." for number in range(4)},
        **{
            f"NL_{stage + 1}.{block}.{theirs}.": f"stages.{stage}.non_local.{block}.{ours}."
            for stage, blocks in enumerate(NON_LOCAL)
            for block in range(blocks)
            for theirs, ours in _MODULES.items()
        },
        "bottleneck.": "neck.",
        "classifier.": "classifier.",
    },
    unused=r"base_resnet\.base\.(conv1|bn1|fc)\.|(visible_module\.visible|thermal_module\.thermal)\.(layer\d|fc)\.",
)
