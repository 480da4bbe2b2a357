"""Builds DEEN (Zhang and Wang, CVPR 2023): attention between stages (MFA), embeddings expanded by two branches (DEE).

DEE triples the batch in front of the last stage: rows are [the map itself, branch 1, branch 2], each of [visible,
infrared], and all of them are trained and compared. Odd as they are, the pairing of positions in MFA and the divisor of
the orthogonal loss are the published code's: published weights and numbers depend on them.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from dns.backbones import build_backbone
from dns.layers import Residual
from dns.losses import WEIGHT, at_least_float32, weighted_sum
from dns.methods.two_stems import Outputs, TwoStems
from dns.network import Losses, NetworkOptions
from dns.option import option
from dns.published import PublishedNames
from dns.triplets import distances, hard_triplet, hinge, own_distances
from ffcv_convert.common.errors import ConfigError

PARTS = 3  # the map itself and two branches


@dataclass(frozen=True, kw_only=True)
class ModelOptions(NetworkOptions):
    """Network"""

    stages: int = option(4, "stages of the backbone: 4; on RegDB 3, as published", (2, 4))
    dropout: float = option(0.01, "after DEE", (0, 1))


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """Losses: weights and margins; a loss of weight 0 is not computed"""

    identity: float = option(1.0, "weight of the cross entropy over identities", WEIGHT)
    triplet: float = option(1.0, "weight of the triplet loss of the hardest pairs", WEIGHT)
    triplet_margin: float = option(0.3, "its margin", (0, 1000))
    centre: float = option(0.8, "weight of the centres of both modalities (CPM)", WEIGHT)
    centre_margin: float = option(0.2, "its margin", (0, 1000))
    orthogonal: float = option(0.01, "weight of the orthogonality of the branches", WEIGHT)


class DEEN(TwoStems):
    """Rows are [visible, infrared] of the map itself, of branch 1, of branch 2."""

    pooled_stem: ClassVar[bool] = True
    blocks: ClassVar[int] = 2 * PARTS
    parts: int = PARTS

    def __init__(
        self, identities: int, options: ModelOptions, losses: LossOptions, weights: dict[str, Tensor] | None = None
    ):
        backbone = build_backbone(options.architecture, weights, pooled=True)
        widths = (backbone.stem_width, *backbone.widths[: options.stages])
        super().__init__(backbone.stem, widths[-1], identities)
        self._losses = losses
        self.stages = nn.ModuleList(backbone.stages[: options.stages])
        self.fusions = nn.ModuleList(
            MultistageFusion(widths[number + 1], widths[number], stride=1 if number == 0 else 2)
            for number in range(options.stages - 1)
        )
        self.expansion = EmbeddingExpansion(widths[-2], options.dropout)

    def loss(self, outputs: Outputs, person_B: Tensor) -> Losses:
        options, pooled = self._losses, outputs.pooled_BD
        person = person_B.repeat(PARTS)
        own, *branches = pooled.chunk(PARTS)
        return weighted_sum(
            {
                "identity": lambda: functional.cross_entropy(at_least_float32(outputs.logits_BC), person),
                "triplet": lambda: hard_triplet(pooled, person, margin=options.triplet_margin),
                "centre": lambda: torch.stack(
                    [centre_pairs(own, branch, person_B, margin=options.centre_margin) for branch in branches]
                ).sum(),
                "orthogonal": lambda: orthogonality(*branches),
            },
            options,
        )

    @property
    def last_map(self) -> nn.Module:
        return self.stages[-1]

    def pooled(self, maps: Tensor) -> Tensor:
        *stages, last = self.stages
        for stage, fusion in zip(stages, self.fusions, strict=True):
            maps = fusion(stage(maps), maps)
        return at_least_float32(last(self.expansion(maps))).mean(dim=(2, 3))


class MultistageFusion(nn.Module):
    """MFA: adds to a stage's output what its channels, then its positions, attend to in the stage's input.

    (B, high, H, W), (B, low, s H, s W) -> (B, high, H, W). stride: the stage's s.
    """

    def __init__(self, high: int, low: int, *, stride: int):
        super().__init__()
        self.channels, self.positions = ChannelAttention(high, low, stride), PositionAttention(high, low)

    def forward(self, output: Tensor, given: Tensor) -> Tensor:
        return self.positions(self.channels(output, given), given)


class ChannelAttention(nn.Module):
    def __init__(self, high: int, low: int, stride: int):
        super().__init__()
        self.theta = nn.Conv2d(high, low, 1)
        self.phi = nn.Conv2d(low, low, 1, stride=stride)
        # The published g has every place, and the last convolution the stride: it sees the places that g has here.
        self.g = nn.Conv2d(low, low, 1, stride=stride)
        self.step = Residual(low, high)

    def forward(self, output: Tensor, given: Tensor) -> Tensor:
        theta, phi, g = self.theta(output).flatten(2), self.phi(given).flatten(2), self.g(given).flatten(2)
        attention = theta @ phi.transpose(1, 2) / theta.shape[1]
        return self.step(output, (attention @ g).unflatten(2, output.shape[2:]))


class PositionAttention(nn.Module):
    """The published code reshapes (C, n) to (2 C, n / 2): a position is a pair of places, half a map apart.

    Its attention is n / 2 x n / 2 numbers an image, 1,728 x 1,728 after layer1 of a 384 x 144 image. No softmax stands
    in it, so that phi and g can be multiplied first: 2 C x 2 C numbers, and the same sums in another order.
    """

    def __init__(self, high: int, low: int):
        super().__init__()
        half = low // 2
        self.theta, self.phi, self.g = nn.Conv2d(high, half, 1), nn.Conv2d(low, half, 1), nn.Conv2d(low, half, 1)
        self.step = Residual(half, high)

    def forward(self, output: Tensor, given: Tensor) -> Tensor:
        theta, phi, g = (_paired(maps) for maps in (self.theta(output), self.phi(given), self.g(given)))
        attended = (g @ phi.transpose(1, 2) / phi.shape[2]) @ theta
        return self.step(output, attended.reshape(output.shape[0], -1, *output.shape[2:]))


def _paired(maps: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 2 C, H W / 2), in the order of the elements. Raises ConfigError where H W is odd."""
    batch, channels, height, width = maps.shape
    if height * width % 2:
        raise ConfigError(
            f"model.method=deen pairs the places of a map, and this one has {height} x {width}, an odd number. Take "
            "images of another size: --data.height_px=384 --data.width_px=144 are the published ones"
        )
    return maps.reshape(batch, 2 * channels, height * width // 2)


class EmbeddingExpansion(nn.Module):
    """DEE: (B, C, H, W) -> (3 B, C, H, W), the map itself and two branches of dilated convolutions."""

    def __init__(self, channels: int, dropout: float):
        super().__init__()
        self.branches = nn.ModuleList(Branch(channels) for _ in range(PARTS - 1))
        self.dropout = nn.Dropout(dropout)

    def forward(self, maps: Tensor) -> Tensor:
        return self.dropout(torch.cat([maps, *(branch(maps) for branch in self.branches)]))


class Branch(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        quarter = channels // 4
        self.dilated = nn.ModuleList(
            nn.Conv2d(channels, quarter, 3, padding=step, dilation=step, bias=False) for step in (1, 2, 3)
        )
        self.expand = nn.Conv2d(quarter, channels, 1)
        for convolution in (*self.dilated, self.expand):
            nn.init.kaiming_normal_(convolution.weight)
        nn.init.zeros_(self.expand.get_parameter("bias"))

    def forward(self, maps: Tensor) -> Tensor:
        one, two, three = (convolution(maps) for convolution in self.dilated)
        return self.expand(functional.relu((one + two + three) / 3))


def centre_pairs(own_BD: Tensor, branch_BD: Tensor, person_B: Tensor, *, margin: float) -> Tensor:
    """Return CPM: an identity's centre in the other modality's branch is to be nearer than the centre in its own.

    own_BD, branch_BD: Z of the map itself and of a branch, [visible, infrared]. Every identity has as many rows as
    every other. Means over rows, each with the centre of its identity, are the means over identities.
    """
    same = person_B.chunk(2)[0][:, None] == person_B.chunk(2)[0][None, :]
    share = same.to(at_least_float32(own_BD).dtype)
    share = share / share.sum(dim=1, keepdim=True)
    visible, infrared = (share @ at_least_float32(half) for half in own_BD.chunk(2))
    visible_branch, infrared_branch = (share @ at_least_float32(half) for half in branch_BD.chunk(2))

    def pulled(across: Tensor, within: Tensor, *centres: Tensor) -> Tensor:
        loss = hinge(across, within.detach(), margin)
        for centre in centres:
            nearest = distances(centre, centre).masked_fill(same, torch.inf).amin(dim=1)
            loss = loss + hinge(across, nearest, margin) / 2
        return loss

    first = pulled(
        own_distances(infrared, visible_branch), own_distances(visible, visible_branch), visible_branch, visible
    )
    second = pulled(
        own_distances(visible, infrared_branch), own_distances(infrared, infrared_branch), infrared_branch, infrared
    )
    return (first + second) / 2


def orthogonality(first_BD: Tensor, second_BD: Tensor) -> Tensor:
    """Return the sum of <branch 1, branch 2> over the images, divided by thrice their number, as published."""
    return (at_least_float32(first_BD) * at_least_float32(second_BD)).sum() / (PARTS * len(first_BD))


def _published(stages: int) -> PublishedNames:
    attention = {"g": "g", "theta": "theta", "phi": "phi", "W.0": "step.expand", "W.1": "step.norm"}
    fusions = {
        f"MFA{number + 1}.{kind}.{theirs}.": f"fusions.{number}.{name}.{ours}."
        for number in range(stages - 1)
        for kind, name in (("CNL", "channels"), ("PNL", "positions"))
        for theirs, ours in attention.items()
    }
    branches = {f"DEE.FC{one}.": f"expansion.branches.{one - 1}.expand." for one in (1, 2)}
    branches |= {
        f"DEE.FC{one}{step}.": f"expansion.branches.{one - 1}.dilated.{step - 1}."
        for one in (1, 2)
        for step in (1, 2, 3)
    }
    dead = "".join(str(number) for number in range(stages + 1, 5))
    layers = rf"|layer[{dead}]" if dead else ""
    return PublishedNames(
        {
            "visible_module.visible.": "visible_stem.",
            "thermal_module.thermal.": "other_stem.",
            **{f"base_resnet.base.layer{number + 1}.": f"stages.{number}." for number in range(stages)},
            **fusions,
            **branches,
            "bottleneck.": "neck.",
            "classifier.": "classifier.",
        },
        unused=rf"base_resnet\.base\.(conv1|bn1|fc{layers})\."
        r"|(visible_module\.visible|thermal_module\.thermal)\.(layer\d|fc)\.",
    )


PUBLISHED, PUBLISHED_ON_REGDB = _published(4), _published(3)
