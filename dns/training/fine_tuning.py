"""Starts a network from a trained one of its method: a checkpoint of this program or of the published code, whole or as
tensors alone."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dns import ranks
from dns.backbones import ARCHITECTURES
from dns.backbones.backbone import Backbone
from dns.methods import METHODS
from dns.network import Network, NetworkOptions
from dns.training import published_checkpoint
from dns.training.checkpoint_reader import FETCH_AGAIN
from ffcv_convert.common.errors import CheckpointError, ConfigError, WeightsError

INITIAL = "initial weights"  # their file's name among a checkpoint's digests
WRAPPERS = ("state_dict", "model", "teacher")  # where programs keep the weights, best first


def mappings(content: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the content and the mappings in it, two levels deep, with the keys that lead there; usual ones first."""
    yield "", content
    usual = [key for key in WRAPPERS if key in content]
    for key in (*usual, *(key for key in content if key not in WRAPPERS)):
        if isinstance(content[key], Mapping):
            yield str(key), content[key]
            inside = [(inner, state) for inner, state in content[key].items() if isinstance(state, Mapping)]
            yield from ((f"{key}.{inner}", state) for inner, state in inside)


def trained_tensors(content: object, path: Path, method: str) -> Mapping[str, Any] | None:
    """Return the tensors of the trained network that a file holds, in our names; None where it holds a backbone alone.

    Raises WeightsError for a published one of another method, or with unknown tensors.
    """
    for _, state in mappings(content) if isinstance(content, Mapping) else ():
        names = [name for name in state if isinstance(name, str)]
        if any(name.startswith("visible_stem.") for name in names):
            return state
        if published_checkpoint.is_published({name: state[name] for name in names}):
            try:
                return published_checkpoint.renamed({name: state[name] for name in names}, path, method)
            except CheckpointError as error:
                raise WeightsError(str(error)) from None
    return None


def start_from(model: Network, trained: Mapping[str, Any], options: NetworkOptions, path: Path) -> None:
    """Put what does not depend on the identities into the model. The rest stays as it was drawn: classifiers, and parts
    that only training reads where the file has none. Raises WeightsError where the tensors are of another network or no
    finite numbers. options: the model's."""
    own, trained = model.state_dict(), model.without_unbuilt(trained)
    held = [part for part in model.training_only if any(str(name).startswith(part) for name in trained)]
    drawn = tuple(set(model.training_only) - set(held))
    shapes = _common_shapes(options).items()
    common = {name: shape for name, shape in shapes if name in own and not name.startswith(drawn)}
    if not _has(trained, common) or not trained.keys() <= own.keys():  # a deeper network has more
        unswitched = {name: shape for name, shape in common.items() if not name.startswith(tuple(model.switches))}
        if (switch := model.switch_of(map(str, trained))) and _has(trained, unswitched):
            raise WeightsError(f"{path}: a trained network made with {switch}. Give that option, or name another file")
        raise WeightsError(f"{path}: a trained network whose tensors do not fit {_name(options)}; {_hint(trained)}")
    for name in common:
        if not trained[name].is_floating_point() or not trained[name].float().isfinite().all():
            raise WeightsError(f"{path}: damaged ({name} holds values that are no finite numbers). {FETCH_AGAIN}")
    own.update({name: trained[name] for name in common})  # in place: a new dict would lose the modules' versions
    model.load_state_dict(own)
    ranks.note(
        f"{path}: a trained network: training starts from {len(common)} of its tensors; the "
        f"{len(trained) - len(common)} that were made for its identities are left out"
    )


def _common_shapes(options: NetworkOptions) -> dict[str, torch.Size]:
    """Return name -> shape of a network's tensors that do not depend on the identities."""
    one, two = (_shapes(options, identities) for identities in (1, 2))
    return {name: shape for name, shape in one.items() if shape == two[name]}


def _shapes(options: NetworkOptions, identities: int) -> dict[str, torch.Size]:
    method = METHODS[options.method]
    with torch.device("meta"):
        state = method.network(identities, options, method.loss()).state_dict()
    return {name: tensor.shape for name, tensor in state.items()}


def _fits(trained: Mapping[str, Any], options: NetworkOptions) -> bool:
    """Whether the tensors are this network's, and no deeper one's."""
    return _has(trained, _common_shapes(options)) and trained.keys() <= _shapes(options, 1).keys()


def _has(trained: Mapping[str, Any], shapes: Mapping[str, torch.Size]) -> bool:
    return all(getattr(trained.get(name), "shape", None) == shape for name, shape in shapes.items())


def _name(options: NetworkOptions) -> str:
    return f"method {options.method} on {options.architecture}"


def _hint(trained: Mapping[str, Any]) -> str:
    """Say which network the tensors are of, with its options as they are by default."""
    standing = _standing(trained)
    for name, method in METHODS.items():
        for architecture in standing[method.network.pooled_stem]:
            options = method.model(method=name, architecture=architecture)
            if _fits(trained, options):
                return f"they fit {_name(options)}: --model.method={name} --model.architecture={architecture}"
    return f"damaged? {FETCH_AGAIN}"


def _standing(trained: Mapping[str, Any]) -> dict[bool, list[str]]:
    """Return the architectures that the trained network may stand on, with a pooled stem and without. To build each
    once takes a second; to build every method on each, half a minute."""
    standing: dict[bool, list[str]] = {True: [], False: []}
    for name, row in ARCHITECTURES.items():
        with suppress(ConfigError), torch.device("meta"):  # it may need a library that is not installed
            network = row.network()
            for pooled in (True, False) if row.pooled_stem else (False,):
                if _stands_on(trained, row.backbone(network, pooled)):
                    standing[pooled].append(name)
    return standing


def _stands_on(trained: Mapping[str, Any], backbone: Backbone) -> bool:
    """Whether the stem is this backbone's, and as many tensors have the shapes of its stages'."""
    stem = {f"visible_stem.{name}": tensor.shape for name, tensor in backbone.stem.state_dict().items()}
    stages = Counter(tensor.shape for stage in backbone.stages for tensor in stage.state_dict().values())
    held = Counter(tensor.shape for tensor in trained.values() if isinstance(tensor, Tensor))
    return _has(trained, stem) and stages <= held
