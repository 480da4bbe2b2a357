"""Checkpoints of the published code: `{"net": 632 tensors, "cmc", "mAP", "mINP", "epoch"}`, in our names.

They hold numpy's numbers and arrays beside the tensors; checkpoint.read allows just those.
"""

import operator
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dns import checkpoint
from dns.checkpoint import CheckpointError

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
# A whole ResNet's layers that the published modules hold and never use, and counters.
UNUSED = re.compile(
    r"base\.base\.(conv1|bn1|layer1|layer2|fc)\."
    r"|(visible\.visible|thermal\.thermal)\.(layer3|layer4|fc)\."
    r"|.*\.num_batches_tracked$"
)


def load(path: Path) -> dict[str, Any]:
    """A checkpoint of ours, or a published one as far as testing it needs: model, epoch, results, an empty config.

    Raises CheckpointError for any other file, and for tensors that are not known.
    """
    content = checkpoint.read(path)
    if not isinstance(content, dict) or not isinstance(content.get("net"), Mapping):
        return checkpoint.checked(content, path)
    try:
        epoch = operator.index(content["epoch"])
    except (KeyError, TypeError):
        raise CheckpointError(
            f"{path}: damaged, or another kind of file (no epoch beside its tensors). {checkpoint.AGAIN}"
        ) from None
    net = {str(name): tensor for name, tensor in content["net"].items()}
    return {"model": rename(net, path), "epoch": epoch, "config": {}, "size_px": None, "lists": {}}


def rename(net: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The published state dict in our names, without what nothing uses."""
    state = {}
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
