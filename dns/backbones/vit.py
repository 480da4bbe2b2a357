"""Builds timm's vision transformers (Dosovitskiy et al., ICLR 2021), which come with the extra `timm`.

Patch embedding, position embeddings and the first third of the blocks are the stem; the second and the last third are
the stages, the last one with the final norm. The blocks are timm's own, so that its weights load as they are.

The class token is left out: a method pools the map, and its modules between the stages see maps, which have no place
for a token. What blocks learned to take from it they take from the other tokens, or fine-tuning unlearns it. A file of
weights has the token, and its position embedding in the first row; neither is used.
"""

from collections.abc import Iterable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dns.backbones.backbone import Architecture
from ffcv_convert.common.errors import ConfigError, WeightsError

WEIGHTS_FILE = "model.safetensors"  # its name in each of timm's repositories on Hugging Face's hub


class OnMaps(nn.Sequential):
    """Blocks that take tokens, (B, h w, C), as a stage that takes and gives maps, (B, C, h, w)."""

    def forward(self, maps: Tensor) -> Tensor:
        tokens = super().forward(maps.flatten(2).transpose(1, 2))
        return tokens.transpose(1, 2).unflatten(2, maps.shape[2:])


class PatchStem(nn.Module):
    """Patch embedding, position embeddings and blocks: (B, 3, H, W) -> (B, C, H/16, W/16).

    position: (h, w, C), on the grid of the images that the weights were trained with. Images of another size get it
    resized, bicubic with antialias as timm does, by a matrix for each dimension: products have a deterministic gradient
    on every device.
    """

    def __init__(self, patches: nn.Conv2d, position: Tensor, blocks: Iterable[nn.Module]):
        super().__init__()
        self.patches, self.position, self.blocks = patches, nn.Parameter(position), OnMaps(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.patches(images)
        return self.blocks(maps + self.position_on(*maps.shape[2:]).permute(2, 0, 1))

    def position_on(self, height: int, width: int) -> Tensor:
        """Return the position embeddings on a grid, (height, width, C)."""
        own_height, own_width, channels = self.position.shape
        if (own_height, own_width) == (height, width):
            return self.position
        rows, columns = resizing(own_height, height, self.position), resizing(own_width, width, self.position)
        resized = columns @ (rows @ self.position.flatten(1)).view(height, own_width, channels)
        return resized.to(self.position.dtype)  # where autocast rounds products, the sum of both stays exact


def resizing(own: int, wanted: int, like: Tensor) -> Tensor:
    """Return the matrix (wanted, own) that resizes `own` numbers: bicubic with antialias (Keys' kernel, a = -0.5), as
    torch's interpolate. like: has its device and type.

    The device computes it in each forward pass: a captured step may copy nothing from the host.
    """
    scale = own / wanted
    centre = (torch.arange(wanted, device=like.device, dtype=like.dtype) + 0.5) * scale
    place = torch.arange(own, device=like.device, dtype=like.dtype) + 0.5
    apart = (place - centre[:, None]).abs() / max(scale, 1)
    near = (1.5 * apart - 2.5) * apart * apart + 1
    far = ((-0.5 * apart + 2.5) * apart - 4) * apart + 2
    weights = torch.where(apart < 1, near, torch.where(apart < 2, far, 0))
    return weights / weights.sum(dim=1, keepdim=True)


class ViTBackbone:
    """The Backbone in timm's VisionTransformer. Its last maps are signed: a norm ends it."""

    rectified = False

    def __init__(self, network: Any, pooled: bool):
        assert not pooled, "a configuration refuses methods that take a pooled stem"
        third = len(network.blocks) // 3
        first, middle, last = (network.blocks[start : start + third] for start in range(0, 3 * third, third))
        position = network.pos_embed.detach()[0, network.num_prefix_tokens :].clone()
        grid = network.patch_embed.grid_size
        self.stem: nn.Module = PatchStem(network.patch_embed.proj, position.unflatten(0, grid), first)
        self.stages: tuple[nn.Sequential, ...] = (OnMaps(*middle), OnMaps(*last, network.norm))
        self.stem_width: int = network.embed_dim
        self.widths: tuple[int, ...] = (network.embed_dim, network.embed_dim)


def timm_network(name: str) -> nn.Module:
    """Build timm's VisionTransformer for 224 x 224 images, without a classifier. Raises ConfigError without timm."""
    return _timm().create_model(name, pretrained=False, num_classes=0)


def published_file(weights: str) -> Path:
    """Return the file of timm's weights of this name on this machine. Raises WeightsError, and ConfigError without
    timm."""
    repository = _timm().get_pretrained_cfg(weights).hf_hub_id
    from huggingface_hub import hf_hub_download  # not above: timm brings it

    try:
        return Path(hf_hub_download(repository, WEIGHTS_FILE))
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"https://huggingface.co/{repository}: cannot be downloaded ({' '.join(str(error).split())}). Get its "
            f"{WEIGHTS_FILE} and name it (--model.pretrained=PATH), or start from random weights "
            "(--model.pretrained=none)"
        ) from None


def _timm() -> Any:
    if find_spec("timm") is None:
        raise ConfigError(
            "vision transformers are timm's, which is not installed here: .venv/bin/pip install '.[timm]'. Or choose "
            "another --model.architecture"
        )
    import timm  # not above: it is an extra, and takes seconds

    return timm


# Trained on ImageNet-21k, then on ImageNet (Steiner et al., TMLR 2022).
VISION_TRANSFORMERS = {
    name: Architecture(
        partial(timm_network, f"{name}_224"), ViTBackbone, pooled_stem=False, normalisation="half",
        weights={"imagenet": partial(published_file, f"{name}_224.augreg_in21k_ft_in1k")}, unused="cls_token",
        patch_px=16,
    )
    for name in ("vit_base_patch16", "vit_small_patch16", "vit_tiny_patch16")
}  # fmt: skip
