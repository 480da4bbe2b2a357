"""Builds the networks that methods stand on. To add one, write a class that fits Backbone, and its row below.

A ResNet gives conv1 to maxpool, or to layer2, as the stem; the layers after it, with stride 1 in layer4, are the
stages. The blocks are torchvision's own, so that its weights load as they are. Batch norms lose their
`num_batches_tracked` counter: nothing reads it while momentum is fixed, and 80 counters are 80 kernels a step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock


class _HalfResNet(torchvision.models.ResNet):
    """A ResNet with half of torchvision's channels: 32 in the first convolution; 32, 64, 128, 256 in the stages."""

    def __init__(self, blocks: list[int]):
        super().__init__(BasicBlock, blocks)
        self.conv1, self.bn1 = nn.Conv2d(3, 32, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(32)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision does
        self.fc = nn.Linear(256, 1000)

    def _make_layer(self, block: Any, planes: int, *arguments: Any, **options: Any) -> nn.Sequential:
        if planes == 64:  # layer1: torchvision has set the first convolution's 64
            self.inplanes = 32
        return super()._make_layer(block, planes // 2, *arguments, **options)


def resnet10_half() -> torchvision.models.ResNet:
    """Build a ResNet of one basic block a stage and half of ResNet-18's channels: a CPU can train it from scratch."""
    return _HalfResNet([1, 1, 1, 1])


class Backbone(Protocol):
    """What a method needs of a network. stem: (B, 3, H, W) -> (B, C, H/4, W/4) if it is pooled, else H/8, W/8; each
    modality gets a copy. stages: sequences of blocks, which the modalities share: four after a pooled stem, else two.
    stem_width, widths: channels after the stem and after each stage."""

    stem: nn.Module
    stages: tuple[nn.Sequential, ...]
    stem_width: int
    widths: tuple[int, ...]


@dataclass(frozen=True)
class Architecture:
    """A network to stand on. network: all of it, with random weights, in the layout that files of weights have;
    backbone: what a method takes of it, with a pooled stem or not; weights: torchvision's ImageNet weights (an entry of
    its Weights enums), if it has some."""

    network: Callable[[], nn.Module]
    backbone: Callable[[Any, bool], Backbone]
    weights: Any = None


class PooledStem(nn.Module):
    """conv1, bn1, relu, maxpool: (B, 3, H, W) -> (B, C, H/4, W/4)."""

    def __init__(self, resnet: torchvision.models.ResNet):
        super().__init__()
        self.conv1, self.bn1, self.relu, self.maxpool = resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool

    def forward(self, images: Tensor) -> Tensor:
        return self.maxpool(self.relu(self.bn1(self.conv1(images))))


class Stem(PooledStem):
    """The same, and layer1, layer2: (B, 3, H, W) -> (B, C, H/8, W/8)."""

    def __init__(self, resnet: torchvision.models.ResNet):
        super().__init__(resnet)
        self.layer1, self.layer2 = resnet.layer1, resnet.layer2

    def forward(self, images: Tensor) -> Tensor:
        return self.layer2(self.layer1(super().forward(images)))


class ResNetBackbone:
    """The Backbone in a torchvision ResNet of any depth, whose strides it changes."""

    def __init__(self, resnet: torchvision.models.ResNet, pooled: bool):
        block = resnet.layer4[0]
        for convolution in (block.conv1, block.conv2, block.downsample[0]):
            convolution.stride = (1, 1)
        for module in resnet.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.num_batches_tracked = None
        stages = (resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4)
        widths = (resnet.conv1.out_channels, *map(_width, stages))
        own = 0 if pooled else 2
        self.stem: nn.Module = PooledStem(resnet) if pooled else Stem(resnet)
        self.stages: tuple[nn.Sequential, ...] = stages[own:]
        self.stem_width, *later = widths[own:]
        self.widths: tuple[int, ...] = tuple(later)


def _width(stage: nn.Sequential) -> int:
    """Return the channels that a stage ends with: those of the last batch norm of its last block."""
    *_, last = [module for module in stage[-1].modules() if isinstance(module, nn.BatchNorm2d)]
    return last.num_features


ARCHITECTURES = {
    "resnet50": Architecture(
        torchvision.models.resnet50, ResNetBackbone, torchvision.models.ResNet50_Weights.IMAGENET1K_V1
    ),
    "resnet18": Architecture(
        torchvision.models.resnet18, ResNetBackbone, torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    ),
    "resnet10_half": Architecture(resnet10_half, ResNetBackbone),
}


def build_backbone(architecture: str, weights: Mapping[str, Tensor] | None, *, pooled: bool = False) -> Backbone:
    """Build a backbone. weights: a state dict of the whole network, or None for random ones; pooled: whether the stem
    ends with the pooling, or with layer2."""
    chosen = ARCHITECTURES[architecture]
    network = chosen.network()
    if weights is not None:
        network.load_state_dict(weights)
    return chosen.backbone(network, pooled)
