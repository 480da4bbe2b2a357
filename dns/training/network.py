"""Builds the network that options and a checkpoint describe, and reads the weights that training starts from."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dns import ranks
from dns.backbones import ARCHITECTURES, PUBLISHED
from dns.network import Network
from dns.training.checkpoint import configuration, identities_of, load_model
from dns.training.checkpoint_reader import FETCH_AGAIN, read
from dns.training.config import stored_normalisation
from dns.training.fine_tuning import INITIAL, mappings, start_from, trained_tensors
from dns.training.options import Config
from ffcv_convert.common.errors import CheckpointError, ConfigError, WeightsError

COUNTER = "num_batches_tracked"  # a batch norm's, which files from before PyTorch 0.4 lack


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
    if config.model.pretrained in PUBLISHED:
        _tell_of_normalisation(path, ARCHITECTURES[architecture].normalisation, config)
    content = _content(path)
    trained = trained_tensors(content, path, config.model.method)
    if trained is None:
        return build_network(config, identities, _fitting(content, architecture, path))
    model = build_network(config, identities)
    start_from(model, trained, config.model, path)
    if stored := configuration(content):
        _tell_of_normalisation(path, stored_normalisation(stored), config)
    return model


def _tell_of_normalisation(path: Path, before: str, config: Config) -> None:
    """Say where weights were trained with another normalisation than this training has."""
    if before != config.normalisation_name:
        ranks.note(
            f"{path}: was trained on pixels normalised by {before}; this training normalises by "
            f"{config.normalisation_name}. To keep its own: --augment.normalisation={before}"
        )


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
    check_weights(architecture, pretrained)
    published = ARCHITECTURES[architecture].weights
    if pretrained in published:
        return published[pretrained]()
    return None if pretrained == "none" else Path(pretrained)


def check_weights(architecture: str, pretrained: str) -> None:
    """Raise WeightsError where there are no such weights to start from, see weights_path. Downloads none."""
    published = ARCHITECTURES[architecture].weights
    if pretrained in ("none", *published):
        return
    if pretrained in PUBLISHED:
        own = f"Its own are --model.pretrained={' or '.join(published)}" if published else "None of it are published"
        raise WeightsError(
            f"{architecture} has no weights called {pretrained}. {own}; or add --model.pretrained=none, or name a file"
        )
    path = Path(pretrained)
    if not path.exists():
        raise WeightsError(f"{path}: no such file. --model.pretrained is none, {', '.join(PUBLISHED)} or a path")


def _content(path: Path) -> Any:
    try:
        return read(path)
    except CheckpointError as error:
        raise WeightsError(str(error)) from None


class _Candidate(NamedTuple):
    """Tensors of a file that may be the trunk. where: the entries that hold them, such as state_dict; prefix: that of
    their names, such as backbone.; wrong: names that are missing there or have another shape; more: names of tensors in
    the trunk's modules that it does not have."""

    state: Mapping[str, Tensor]
    where: str
    prefix: str
    wrong: list[str]
    more: list[str]

    def __str__(self) -> str:
        begin = f"that begin with {self.prefix}" if self.prefix else "without a prefix"
        return f"those {begin}{f' in its {self.where}' if self.where else ''}"

    @property
    def faults(self) -> int:
        return len(self.wrong) + len(self.more)


def _fitting(content: object, architecture: str, source: Path) -> dict[str, Tensor]:
    """Return the tensors of a file that the network uses, however they are wrapped and prefixed.

    Raises WeightsError where one is missing or too many, or holds NaN or inf.
    """
    expected = ARCHITECTURES[architecture].network().state_dict()
    if not isinstance(content, Mapping):
        raise WeightsError(f"{source}: holds a {type(content).__name__}, not a state dict of {architecture}")
    used = _used(expected, architecture)
    best = _best(content, used)
    if best is None or best.faults:
        nearest = _nearest(content, architecture, best.faults / len(used) if best else 1)
        raise WeightsError(f"{source}: does not fit {architecture}: {_faults(best, used)}. {nearest}")
    if best.where or best.prefix:
        ranks.note(f"{source}: of its tensors, training starts from {best}")
    weights = {name: best.state[best.prefix + name] for name in used}
    for name, tensor in weights.items():
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise WeightsError(f"{source}: damaged ({name} holds values that are no finite numbers). {FETCH_AGAIN}")
    return {**expected, **weights}


def _used(expected: Mapping[str, Tensor], architecture: str) -> dict[str, Tensor]:
    unused = ARCHITECTURES[architecture].unused
    return {name: tensor for name, tensor in expected.items() if not _is_unused(name, unused)}


def _best(content: Mapping[str, Any], used: Mapping[str, Tensor]) -> _Candidate | None:
    """Return the tensors of a file that come nearest; None where none has the name of one that is used."""
    candidates = (
        _Candidate(state, where, prefix, _wrong(state, prefix, used), _more(state, prefix, used))
        for where, state in mappings(content)
        for prefix in _prefixes(state, used)
    )
    return min(candidates, key=lambda candidate: candidate.faults, default=None)


def _faults(best: _Candidate | None, used: Mapping[str, Tensor]) -> str:
    if best is None:
        return f"holds no {next(iter(used))} under any prefix"
    wrong, more = best.wrong, best.more
    faults = [f"{wrong[0]} is missing or has another shape, as {len(wrong)} of {len(used)} tensors do"] if wrong else []
    faults += [f"it has no place for {more[0]}, one of {len(more)} such tensors"] if more else []
    return f"{'; '.join(faults)}. The nearest tensors are {best}"


def _nearest(content: Mapping[str, Any], architecture: str, least: float) -> str:
    """Say which other architecture the tensors of a file are of, or come nearer to. least: the share of this one's
    tensors that do not fit."""
    nearest = ""
    for name in (name for name in ARCHITECTURES if name != architecture):
        with suppress(ConfigError), torch.device("meta"):  # it may need a library that is not installed
            own = _used(ARCHITECTURES[name].network().state_dict(), name)
            found = _best(content, own)
            if found is not None and found.faults / len(own) < least:
                nearest, least = name, found.faults / len(own)
    if not nearest:
        return "No other --model.architecture comes nearer"
    comes = f"comes nearer: {least:.0%} of its tensors do not fit" if least else "fits"
    return f"--model.architecture={nearest} {comes}"


def _prefixes(state: Mapping[str, Any], used: Mapping[str, Tensor]) -> list[str]:
    """Return what stands before the trunk's names, the most frequent prefix first."""
    found: Counter[str] = Counter()
    for name in (name for name in state if isinstance(name, str)):
        starts = [0, *(place.end() for place in re.finditer(r"\.", name))]
        found.update(name[:start] for start in starts if name[start:] in used)
    return [prefix for prefix, _ in found.most_common()]


def _wrong(state: Mapping[str, Any], prefix: str, used: Mapping[str, Tensor]) -> list[str]:
    return [name for name, tensor in used.items() if getattr(state.get(prefix + name), "shape", None) != tensor.shape]


def _more(state: Mapping[str, Any], prefix: str, used: Mapping[str, Tensor]) -> list[str]:
    """Return the tensors of a file that stand in a module of the network, such as layer3, and have no place there: a
    deeper network's blocks, or other layers."""
    modules = {name.partition(".")[0] for name in used}
    names = (name.removeprefix(prefix) for name in state if isinstance(name, str) and name.startswith(prefix))
    return [
        name for name in names if name.partition(".")[0] in modules and name not in used and not name.endswith(COUNTER)
    ]


def _is_unused(name: str, unused: str) -> bool:
    """Whether nothing uses a tensor: it fits the pattern, or is a counter."""
    return re.match(unused, name) is not None or name.endswith(COUNTER)
