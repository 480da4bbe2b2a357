"""Builds torchvision's ResNets, of any depth and width, and a small one of ours.

conv1 to maxpool, or to layer2, are the stem; the layers after it, with stride 1 in layer4, are the stages. The blocks
are torchvision's own, so that its weights load as they are.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torchvision
from torch import Tensor, nn
from torchvision.models import WeightsEnum
from torchvision.models.resnet import BasicBlock

from dns.backbones.backbone import Architecture, without_counters
from dns.backbones.files import hub_file


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

    rectified = True

    def __init__(self, resnet: torchvision.models.ResNet, pooled: bool):
        block = resnet.layer4[0]
        for convolution in (block.conv1, block.conv2, block.downsample[0]):
            convolution.stride = (1, 1)
        without_counters(resnet)
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


def published_file(weights: WeightsEnum) -> Path:
    """Return torchvision's file of these weights on this machine. Raises WeightsError."""
    return hub_file(weights.url, lambda _: weights.get_state_dict(progress=True, check_hash=True))


def _architecture(build: Callable[[], torchvision.models.ResNet]) -> Architecture:
    imagenet = torchvision.models.get_model_weights(build).IMAGENET1K_V1
    return Architecture(build, ResNetBackbone, weights={"imagenet": partial(published_file, imagenet)})


# resnet18 to resnet152, ResNeXt and wide ones, whatever the installed torchvision has.
RESNETS = {
    **{
        build.__name__: _architecture(build)
        for build in map(torchvision.models.get_model_builder, torchvision.models.list_models(torchvision.models))
        if build.__module__ == torchvision.models.resnet.__name__
    },
    "resnet10_half": Architecture(resnet10_half, ResNetBackbone),
}
