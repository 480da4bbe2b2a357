"""Renames the tensors in checkpoints of published code to our names: of DNS here, of other methods in their files."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ffcv_convert.common.errors import CheckpointError


class PublishedNames(NamedTuple):
    """How a method's published checkpoints name their tensors. names: their key's beginning -> ours; unused: pattern of
    the keys of whole ResNets, which the published modules hold and never use."""

    names: Mapping[str, str]
    unused: str

    def leaves_out(self, name: str) -> bool:
        return re.match(self.unused, name) is not None or name.endswith("num_batches_tracked")

    def prefix(self, name: str) -> str | None:
        return next((prefix for prefix in self.names if name.startswith(prefix)), None)


NAMES = {
    "visible.visible.": "visible_stem.",
    "thermal.thermal.": "other_stem.",
    "base.base.layer3.": "layer3.",
    "base.base.layer4.": "layer4.",
    "base.HSS3.channel_attention.0.": "hss3.squeeze.",
    "base.HSS3.channel_attention.1.": "hss3.norm.",
    "base.HSS3.conv_h.": "hss3.expand_height.",
    "base.HSS3.conv_w.": "hss3.expand_width.",
    "base.HSS4.channel_attention.0.": "hss4.squeeze.",
    "base.HSS4.channel_attention.1.": "hss4.norm.",
    "base.HSS4.conv_h.": "hss4.expand_height.",
    "base.HSS4.conv_w.": "hss4.expand_width.",
    "CSS.mlp.0.": "css.norm.",
    "CSS.mlp.1.": "css.expand.",
    "CSS.mlp.4.": "css.project.",
    "bottleneck.": "neck.",
    "classifier.": "classifier.",
    "DD.visible_classifier.": "distillation.visible.",
    "DD.infrared_classifier.": "distillation.other.",
    "DD.visible_classifier_.weight": "distillation.visible_twin",
    "DD.infrared_classifier_.weight": "distillation.other_twin",
}
PUBLISHED = PublishedNames(
    NAMES,
    unused=r"base\.base\.(conv1|bn1|layer1|layer2|fc)\.|(visible\.visible|thermal\.thermal)\.(layer3|layer4|fc)\.",
)
WRAPPED = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before every name, perhaps twice


def unwrapped(net: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the tensors without what wrappers put before every name."""
    for wrapped in WRAPPED * 2:
        if all(name.startswith(wrapped) for name in net):
            net = {name.removeprefix(wrapped): tensor for name, tensor in net.items()}
    return net


def fits(net: Mapping[str, Tensor], published: PublishedNames) -> bool:
    """Whether these are the names of a method's published checkpoint: all of them are known, and none is missing."""
    names = [name for name in unwrapped(net) if not published.leaves_out(name)]
    found = {published.prefix(name) for name in names}
    return None not in found and len(found) == len(published.names)


def rename(net: Mapping[str, Tensor], path: Path, published: PublishedNames = PUBLISHED) -> dict[str, Tensor]:
    """Return a published state dict in our names, without the tensors that nothing uses. Raises CheckpointError for a
    tensor that the method does not have."""
    state = {}
    for name, tensor in unwrapped(net).items():
        if published.leaves_out(name):
            continue
        prefix = published.prefix(name)
        if prefix is None:
            raise CheckpointError(
                f"{path}: holds {name}, no tensor of the published checkpoints of this method. Is it another model's? "
                "Name another checkpoint"
            )
        state[published.names[prefix] + name[len(prefix) :]] = tensor
    return state
