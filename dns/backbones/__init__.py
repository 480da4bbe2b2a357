"""Lists the networks that methods can stand on. To add one, write a class that fits Backbone, and its row below."""

from collections.abc import Mapping

from torch import Tensor

from dns.backbones.backbone import Architecture, Backbone
from dns.backbones.clip import CLIP_RESNETS
from dns.backbones.resnet import RESNETS
from dns.backbones.vit import VISION_TRANSFORMERS

ARCHITECTURES: dict[str, Architecture] = {**RESNETS, **CLIP_RESNETS, **VISION_TRANSFORMERS}
# The names that model.pretrained has for published weights.
PUBLISHED = tuple(dict.fromkeys(name for architecture in ARCHITECTURES.values() for name in architecture.weights))


def build_backbone(architecture: str, weights: Mapping[str, Tensor] | None, *, pooled: bool = False) -> Backbone:
    """Build a backbone. weights: a state dict of the whole network, or None for random ones; pooled: whether the stem
    ends with the pooling, which not every architecture has, or later."""
    chosen = ARCHITECTURES[architecture]
    network = chosen.network()
    if weights is not None:
        network.load_state_dict(weights)
    return chosen.backbone(network, pooled)
