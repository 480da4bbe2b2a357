"""ResNet with one stem a modality: conv1 to layer2 twice, layer3 and layer4 shared, layer4 with stride 1.

torchvision's own blocks, so that its weights load as they are. Batch norms lose their `num_batches_tracked` counter:
nothing reads it while momentum is fixed, and 80 counters are 80 kernels a step.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from dns.tensor_file import AGAIN, CheckpointError, read


class _HalfResNet(torchvision.models.ResNet):
    """Half the channels of torchvision's: 32 in the first convolution, 32, 64, 128 and 256 in the stages."""

    def __init__(self, blocks: list[int]):
        super().__init__(BasicBlock, blocks)
        self.conv1, self.bn1 = nn.Conv2d(3, 32, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(32)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision does
        self.fc = nn.Linear(256, 1000)

    def _make_layer(self, block: Any, planes: int, *arguments: Any, **options: Any) -> nn.Sequential:
        if planes == 64:  # layer1: torchvision has set the first convolution's 64
            self.inplanes = 32
        return super()._make_layer(block, planes // 2, *arguments, **options)


def resnet10_half(weights: None = None) -> torchvision.models.ResNet:
    """One basic block a stage and half of ResNet-18's channels: small enough to train on a CPU, from scratch."""
    return _HalfResNet([1, 1, 1, 1])


# Name -> what builds it, and its ImageNet weights if torchvision has some.
ARCHITECTURES: dict[str, tuple[Callable[..., torchvision.models.ResNet], Any]] = {
    "resnet50": (torchvision.models.resnet50, torchvision.models.ResNet50_Weights.IMAGENET1K_V1),
    "resnet18": (torchvision.models.resnet18, torchvision.models.ResNet18_Weights.IMAGENET1K_V1),
    "resnet10_half": (resnet10_half, None),
}


class WeightsError(Exception):
    """Initial weights that cannot be had or do not fit; the message names the file and the next step."""


class Stem(nn.Module):
    """conv1, bn1, relu, maxpool, layer1, layer2: (B, 3, H, W) -> (B, C, H/8, W/8)."""

    def __init__(self, resnet: torchvision.models.ResNet):
        super().__init__()
        self.conv1, self.bn1, self.relu, self.maxpool = resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool
        self.layer1, self.layer2 = resnet.layer1, resnet.layer2

    def forward(self, images: Tensor) -> Tensor:
        return self.layer2(self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(images))))))


def build_resnet(architecture: str, weights: Mapping[str, Tensor] | None) -> torchvision.models.ResNet:
    """torchvision's network without classifier, layer4 at stride 1, with `weights` in torchvision's key layout."""
    resnet = ARCHITECTURES[architecture][0](weights=None)
    if weights is not None:
        resnet.load_state_dict(weights)
    block = resnet.layer4[0]
    for convolution in (block.conv1, block.conv2, block.downsample[0]):
        convolution.stride = (1, 1)
    for module in resnet.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.num_batches_tracked = None
    return resnet


def load_initial_weights(architecture: str, pretrained: str) -> dict[str, Tensor] | None:
    """Weights to start from. `pretrained`: none | imagenet (torchvision's IMAGENET1K_V1) | a path to a file like it.

    Raises WeightsError when they cannot be downloaded, read, or do not fit the architecture.
    """
    if pretrained == "none":
        return None
    weights = ARCHITECTURES[architecture][1]
    path = Path(pretrained)
    if pretrained == "imagenet" and weights is None:
        raise WeightsError(f"{architecture} has no ImageNet weights. Add --model.pretrained=none, or name a file")
    if pretrained == "imagenet":
        path = Path(torch.hub.get_dir()) / "checkpoints" / os.path.basename(weights.url)
        try:
            if not path.exists():
                weights.get_state_dict(progress=True, check_hash=True)
        except (URLError, OSError, RuntimeError) as error:
            raise WeightsError(
                f"{weights.url}: cannot be downloaded ({error}). Put the file at {path}, "
                "or start from another one: --model.pretrained=PATH"
            ) from None
    if not path.exists():
        raise WeightsError(f"{path}: no such file. --model.pretrained is none, imagenet or a path")
    try:
        return _fitting(read(path), architecture, path)
    except CheckpointError as error:
        raise WeightsError(str(error)) from None


def _fitting(state: object, architecture: str, source: Path) -> dict[str, Tensor]:
    """What the network takes of `state`. Raises WeightsError where a tensor is missing or its numbers are not sound."""
    expected = ARCHITECTURES[architecture][0](weights=None).state_dict()
    if not isinstance(state, Mapping):
        raise WeightsError(f"{source}: holds a {type(state).__name__}, not a state dict of {architecture}")
    used = {name: tensor for name, tensor in expected.items() if not _unused(name)}
    wrong = [name for name, tensor in used.items() if getattr(state.get(name), "shape", None) != tensor.shape]
    if wrong:
        raise WeightsError(f"{source}: does not fit {architecture} ({wrong[0]} and {len(wrong) - 1} others)")
    for name in used:
        tensor = state[name]
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise WeightsError(f"{source}: damaged ({name} holds values that are no finite numbers). {AGAIN}")
    return {**expected, **{name: state[name] for name in used}}


def _unused(name: str) -> bool:
    """The classifier is not used, and files from before PyTorch 0.4 lack the counters."""
    return name.startswith("fc.") or name.endswith("num_batches_tracked")
