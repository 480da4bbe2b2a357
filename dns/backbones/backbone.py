"""Says what a method needs of a backbone, and what the table of backbones says of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import nn


class Backbone(Protocol):
    """What a method needs of a network. stem: (B, 3, H, W) -> (B, C, H/4, W/4) if it is pooled, else H/8, W/8, or what
    the network has; each modality gets a copy. stages: sequences of blocks, which the modalities share: four after a
    pooled stem, else two. stem_width, widths: channels after the stem and after each stage. rectified: whether the last
    maps hold no number below 0, see layers.pooling."""

    stem: nn.Module
    stages: tuple[nn.Sequential, ...]
    stem_width: int
    widths: tuple[int, ...]
    rectified: bool


def without_counters(network: nn.Module) -> None:
    """Take `num_batches_tracked` from batch norms: nothing reads it while momentum is fixed, and 80 counters are 80
    kernels a step."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.num_batches_tracked = None


@dataclass(frozen=True)
class Architecture:
    """A network to stand on. network: all of it, with random weights, in the layout that files of weights have;
    backbone: what a method takes of it, with a pooled stem or not; pooled_stem: whether it has one.

    weights: its published weights, each a function that returns the file on this machine, by the name that
    `model.pretrained` has for them; normalisation: of the pixels that they were trained with, a row of NORMALISATIONS;
    unused: pattern of the tensors of a file, from the name's beginning, which a backbone has no use for; patch_px: what
    height and width of images have to be multiples of.
    """

    network: Callable[[], nn.Module]
    backbone: Callable[[Any, bool], Backbone]
    pooled_stem: bool = True
    weights: Mapping[str, Callable[[], Path]] = field(default_factory=dict)
    normalisation: str = "imagenet"
    unused: str = r"fc\."
    patch_px: int = 1
