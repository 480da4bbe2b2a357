"""Renames the tensors in checkpoints of the published code to our names."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ffcv_convert.common.errors import CheckpointError

# Published key prefix -> ours.
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
WRAPPED = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before every name, perhaps twice
# Layers of whole ResNets, which the published modules hold and never use; and counters.
UNUSED = re.compile(
    r"base\.base\.(conv1|bn1|layer1|layer2|fc)\."
    r"|(visible\.visible|thermal\.thermal)\.(layer3|layer4|fc)\."
    r"|.*\.num_batches_tracked$"
)


def recognised(net: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the names of the methods whose published checkpoints have such keys."""
    return ("dns",) if any(".visible.visible." in f".{name}" for name in net) else ()


def rename(net: Mapping[str, Tensor], path: Path, method: str = "dns") -> dict[str, Tensor]:
    """Return the published state dict in our names, without the tensors that nothing uses. Raises CheckpointError."""
    state = {}
    for wrapped in WRAPPED * 2:
        if all(name.startswith(wrapped) for name in net):
            net = {name.removeprefix(wrapped): tensor for name, tensor in net.items()}
    for name, tensor in net.items():
        if UNUSED.match(name):
            continue
        prefix = next((prefix for prefix in NAMES if name.startswith(prefix)), None)
        if prefix is None:
            raise CheckpointError(
                f"{path}: holds {name}, no tensor of the published DNS. Is it another model's? Name another checkpoint"
            )
        state[NAMES[prefix] + name[len(prefix) :]] = tensor
    return state
