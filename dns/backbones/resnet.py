"""Builds torchvision's ResNets, of any depth and width, and a small one of ours.

conv1 to maxpool, or to layer2, are the stem; the layers after it, with stride 1 in layer4, are the stages. The blocks
are torchvision's own, so that its weights load as they are.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torchvision
from torch import nn
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


class ResNetBackbone:
    """The Backbone in a ResNet of any depth with layers `begin`, then layer1 to layer4, whose resolution it changes."""

    rectified = True
    begin: ClassVar[tuple[str, ...]] = ("conv1", "bn1", "relu", "maxpool")

    def __init__(self, resnet: nn.Module, pooled: bool):
        self.keep_resolution(resnet.get_submodule("layer4.0"))
        without_counters(resnet)
        first = self.begin if pooled else (*self.begin, "layer1", "layer2")
        later = [name for name in ("layer1", "layer2", "layer3", "layer4") if name not in first]
        self.stem: nn.Module = nn.Sequential(OrderedDict((name, resnet.get_submodule(name)) for name in first))
        self.stages: tuple[nn.Sequential, ...] = tuple(getattr(resnet, name) for name in later)
        self.stem_width, *widths = map(_width, (self.stem, *self.stages))
        self.widths: tuple[int, ...] = tuple(widths)

    @staticmethod
    def keep_resolution(block: Any) -> None:
        """Let layer4 keep its input's resolution ("last stride 1"). block: its first."""
        for convolution in (block.conv1, block.conv2, block.downsample[0]):
            convolution.stride = (1, 1)


def _width(layers: nn.Module) -> int:
    """Return the channels that layers end with: those of their last batch norm."""
    *_, last = [module for module in layers.modules() if isinstance(module, nn.BatchNorm2d)]
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
