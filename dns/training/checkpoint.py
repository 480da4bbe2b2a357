"""Writes checkpoints whole or not at all, and reads them as data and never as code."""

import operator
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, cast, get_type_hints

import torch
from torch import Tensor

from dns.export import description
from dns.network import Network
from dns.training import published_checkpoint
from dns.training.checkpoint_reader import FETCH_AGAIN, read
from ffcv_convert.common.atomic import replacing
from ffcv_convert.common.errors import CheckpointError, after_failed_write

FORMAT, VERSION = "dns-ffcv", 1


class Trained(TypedDict):
    """What every checkpoint holds. model: a state dict; epoch: how many are complete; config: see Config.stored,
    `model.method` alone where the published code wrote it; size_px: height and width of the images; lists: digests of
    the data."""

    model: dict[str, Tensor]
    epoch: int
    config: dict[str, dict[str, Any]]
    size_px: list[int] | None
    lists: dict[str, str]


class Tested(Trained):
    """What testing needs. file: the checkpoint's own name; identities: how many it was trained on; model: empty where
    the network was exported."""

    file: str
    identities: int


class Checkpoint(Trained):
    """What a run goes on from, see TrainingState.save. ranks: `statistics`, those of each rank if there are several;
    code: what trained it, see TrainingState."""

    format: str
    version: int
    optimiser: dict[str, Any]
    scaler: dict[str, Any]
    iteration: int
    results: dict[str, int | float]
    ranks: dict[str, Tensor]
    data_sha256: str
    code: list[dict[str, Any]]


KEYS = set(get_type_hints(Checkpoint))
ADDED: dict[str, Any] = {"lists": {}, "ranks": {}, "code": []}  # what older checkpoints lack
DROPPED = {"generators"}  # what older ones hold: dropout drew from the states of torch's generators


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write beside `path`, flush to the disk, rename: the old file stands until the new one is whole.

    Raises CheckpointError where the disk is full or fails, or another process writes it.
    """
    try:
        with replacing(path) as file:
            torch.save({"format": FORMAT, "version": VERSION, **content}, file)
    except (OSError, RuntimeError) as error:
        cause = error.__context__ or error  # torch.save raises its own RuntimeError over the cause
        if not isinstance(cause, OSError):
            raise cause from None
        before = "; the one before it stands" if path.exists() else ""
        raise CheckpointError(
            f"{path}: could not be written ({cause.strerror}){before}. {after_failed_write(cause)}"
        ) from None


def load(path: Path) -> Checkpoint:
    """Read a checkpoint of ours. Raises CheckpointError."""
    content = read(path)
    if isinstance(content, dict) and "net" in content:
        raise CheckpointError(
            f"{path}: a checkpoint of the published code: eval.py can test it, but training cannot go on from it (it "
            "holds no optimiser). Set it aside: --run.resume=never, make RESUME=never"
        )
    return checked(content, path)


def load_to_test(path: Path, method: str | None = None) -> Tested:
    """Read what testing needs of a checkpoint of ours or of the published code, or of an exported network's folder.

    The published ones are `{"net": tensors, "cmc", "mAP", "mINP", "epoch"}`, with numpy's numbers and arrays beside the
    tensors. method: whose a published one is, where its keys do not tell. Raises CheckpointError for any other file,
    for tensors that are not known, and where several methods have such tensors.
    """
    if path.is_dir():
        return _exported(path)
    content = read(path)
    if not isinstance(content, dict) or not isinstance(content.get("net"), Mapping):
        return _to_test(checked(content, path), path)
    try:
        epoch = operator.index(content["epoch"])
    except (KeyError, TypeError):
        raise CheckpointError(
            f"{path}: damaged, or another kind of file (no epoch beside its tensors). {FETCH_AGAIN}"
        ) from None
    net = {str(name): tensor for name, tensor in content["net"].items()}
    method = method or published_checkpoint.method_of(net, path)
    model = published_checkpoint.renamed(net, path, method)
    config = {"model": {"method": method}}
    return _to_test({"model": model, "epoch": epoch, "config": config, "size_px": None, "lists": {}}, path)


def _exported(folder: Path) -> Tested:
    content = description.read(folder)
    source = content["checkpoint"]
    if not _is_configuration(source["config"]) and source["config"] != {"model": {"method": source["method"]}}:
        raise CheckpointError(f"{folder / description.FILE}: damaged (config of another type). {description.AGAIN}")
    return {
        "model": {}, "epoch": source["epoch"], "config": source["config"], "size_px": content["size_px"],
        "lists": source["lists"], "file": source["file"], "identities": source["identities"],
    }  # fmt: skip


def _to_test(content: Trained, path: Path) -> Tested:
    kept = {key: content[key] for key in get_type_hints(Trained)}  # type: ignore[literal-required]
    return cast(Tested, {**kept, "file": path.name, "identities": identities_of(content["model"], path)})


def is_ours(stored: Mapping[str, Any]) -> bool:
    """Whether a program of this project wrote the checkpoint that has this configuration."""
    return "data" in stored


def checked(content: Any, path: Path) -> Checkpoint:
    """Return `content` if it is a checkpoint of ours. Raises CheckpointError."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: not a checkpoint of this program or of the published code, which "
            "saves {'net': ..., 'epoch': ...}. Name one of these"
        )
    version = content.get("version")
    if type(version) is not int:
        raise CheckpointError(f"{path}: damaged (its version is no number). {FETCH_AGAIN}")
    if version != VERSION:
        raise CheckpointError(
            f"{path}: checkpoint version {version}, this program reads {VERSION}. "
            "Use the program that wrote it, or train again"
        )
    content = {**ADDED, **{key: value for key, value in content.items() if key not in DROPPED}}
    if set(content) != KEYS:
        raise CheckpointError(
            f"{path}: damaged ({', '.join(sorted(map(str, set(content) ^ KEYS)))} missing or unknown). {FETCH_AGAIN}"
        )
    kinds = {
        **dict.fromkeys(("model", "optimiser", "scaler", "ranks", "results", "lists"), dict),
        **{"epoch": int, "iteration": int, "size_px": list, "data_sha256": str, "code": list},
    }
    wrong = [name for name, kind in kinds.items() if type(content[name]) not in (kind, OrderedDict)]
    if not wrong and not _numbers(content["epoch"], content["iteration"], *content["size_px"]):
        wrong = ["epoch, iteration or size_px"]
    if not wrong and not _numbers(*content["results"].values()):
        wrong = ["results"]
    if not wrong and not all(isinstance(digest, str) for digest in content["lists"].values()):
        wrong = ["lists"]
    if not wrong and not all(map(_is_code, content["code"])):
        wrong = ["code"]
    if not _is_configuration(content["config"]):
        wrong.append("config")
    if wrong:
        raise CheckpointError(f"{path}: damaged ({', '.join(wrong)} of another type). {FETCH_AGAIN}")
    return cast(Checkpoint, content)


def _numbers(*values: Any) -> bool:
    return all(isinstance(value, (int, float)) and value >= 0 for value in values)


def _is_code(content: Any) -> bool:
    """Whether `content` names some code, see environment.this_code, and since when it trained."""
    if not isinstance(content, dict) or set(content) != {"commit", "modified", "sources", "epoch", "iteration"}:
        return False
    names = all(isinstance(content[key], str) and content[key].isalnum() for key in ("commit", "sources"))
    places = all(type(content[key]) is int and content[key] >= 0 for key in ("epoch", "iteration"))
    return names and places and (content["modified"] is None or type(content["modified"]) is bool)


def _is_configuration(content: Any) -> bool:
    """Whether `content` is sections of plain values, the data set's name among them."""
    if not isinstance(content, dict) or not all(isinstance(section, dict) for section in content.values()):
        return False
    plain = (isinstance(value, (str, int, float)) for section in content.values() for value in section.values())
    return "set" in content.get("data", ()) and all(plain)


def configuration(content: Any) -> dict[str, dict[str, Any]] | None:
    """Return the configuration in what a file holds; None where it is no checkpoint of ours."""
    found = content.get("config") if isinstance(content, Mapping) else None
    return found if _is_configuration(found) else None


def identities_of(state: Mapping[str, Tensor], path: Path) -> int:
    """Count the training identities that a network's tensors were made for. Raises CheckpointError."""
    classifier = state.get("classifier.weight")
    if not isinstance(classifier, Tensor) or classifier.ndim != 2:
        raise CheckpointError(f"{path}: does not hold a trained network (no classifier.weight). {FETCH_AGAIN}")
    return len(classifier)


def load_model(model: Network, state: Mapping[str, Tensor], source: Path) -> None:
    """Put `state` into `model`, see Network.without_unbuilt.

    Raises CheckpointError, and changes nothing, where identities or tensors do not fit.
    """
    own, state = model.state_dict(), model.without_unbuilt(state)
    identities = own["classifier.weight"].shape[0]
    stored = state.get("classifier.weight")
    if isinstance(stored, Tensor) and stored.ndim == 2 and stored.shape[0] != identities:
        raise CheckpointError(
            f"{source}: made for {stored.shape[0]} training identities, this set has {identities}. "
            "Name the checkpoint of this data set, or convert the set it was trained on"
        )
    fits = [n for n, t in own.items() if isinstance(state.get(n), Tensor) and _alike(state[n], t)]
    wrong = sorted(map(str, {*own, *state} - {*fits}))
    if wrong and (switch := model.switch_of(map(str, state))):
        raise CheckpointError(
            f"{source}: does not fit this network ({wrong[0]} and {len(wrong) - 1} other tensors): it was made with "
            f"{switch}. Give that option, or name another checkpoint"
        )
    if wrong:
        raise CheckpointError(
            f"{source}: does not fit this network ({wrong[0]} and {len(wrong) - 1} other tensors). "
            "Name another checkpoint, or the network it was made for: --model.architecture"
        )
    own.update(state)
    model.load_state_dict(own)


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.is_floating_point() == other.is_floating_point()
