"""Builds the network that options and a checkpoint describe, and reads the weights that training starts from."""

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from dns.backbones import ARCHITECTURES, PUBLISHED
from dns.network import Network
from dns.training.checkpoint import identities_of, load_model
from dns.training.checkpoint_reader import FETCH_AGAIN, read
from dns.training.fine_tuning import INITIAL, mappings, start_from, trained_tensors
from dns.training.options import Config
from ffcv_convert.common.errors import CheckpointError, WeightsError


def build_network(config: Config, identities: int, weights: dict[str, Tensor] | None = None) -> Network:
    return config.method.network(identities, config.model, config.loss, weights)


def trained_network(path: Path, state: Mapping[str, Tensor], config: Config) -> Network:
    """Build the network of a checkpoint's tensors. Raises CheckpointError where they do not fit the configuration."""
    model = build_network(config, identities_of(state, path))
    load_model(model, state, path)
    return model


def initial_network(config: Config, identities: int) -> Network:
    """Build the network that training starts from, see ModelOptions.pretrained. Raises WeightsError."""
    architecture, path = config.model.architecture, weights_path(config.model.architecture, config.model.pretrained)
    if path is None:
        return build_network(config, identities)
    content = _content(path)
    trained = trained_tensors(content, path, config.model.method)
    if trained is None:
        return build_network(config, identities, _fitting(content, architecture, path))
    model = build_network(config, identities)
    start_from(model, trained, config.model, path)
    return model


def load_initial_weights(architecture: str, pretrained: str) -> dict[str, Tensor] | None:
    """Load weights of a whole backbone to start from, see weights_path.

    Raises WeightsError when they cannot be downloaded, read, or do not fit the architecture.
    """
    path = weights_path(architecture, pretrained)
    return None if path is None else _fitting(_content(path), architecture, path)


def started_from(pretrained: str) -> dict[str, str]:
    """Return the SHA-256 of the file that a network starts from, by the name that checkpoints have for it; nothing for
    published weights and random ones."""
    if pretrained in ("none", *PUBLISHED):
        return {}
    return {INITIAL: hashlib.sha256(Path(pretrained).read_bytes()).hexdigest()}


def weights_path(architecture: str, pretrained: str) -> Path | None:
    """Return the file of weights to start from. `pretrained`: none | the name of published weights | a path to a file
    that holds the same tensors, perhaps among others and with a prefix, or a trained network.

    Raises WeightsError where it is missing and cannot be downloaded.
    """
    if pretrained == "none":
        return None
    published = ARCHITECTURES[architecture].weights
    if pretrained in published:
        return published[pretrained]()
    if pretrained in PUBLISHED:
        own = f"Its own are --model.pretrained={' or '.join(published)}" if published else "None of it are published"
        raise WeightsError(
            f"{architecture} has no weights called {pretrained}. {own}; or add --model.pretrained=none, or name a file"
        )
    path = Path(pretrained)
    if not path.exists():
        raise WeightsError(f"{path}: no such file. --model.pretrained is none, {', '.join(PUBLISHED)} or a path")
    return path


def _content(path: Path) -> Any:
    try:
        return read(path)
    except CheckpointError as error:
        raise WeightsError(str(error)) from None


class _Candidate(NamedTuple):
    """Tensors of a file that may be the trunk. where: the entries that hold them, such as state_dict; prefix: that of
    their names, such as backbone.; wrong: names that are missing there or have another shape."""

    state: Mapping[str, Tensor]
    where: str
    prefix: str
    wrong: list[str]

    def __str__(self) -> str:
        begin = f"that begin with {self.prefix}" if self.prefix else "without a prefix"
        return f"those {begin}{f' in its {self.where}' if self.where else ''}"


def _fitting(content: object, architecture: str, source: Path) -> dict[str, Tensor]:
    """Return the tensors of a file that the network uses, however they are wrapped and prefixed.

    Raises WeightsError where one is missing, or holds NaN or inf.
    """
    chosen = ARCHITECTURES[architecture]
    expected = chosen.network().state_dict()
    if not isinstance(content, Mapping):
        raise WeightsError(f"{source}: holds a {type(content).__name__}, not a state dict of {architecture}")
    used = {name: tensor for name, tensor in expected.items() if not _is_unused(name, chosen.unused)}
    candidates = [
        _Candidate(state, where, prefix, _wrong(state, prefix, used))
        for where, state in mappings(content)
        for prefix in _prefixes(state, used)
    ]
    if not candidates:
        raise WeightsError(f"{source}: does not fit {architecture}: holds no {next(iter(used))} under any prefix")
    best = min(candidates, key=lambda candidate: len(candidate.wrong))
    if best.wrong:
        raise WeightsError(
            f"{source}: does not fit {architecture}: {best.wrong[0]} is missing or has another shape, as "
            f"{len(best.wrong)} of {len(used)} tensors do. The nearest are {best}. Another --model.architecture?"
        )
    if best.where or best.prefix:
        print(f"note: {source}: of its tensors, training starts from {best}", file=sys.stderr)
    weights = {name: best.state[best.prefix + name] for name in used}
    for name, tensor in weights.items():
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise WeightsError(f"{source}: damaged ({name} holds values that are no finite numbers). {FETCH_AGAIN}")
    return {**expected, **weights}


def _prefixes(state: Mapping[str, Any], used: Mapping[str, Tensor]) -> list[str]:
    """Return what stands before the trunk's names, the most frequent prefix first."""
    names = [name for name in state if isinstance(name, str)]
    found = Counter(name.removesuffix(wanted) for wanted in used for name in names if f".{name}".endswith(f".{wanted}"))
    return [prefix for prefix, _ in found.most_common()]


def _wrong(state: Mapping[str, Any], prefix: str, used: Mapping[str, Tensor]) -> list[str]:
    return [name for name, tensor in used.items() if getattr(state.get(prefix + name), "shape", None) != tensor.shape]


def _is_unused(name: str, unused: str) -> bool:
    """Whether nothing uses a tensor: it fits the pattern, or is a counter, which files from before PyTorch 0.4 lack."""
    return re.match(unused, name) is not None or name.endswith("num_batches_tracked")
