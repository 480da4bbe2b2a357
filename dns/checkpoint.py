"""Checkpoints: written whole or not at all, read as data and never as code, in our layout and in the published one."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dns.model import DNS

FORMAT, VERSION = "dns-ffcv", 1
KEYS = {
    "format",
    "version",
    "model",
    "optimiser",
    "scaler",
    "epoch",
    "iteration",
    "results",
    "config",
    "generators",
    "size_px",
    "data_sha256",
}

# Published key prefix -> ours. Its base.base.layer1 and layer2 are parameters that nothing uses.
PUBLISHED_NAMES = {
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


class CheckpointError(Exception):
    """A checkpoint that cannot be used; the message names the file, the problem and the next step."""


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write beside `path`, flush to the disk, rename: the old file stands until the new one is whole."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        torch.save({"format": FORMAT, "version": VERSION, **content}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint of ours. Tensors and plain values only (`weights_only`). Raises CheckpointError."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: no such checkpoint. Train first (make train), or name one that exists"
        ) from None
    except Exception as error:  # torch.load raises pickle, zip, runtime, type and attribute errors alike
        raise CheckpointError(
            f"{path}: not a readable checkpoint ({type(error).__name__}): cut short, or another kind of file"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of this program")
    if content.get("version") != VERSION:
        raise CheckpointError(f"{path}: checkpoint version {content.get('version')!r}, this program reads {VERSION}")
    if set(content) != KEYS:
        raise CheckpointError(f"{path}: damaged ({', '.join(sorted(set(content) ^ KEYS))} missing or unknown)")
    return content


def load_model(model: DNS, state: Mapping[str, Tensor], source: Path) -> None:
    """Put `state` into `model`. Raises CheckpointError, and changes nothing, where identities or tensors do not fit."""
    own = model.state_dict()
    identities = own["classifier.weight"].shape[0]
    stored = state.get("classifier.weight")
    if isinstance(stored, Tensor) and stored.ndim == 2 and stored.shape[0] != identities:
        raise CheckpointError(
            f"{source}: made for {stored.shape[0]} training identities, this set has {identities}. "
            "Name the checkpoint of this data set, or convert the set it was trained on"
        )
    wrong = [n for n, t in own.items() if getattr(state.get(n), "shape", None) != t.shape] + sorted(
        set(state) - set(own)
    )
    if wrong:
        raise CheckpointError(f"{source}: does not fit this network ({wrong[0]} and {len(wrong) - 1} other tensors)")
    own.update(state)
    model.load_state_dict(own)


def from_published(net: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published code's state dict (632 keys) in our names; unused tensors and batch-norm counters left out."""
    state = {}
    for name, tensor in net.items():
        prefix = next((prefix for prefix in PUBLISHED_NAMES if name.startswith(prefix)), None)
        if prefix is not None and not name.endswith("num_batches_tracked"):
            state[PUBLISHED_NAMES[prefix] + name[len(prefix) :]] = tensor
    return state


def generator_states() -> dict[str, Any]:
    """States of torch's generators (dropout draws from them)."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def restore_generators(states: Mapping[str, Any]) -> None:
    torch.set_rng_state(states["cpu"])
    if len(states["cuda"]) == torch.cuda.device_count() > 0:
        torch.cuda.set_rng_state_all(states["cuda"])
