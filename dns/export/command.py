"""Exports a checkpoint into a folder, if it computes what the checkpoint computes."""

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dns.evaluation import results
from dns.evaluation.embedding import compared_width
from dns.export import description, parity, precision
from dns.export.graph import OPSET, ExportedBranch, to_onnx
from dns.export.runtime import ExportedNetwork
from dns.network import Network
from dns.training import checkpoint
from dns.training.config import METHOD, given_options
from dns.training.environment import this_code
from dns.training.options import Config
from dns.training.selection import check_trials, config_for_checkpoint, other_modalities
from dns.training.setup import Opened, decoders, open_content, open_network, start_engine
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.atomic import replacing_folder, write_flushed
from ffcv_convert.common.errors import CheckpointError, ConfigError, DataError
from ffcv_convert.common.world import World
from pipelines import data
from pipelines.subset import trials_of

# What is exported computes in float32 on a CPU, and is compared with PyTorch doing so.
ENGINE = ("--engine.device=cpu", "--engine.precision=fp32", "--engine.channels_last=false", "--engine.compile=false")
NOT_RUN = "the test set is not converted here"
LIBRARIES = ("torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "openvino")
SEED = 0  # draws the calibration's images


@dataclass(frozen=True)
class Wanted:
    """What to export. trial: the checkpoint's where its name holds one, else 0; options: those of eval.py; command: the
    command line, for export.json."""

    checkpoint: Path
    trial: int
    to: Path
    precision: str
    max_loss: float
    options: tuple[str, ...]
    command: str


def export(wanted: Wanted) -> dict[str, Any]:
    """Write the folder and return what its export.json says; a former one stands until it is whole. Raises a UserError,
    and writes nothing, where the numbers differ by more than `parity` allows."""
    if wanted.checkpoint.is_dir():
        raise CheckpointError(f"{wanted.checkpoint}: a folder. Name the checkpoint to export, such as best.pt in a run")
    _check_target(wanted.to)
    options = (*wanted.options, *ENGINE)
    content = checkpoint.load_to_test(wanted.checkpoint, given_options(options).get(METHOD))
    config = config_for_checkpoint(options, content, wanted.trial, "")
    check_trials(config, wanted.checkpoint, [wanted.trial], wanted.trial, trials_of(config.data.folder))
    opened = open_content(wanted.checkpoint, content, config) if _has_test_set(config) else None
    world, engine = (opened.world, opened.engine) if opened else start_engine(config.engine)
    model = opened.model if opened else open_network(wanted.checkpoint, content, config, engine)
    assert isinstance(model, Network)
    tested_px = opened.evaluator.images.size_px if opened else config.data.published_px
    height, width = content["size_px"] or tested_px
    branches = _branches(model, _modalities(config, opened), config)
    made = _networks(wanted, branches, config, world, (height, width))
    about = _about(wanted, config, content, (height, width), model)
    with results.writing(wanted.to), replacing_folder(wanted.to) as unfinished:
        for modality, network in made.items():
            write_flushed(unfinished / description.file_of(modality), network)
        compared = _images(opened, (height, width), list(made))
        about["networks"] = description.of_files(unfinished, list(made))
        exported = ExportedNetwork(unfinished, about, torch.get_num_threads())
        limits = parity.Limits.of(wanted.precision, wanted.max_loss)
        about["parity"] = {
            "images": "random" if opened is None else "of the test set",
            "outputs": parity.of_outputs(unfinished, branches, compared, limits),
            "openvino": parity.openvino_differences(unfinished, compared, limits),
            "protocols": [] if opened is None else parity.of_protocols(opened, exported, limits),
            "not_run": NOT_RUN if opened is None else None,
            "limits": vars(limits),
        }
        write_flushed(unfinished / description.FILE, (json.dumps(about, indent=1, allow_nan=False) + "\n").encode())
    return about


def _check_target(folder: Path) -> None:
    """Raise ConfigError where the folder holds something else than an export, which would be replaced."""
    if not folder.exists():
        return
    own = {description.FILE, *map(description.file_of, Modality)}
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else {folder.name}
    if there and not {description.FILE} <= there <= own:
        raise ConfigError(f"{folder}: is there, and holds more than an exported network. Name another one: --to=FOLDER")


def _has_test_set(config: Config) -> bool:
    return (config.data.folder / ("all.beton" if config.data.trial else "test.beton")).exists()


def _modalities(config: Config, opened: Opened | None) -> list[Modality]:
    """Return visible and the other modality: that of the test set, or without one that of the recipe's protocols,
    infrared where they are not named."""
    if opened is not None:
        return [Modality(number) for number in np.unique(opened.evaluator.test_set.modality_N)]
    return [Modality.VISIBLE, *(other_modalities(config) or {Modality.INFRARED})]


def _branches(model: Network, modalities: Sequence[Modality], config: Config) -> dict[Modality, ExportedBranch]:
    """Return what is exported for each modality."""
    feature, normalisation = config.method.feature, config.normalisation
    return {
        modality: ExportedBranch(model, feature, normalisation, visible=modality == Modality.VISIBLE).eval()
        for modality in modalities
    }


def _networks(
    wanted: Wanted, branches: Mapping[Modality, ExportedBranch], config: Config, world: World, size_px: tuple[int, int]
) -> dict[Modality, bytes]:
    """Return the ONNX file of each modality, in the precision that is wanted."""
    made = {}
    for modality, branch in branches.items():
        print(f"exporting the network of {modality.name.lower()} images", file=sys.stderr)
        network = to_onnx(branch, size_px)
        if wanted.precision == "float16":
            network = precision.to_float16(network)
        if wanted.precision == "int8":
            network = precision.to_int8(network, _training_images(config, world, modality))
        made[modality] = network
    return made


def _training_images(config: Config, world: World, modality: Modality) -> np.ndarray:
    """Return the images that int8 is calibrated on, uint8 (N, H, W, 3). Raises DataError where there are none."""
    images = data.open_test(
        config.data.folder, world, split="train", trial=config.data.trial, styles=config.data.styles, source="stream",
        batch_size=config.eval.batch_size, workers=decoders(config),
    )  # fmt: skip
    own = np.flatnonzero(images.modality_N == modality)
    if not len(own):
        raise DataError(f"{images.path}: has no {modality.name.lower()} images to calibrate int8 on. Leave int8 out")
    chosen = np.random.default_rng(SEED).permutation(own)[: precision.CALIBRATED]
    return np.stack(images.pixels(np.sort(chosen)))


def _images(opened: Opened | None, size_px: tuple[int, int], modalities: list[Modality]) -> dict[Modality, np.ndarray]:
    """Return images to compare outputs on: the first test images of each modality, or noise without a test set."""
    if opened is None:
        return parity.random_images(size_px, modalities)
    images, most = opened.evaluator.images, max(parity.BATCHES)
    rows = {modality: np.flatnonzero(images.modality_N == modality) for modality in modalities}
    return {modality: np.stack(images.pixels(np.resize(own, most))) for modality, own in rows.items()}


def _about(
    wanted: Wanted, config: Config, content: checkpoint.Tested, size_px: tuple[int, int], model: Network
) -> dict[str, Any]:
    """Return what export.json says, but for the files and the parity."""
    width, feature = model.width, config.method.feature
    mean, deviation = map(list, config.normalisation)
    calibrated = None
    if wanted.precision == "int8":
        calibrated = {"images_each": precision.CALIBRATED, "seed": SEED, "weight_bits": precision.weight_bits()}
    found = {
        "format": description.FORMAT, "version": description.VERSION, "size_px": list(size_px), "resize": "lanczos",
        "mean": mean, "deviation": deviation, "precision": wanted.precision, "feature": feature,
        "parts": model.parts, "opset": OPSET,
        "outputs": {"embedding": compared_width(width, feature), "bn": width, "z": width},
        "checkpoint": {
            "file": wanted.checkpoint.name, "sha256": description.digest(wanted.checkpoint),
            "epoch": content["epoch"], "method": config.model.method, "architecture": config.model.architecture,
            "dataset": config.data.set, "identities": content["identities"], "lists": content["lists"],
            "config": content["config"],
        },
        "calibration": calibrated,
        "versions": {**_versions(), **this_code()}, "command": wanted.command,
    }  # fmt: skip
    return {**found, "python": description.usage(found)}


def _versions() -> dict[str, str]:
    found = {}
    for library in LIBRARIES:
        with suppress(PackageNotFoundError):
            found[library] = version(library)
    return found
