"""Starts a network from a trained DNS: a checkpoint of this program or of the published code, whole or its tensors
alone."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dns import ranks
from dns.backbone import ARCHITECTURES
from dns.losses import LossOptions
from dns.model import DNS, ModelOptions
from dns.published import rename
from dns.training.checkpoint_reader import FETCH_AGAIN
from ffcv_convert.common.errors import CheckpointError, WeightsError

INITIAL = "initial weights"  # their file's name among a checkpoint's digests
WRAPPERS = ("state_dict", "model", "teacher")  # where programs keep the weights, best first
MADE_FOR_IDENTITIES = ("classifier.", "distillation.")


def mappings(content: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the content and the mappings in it, two levels deep, with the keys that lead there; usual ones first."""
    yield "", content
    usual = [key for key in WRAPPERS if key in content]
    for key in (*usual, *(key for key in content if key not in WRAPPERS)):
        if isinstance(content[key], Mapping):
            yield str(key), content[key]
            inside = [(inner, state) for inner, state in content[key].items() if isinstance(state, Mapping)]
            yield from ((f"{key}.{inner}", state) for inner, state in inside)


def trained_dns(content: object, path: Path) -> Mapping[str, Any] | None:
    """Return the tensors of the trained DNS that a file holds, in our names; None where it holds another network.

    Raises WeightsError for one of the published code with unknown tensors.
    """
    for _, state in mappings(content) if isinstance(content, Mapping) else ():
        names = [name for name in state if isinstance(name, str)]
        if any(name.startswith("visible_stem.") for name in names):
            return state
        if any(".visible.visible." in f".{name}" for name in names):
            try:
                return rename({name: state[name] for name in names}, path)
            except CheckpointError as error:
                raise WeightsError(str(error)) from None
    return None


def start_from(model: DNS, trained: Mapping[str, Any], architecture: str, path: Path) -> None:
    """Put what does not depend on the identities into the model: stems, stages, HSS, CSS and neck. The classifiers stay
    as they were drawn. Raises WeightsError where the tensors are of another architecture or no finite numbers."""
    own = model.state_dict()
    kept = [name for name in own if not name.startswith(MADE_FOR_IDENTITIES)]
    if not _fits(trained, own):
        others = [name for name in ARCHITECTURES if _fits(trained, _meta_state(name))]
        hint = f"it is on {others[0]}: --model.architecture={others[0]}" if others else f"damaged? {FETCH_AGAIN}"
        raise WeightsError(f"{path}: a DNS whose tensors do not fit {architecture}; {hint}")
    for name in kept:
        if not trained[name].is_floating_point() or not trained[name].float().isfinite().all():
            raise WeightsError(f"{path}: damaged ({name} holds values that are no finite numbers). {FETCH_AGAIN}")
    own.update({name: trained[name] for name in kept})  # in place: a new dict would lose the modules' versions
    model.load_state_dict(own)
    ranks.note(
        f"{path}: a trained DNS: training starts from {len(kept)} of its tensors (stems, stages, HSS, CSS, neck); the "
        f"{len(trained) - len(kept)} that were made for its identities are left out"
    )


def _fits(trained: Mapping[str, Any], own: Mapping[str, Tensor]) -> bool:
    """Whether a file has each of a network's tensors that does not depend on the identities, in its shape."""
    shapes = {name: tensor.shape for name, tensor in own.items() if not name.startswith(MADE_FOR_IDENTITIES)}
    return all(getattr(trained.get(name), "shape", None) == shape for name, shape in shapes.items())


def _meta_state(architecture: str) -> Mapping[str, Tensor]:
    with torch.device("meta"):
        return DNS(1, ModelOptions(architecture=architecture), LossOptions()).state_dict()
