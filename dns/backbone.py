"""Builds the networks that DNS can stand on. To add one, write a class that fits Backbone, and its row below.

A ResNet gives conv1 to layer2 as the stem, and layer3 and layer4, with stride 1 in layer4, as the shared stages. The
blocks are torchvision's own, so that its weights load as they are. Batch norms lose their `num_batches_tracked`
counter: nothing reads it while momentum is fixed, and 80 counters are 80 kernels a step.
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
    """What DNS needs of a network. stem: (B, 3, H, W) -> (B, C, H/8, W/8); DNS gives each modality a copy. stages: two,
    which the modalities share, with an HSS after each; their parameters are the groups `layer3` and `layer4`. widths:
    channels after each stage."""

    stem: nn.Module
    stages: tuple[nn.Module, nn.Module]
    widths: tuple[int, int]


@dataclass(frozen=True)
class Architecture:
    """A network to stand on. network: all of it, with random weights, in the layout that files of weights have;
    backbone: what DNS takes of it; weights: torchvision's ImageNet weights (an entry of its Weights enums), if it has
    some."""

    network: Callable[[], nn.Module]
    backbone: Callable[[Any], Backbone]
    weights: Any = None


class Stem(nn.Module):
    """The first layers, conv1, bn1, relu, maxpool, layer1, layer2: (B, 3, H, W) -> (B, C, H/8, W/8)."""

    def __init__(self, resnet: torchvision.models.ResNet):
        super().__init__()
        self.conv1, self.bn1, self.relu, self.maxpool = resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool
        self.layer1, self.layer2 = resnet.layer1, resnet.layer2

    def forward(self, images: Tensor) -> Tensor:
        return self.layer2(self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(images))))))


class ResNetBackbone:
    """The Backbone in a torchvision ResNet of any depth, whose strides it changes."""

    def __init__(self, resnet: torchvision.models.ResNet):
        block = resnet.layer4[0]
        for convolution in (block.conv1, block.conv2, block.downsample[0]):
            convolution.stride = (1, 1)
        for module in resnet.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.num_batches_tracked = None
        self.stem: nn.Module = Stem(resnet)
        self.stages: tuple[nn.Module, nn.Module] = (resnet.layer3, resnet.layer4)
        self.widths = (resnet.layer3[0].downsample[0].out_channels, block.downsample[0].out_channels)


ARCHITECTURES = {
    "resnet50": Architecture(
        torchvision.models.resnet50, ResNetBackbone, torchvision.models.ResNet50_Weights.IMAGENET1K_V1
    ),
    "resnet18": Architecture(
        torchvision.models.resnet18, ResNetBackbone, torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    ),
    "resnet10_half": Architecture(resnet10_half, ResNetBackbone),
}


def build_backbone(architecture: str, weights: Mapping[str, Tensor] | None) -> Backbone:
    """Build a backbone. weights: a state dict of the whole network, or None for random ones."""
    chosen = ARCHITECTURES[architecture]
    network = chosen.network()
    if weights is not None:
        network.load_state_dict(weights)
    return chosen.backbone(network)
