"""The network that options and a checkpoint describe, and ImageNet weights to start from."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor

from dns.backbone import ARCHITECTURES
from dns.model import DNS
from dns.training.checkpoint import identities_of, load_model
from dns.training.checkpoint_reader import FETCH_AGAIN, read
from dns.training.options import ModelOptions
from ffcv_convert.common.errors import CheckpointError, WeightsError


def build_network(options: ModelOptions, identities: int, weights: dict[str, Tensor] | None = None) -> DNS:
    return DNS(
        identities,
        architecture=options.architecture,
        weights=weights,
        tau=options.tau,
        dropout=options.dropout,
    )


def trained_network(path: Path, state: Mapping[str, Tensor], options: ModelOptions) -> DNS:
    """The network of a checkpoint's tensors. Raises CheckpointError where they do not fit the options."""
    model = build_network(options, identities_of(state, path))
    load_model(model, state, path)
    return model


def load_initial_weights(architecture: str, pretrained: str) -> dict[str, Tensor] | None:
    """Weights to start from. `pretrained`: none | imagenet (torchvision's IMAGENET1K_V1) | a path to a file like it.

    Raises WeightsError when they cannot be downloaded, read, or do not fit the architecture.
    """
    if pretrained == "none":
        return None
    weights = ARCHITECTURES[architecture].weights
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
                f"{weights.url}: cannot be downloaded ({error}). Put the file at {path}, start from another one "
                "(--model.pretrained=PATH), or from random weights (--model.pretrained=none)"
            ) from None
    if not path.exists():
        raise WeightsError(f"{path}: no such file. --model.pretrained is none, imagenet or a path")
    try:
        return _fitting(read(path), architecture, path)
    except CheckpointError as error:
        raise WeightsError(str(error)) from None


def _fitting(state: object, architecture: str, source: Path) -> dict[str, Tensor]:
    """The tensors of `state` that the network uses. Raises WeightsError where one is missing, or holds NaN or inf."""
    expected = ARCHITECTURES[architecture].network().state_dict()
    if not isinstance(state, Mapping):
        raise WeightsError(f"{source}: holds a {type(state).__name__}, not a state dict of {architecture}")
    used = {name: tensor for name, tensor in expected.items() if not _unused(name)}
    wrong = [name for name, tensor in used.items() if getattr(state.get(name), "shape", None) != tensor.shape]
    if wrong:
        raise WeightsError(f"{source}: does not fit {architecture} ({wrong[0]} and {len(wrong) - 1} others)")
    for name in used:
        tensor = state[name]
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise WeightsError(f"{source}: damaged ({name} holds values that are no finite numbers). {FETCH_AGAIN}")
    return {**expected, **{name: state[name] for name in used}}


def _unused(name: str) -> bool:
    """The classifier is not used, and files from before PyTorch 0.4 lack the counters."""
    return name.startswith("fc.") or name.endswith("num_batches_tracked")
