"""Builds the ResNet-50 that sees images in OpenAI's CLIP (Radford et al., ICML 2021), without its attention pooling.

Its stem has three convolutions and an average pooling. No other convolution has a stride: where a stage halves the
resolution, the first block pools averages before its last convolution and on its shortcut. The names are those of the
tensors in OpenAI's file, where `visual.` stands before them.
"""

import hashlib
from collections import OrderedDict
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dns.backbones.backbone import Architecture
from dns.backbones.files import hub_file
from dns.backbones.resnet import ResNetBackbone
from ffcv_convert.common.errors import WeightsError

SHA256 = "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762"
URL = f"https://openaipublic.azureedge.net/clip/models/{SHA256}/RN50.pt"
EXPANSION = 4  # channels that a block ends with, in those of its middle


class Block(nn.Module):
    """Three convolutions beside a shortcut: (B, channels, H, W) -> (B, 4 width, H / stride, W / stride)."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.avgpool = _pooling(stride)
        self.conv3 = nn.Conv2d(width, EXPANSION * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(EXPANSION * width)
        nn.init.zeros_(self.bn3.weight)  # as OpenAI's: a new block is its shortcut
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None if channels == EXPANSION * width else _shortcut(channels, EXPANSION * width, stride)

    def forward(self, maps: Tensor) -> Tensor:
        new = self.relu(self.bn1(self.conv1(maps)))
        new = self.avgpool(self.relu(self.bn2(self.conv2(new))))
        new = self.bn3(self.conv3(new))
        return self.relu(new + (maps if self.downsample is None else self.downsample(maps)))


def _pooling(stride: int) -> nn.Module:
    return nn.AvgPool2d(stride) if stride > 1 else nn.Identity()


def _shortcut(channels: int, width: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, 1, bias=False)
    return nn.Sequential(
        OrderedDict([("-1", _pooling(stride)), ("0", convolution), ("1", nn.BatchNorm2d(width))])  # OpenAI's names
    )


class CLIPResNet(nn.Sequential):
    """The ResNet: normalised images (B, 3, H, W) -> maps (B, 2048, H/32, W/32). blocks: in each stage."""

    def __init__(self, blocks: tuple[int, ...] = (3, 4, 6, 3), width: int = 64):
        super().__init__()
        channels = 3
        for number, (out, stride) in enumerate(((width // 2, 2), (width // 2, 1), (width, 1)), start=1):
            self.add_module(f"conv{number}", nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False))
            self.add_module(f"bn{number}", nn.BatchNorm2d(out))
            self.add_module(f"relu{number}", nn.ReLU(inplace=True))
            channels = out
        self.add_module("avgpool", nn.AvgPool2d(2))
        for stage, number in enumerate(blocks):
            middle = width * 2**stage
            first = Block(channels, middle, stride=1 if stage == 0 else 2)
            channels = EXPANSION * middle
            later = (Block(channels, middle, stride=1) for _ in range(number - 1))
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, *later))


class CLIPBackbone(ResNetBackbone):
    """The Backbone in CLIP's ResNet."""

    begin: ClassVar[tuple[str, ...]] = (
        *("conv1", "bn1", "relu1", "conv2", "bn2", "relu2", "conv3", "bn3", "relu3"), "avgpool",
    )  # fmt: skip

    @staticmethod
    def keep_resolution(block: Any) -> None:
        block.avgpool = block.downsample[0] = nn.Identity()


def published_file() -> Path:
    """Return OpenAI's file on this machine. Raises WeightsError."""
    path = hub_file(URL, lambda path: torch.hub.download_url_to_file(URL, str(path), hash_prefix=SHA256))
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise WeightsError(
            f"{path}: not the file that OpenAI published (SHA-256 {SHA256}): cut short, damaged, or another one of "
            "this name. Remove it, and the next training downloads it again"
        )
    return path


CLIP_RESNETS = {
    "resnet50_clip": Architecture(CLIPResNet, CLIPBackbone, weights={"clip": published_file}, normalisation="clip")
}
