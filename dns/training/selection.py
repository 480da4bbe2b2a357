"""Decides what eval.py tests: which checkpoints, with which configuration, and what a report calls them."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dns import ranks
from dns.backbones import ARCHITECTURES, PUBLISHED
from dns.evaluation.protocols import PROTOCOLS, fitting
from dns.evaluation.trial import TestSet
from dns.option import device_type
from dns.training.checkpoint import Tested, Trained, is_ours
from dns.training.config import (
    METHOD,
    Stored,
    given_options,
    method_of,
    read_config,
    split_arguments,
    stored_model,
    stored_normalisation,
)
from dns.training.fine_tuning import INITIAL
from dns.training.options import DEFAULT_METHOD, Config, EvalOptions
from dns.training.run_folder import run_path
from ffcv_convert.beton.labels import STYLES, Modality
from ffcv_convert.common.errors import CheckpointError, ConfigError, DataError, ReportError
from ffcv_convert.common.paths import can_write
from pipelines.epoch_plan import images_a_step

PLACEHOLDER = re.compile(r"\{trial\}|\{seed\}")
MOST_RUNS = 1000  # numbers that are tried for a placeholder
CONFIG_FOLDER = Path(__file__).parents[2] / "configs"


def checkpoint_pattern(given: Mapping[str, Any]) -> tuple[Path, int]:
    """Return the checkpoint to test: eval.checkpoint, or best.pt of the run that run.name (or data.set, model.method
    and run.seed) names, with {trial} for the number where the run has trials. And the trial that was asked for, or 0.
    """
    trial = given.get("data.trial", 0)
    if given.get("eval.checkpoint", "auto") != "auto":
        return Path(given["eval.checkpoint"]), trial
    root, name = given.get("run.root", "runs"), given.get("run.name", "auto")
    set_and_method = given.get("data.set", "synthetic"), given.get(METHOD, DEFAULT_METHOD)
    run = run_path(root, name, *set_and_method, given.get("run.seed", 0), 0)
    whole = (run / "best.pt").exists() or not any(run.glob("trial-*"))
    return (run if whole else run / "trial-{trial}") / "best.pt", trial


def expand_pattern(pattern: Path, trial: int) -> list[tuple[Path, int]]:
    """Return the checkpoints that `pattern` names, each with its trial (0 if the pattern has no {trial}): the trial
    that was asked for, or every file that exists. {seed} stands for the seeds of repeated runs."""
    found = PLACEHOLDER.search(str(pattern))
    if not found:
        return [(pattern, 0)]
    of_trials = found[0] == "{trial}"
    paths = [(Path(PLACEHOLDER.sub(str(n), str(pattern))), n if of_trials else 0) for n in range(MOST_RUNS)]
    if trial and of_trials:
        return [(Path(PLACEHOLDER.sub(str(trial), str(pattern))), trial)]
    return [pair for pair in paths if pair[0].exists()] or paths[1:2]


def config_for_checkpoint(arguments: Sequence[str], content: Tested, trial: int, description: str) -> Config:
    """Return the configuration to test `content` with. A checkpoint of this program brings its own, and its network
    cannot be changed; a published one takes its method's recipe of data.set, unless --config-file names another."""
    given, stored = given_options(arguments), content["config"]
    if given.get(METHOD, method_of(stored)) != method_of(stored):
        raise ConfigError(
            f"{METHOD} = {given[METHOD]}, but the checkpoint is of {method_of(stored)}. Leave it (make METHOD=) out, "
            "or name another checkpoint"
        )
    more = [f"--data.trial={trial}"] if trial else []
    if not is_ours(stored):
        more += _published_recipe(arguments, given, method_of(stored))
    config = read_config([*arguments, *more], description=description, base=_base(stored, given))
    if not config.eval.export.endswith((".npz", "none")):
        raise ConfigError(f"eval.export = {config.eval.export!r} does not end with .npz")
    if not is_ours(stored):
        return config
    _check_trial(stored, config)
    if "eval.protocols" not in given:
        config = _with_fitting_protocols(stored, config)
    trained = replace(config.augment, normalisation=stored_normalisation(stored))
    return replace(config, model=stored_model(stored, config.model), augment=trained).with_normalisation()


def _published_recipe(arguments: Sequence[str], given: Mapping[str, Any], method: str) -> list[str]:
    """Return the arguments that name the recipe of a published checkpoint, which brings no configuration."""
    if "data.set" not in given:
        raise ConfigError(
            "the checkpoint does not say which data set it is for, as those of the published code do not. Name the "
            "set to test it on: --data.set=llcm, make eval DATASET=llcm"
        )
    if split_arguments(arguments)[0]:
        return []
    folder = CONFIG_FOLDER if method == DEFAULT_METHOD else CONFIG_FOLDER / method
    return ["--config-file", str(folder / f"{given['data.set']}.yaml")]


def _base(stored: Stored, given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a checkpoint's configuration decides where nothing else is given."""
    base = {name: dict(part) for name, part in stored.items() if name != "engine"}  # that section is this machine's own
    trained_by, device = stored.get("engine", {}), str(given.get("engine.device", "auto"))
    device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if device_type(trained_by.get("device", "")) == device_type(device):
        # Convolutions round otherwise in another layout: this one gives the numbers that the run ended with.
        base["engine"] = {name: value for name, value in trained_by.items() if name == "channels_last"}
    for key in ("re_ranking", "export", "checkpoint"):  # asked for each time, or not at all
        base.get("eval", {}).pop(key, None)
    trained_on = stored["data"]["set"] if is_ours(stored) else ""
    if trained_on and given.get("data.set", trained_on) != trained_on:
        base["data"].pop("trial", None)  # that trial is the other set's
    return base


def _check_trial(stored: Stored, config: Config) -> None:
    """Raise ConfigError for another trial of the set than the one that was trained on."""
    trial_trained = stored["data"].get("trial", 0)
    if stored["data"]["set"] == config.data.set and trial_trained != config.data.trial:
        raise ConfigError(
            f"the checkpoint was trained on trial {trial_trained}; trial {config.data.trial} would test it on "
            "identities that it has seen. Leave data.trial (make TRIAL=) out"
        )


def _with_fitting_protocols(stored: Stored, config: Config) -> Config:
    """Let the test images decide the protocols of a set of one's own, for which none is published, unless the run was
    trained with named ones. Raises ConfigError where another set is tested than was trained on."""
    trained_on = stored["data"]["set"]
    if config.data.set == "custom":
        if trained_on == "custom" and config.eval.protocols != ("auto",):
            return config
        return replace(config, eval=replace(config.eval, protocols=("auto",), protocol="auto"))
    if trained_on != config.data.set:
        raise ConfigError(
            f"the checkpoint was trained on {trained_on}. To test it on {config.data.set}, name the protocols: "
            "--eval.protocols=..., make PROTOCOL=..."
        )
    return config


def protocols_of(options: EvalOptions, test_set: TestSet) -> list[str]:
    """Return the protocols that eval.py reports, each once, with every "auto" resolved."""
    chosen: list[str] = []
    for name in options.protocols:
        name = options.protocol if name == "auto" else name
        chosen += fitting(test_set) if name == "auto" else [name]
    return list(dict.fromkeys(chosen))


def other_modalities(config: Config) -> set[Modality]:
    """Return what the recipe's protocols compare with visible images; empty where it names none, as for a set of one's
    own."""
    named = [PROTOCOLS[name] for name in (config.eval.protocol, *config.eval.protocols) if name in PROTOCOLS]
    return {modality for one in named for modality in (one.query, one.gallery)} - {Modality.VISIBLE}


def check_trials(config: Config, pattern: Path, numbers: Sequence[int], trial: int, known: Sequence[int]) -> None:
    """Raise CheckpointError where a set has trials (`known`) and the checkpoint is for none of them, or, unless one
    trial was asked for, where some trials have no checkpoint."""
    if known and not config.data.trial:
        raise CheckpointError(
            f"{pattern}: {config.data.set} has {len(known)} trials. Name this checkpoint's (--data.trial=3, make "
            "TRIAL=3), or put {trial} where the names of all of them differ"
        )
    missing = sorted(set(known) - set(numbers)) if not trial and numbers[0] else []
    if missing:
        raise CheckpointError(
            f"{PLACEHOLDER.sub(str(missing[0]), str(pattern))}: no such checkpoint ({len(missing)} of {len(known)} "
            "trials lack theirs). Train them first, or test one: --data.trial, make TRIAL=..."
        )
    export = config.eval.export
    if len(numbers) > 1 and "{trial}" not in export and export != "none":
        raise ConfigError(f"eval.export = {export!r}: several runs need {{trial}} in the name")


def describe(path: Path, content: Trained, tested: str) -> str:
    """Return a checkpoint's name in a report: file, epoch, the set it was trained on if that is not the tested one, and
    that it was chosen on the test set, where it was."""
    file = "/".join(path.parts[-2:]) if path.parent.name.startswith("trial-") else path.name
    name = f"{file}, epoch {content['epoch']}"
    trained = content["config"].get("data", {}).get("set", tested)
    if trained == tested:
        return name + how_chosen(path)
    return f"{name}, trained on {trained}" + how_chosen(path, f"{trained}'s")


def training_setup(stored: Stored, digests: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return how a network was trained, for rows in reports. stored: its configuration; a published one has none;
    digests: those of what it was trained on, see TrainingState."""
    if not is_ours(stored):
        return {}
    start = stored.get("model", {}).get("pretrained", "imagenet")
    digest = (digests or {}).get(INITIAL, "unknown")
    file = {} if start in ("none", *PUBLISHED) else {"started_from": f"{Path(start).name}, SHA-256 {digest}"}
    data, optim, processes = stored["data"], stored["optim"], stored["run"].get("ranks", 1) or 1
    accumulate = optim.get("accumulate", 1)
    return {
        "world": processes,
        "images_a_step": images_a_step(data["persons"], data["pictures"], accumulate=accumulate, ranks=processes),
        "scale_lr": optim.get("scale_lr", "none"),
        **file,
    }


def dataset_label(name: str, config: Config) -> str:
    """Return a data set's name in a report, with the artists where not all of them are trained on and tested."""
    styles = f", styles {config.data.styles} tested on {config.eval.styles}"
    return name + (styles if config.data.styles + config.eval.styles != 2 * STYLES else "")


def how_chosen(path: Path, whose: str = "the") -> str:
    """Return a report's remark on best checkpoints: this program and the published code choose them on the test set."""
    best = path.name == "best.pt" or path.stem.endswith("_best")
    return f", chosen by rank-1 on {whose} test set" if best else ""


def result_folder(pattern: Path, root: Path, *, ours: bool) -> Path:
    """Return where results are written: the run's own folder; for a checkpoint from elsewhere, and for one in a folder
    that cannot be written, a folder of its name in `root`. Raises ReportError where that cannot be written either."""
    elsewhere = root / PLACEHOLDER.sub("all", pattern.name if pattern.is_dir() else pattern.stem)
    if ours:
        own = next(folder for folder in pattern.parents if not PLACEHOLDER.search(str(folder)))
        if can_write(own):
            return own
        elsewhere = root / f"{own.absolute().name}-{elsewhere.name}"
        ranks.note(f"{own} cannot be written: results go to {elsewhere}")
    if not can_write(elsewhere):
        raise ReportError(f"{elsewhere}: cannot be written. Name another folder for results: --run.root=FOLDER")
    return elsewhere


def check_export(export: str) -> None:
    """Raise ReportError where eval.export names a file in a folder that cannot be written."""
    if export != "none" and not can_write(Path(export).parent):
        raise ReportError(f"{export}: cannot be written. Name another file: --eval.export=FILE.npz")


def check_training(path: Path, content: Tested, dataset: str, training: tuple[str, int] | None) -> None:
    """Raise CheckpointError where a checkpoint was trained on other images of `dataset` than are now for training: the
    network may know the test images. Notes another number of identities. training: digest of the training part as it is
    now, and its identities; None if it is not here, which testing does not need."""
    if training is None:
        return
    digest, known = training
    ours = content["config"].get("data", {}).get("set") == dataset
    if ours and content["lists"].get("training set", digest) != digest:
        raise CheckpointError(
            f"{path}: was trained on other images than {dataset} has for training now, and may know "
            "those that it would be tested on. Convert the set again from the lists that it was trained with"
        )
    trained = content["identities"]
    if known != trained:
        print(f"note: {path} was trained on {trained} identities, {dataset} trains on {known}: "
              "is it another set's?", file=sys.stderr)  # fmt: skip


def check_size(
    path: Path, content: Tested, beton: Path, size_px: tuple[int, int], published_px: tuple[int, int]
) -> None:
    """Raise DataError unless the checkpoint was trained on images of the test images' height and width. A published
    checkpoint does not say: its network takes any, and a note names the size that it was trained on, published_px."""
    if content["size_px"] is not None:
        check_same_size(str(path), content["size_px"], beton, size_px)
    elif size_px != published_px:
        print(f"note: {path} is of the published code, which trains on {published_px[0]} x {published_px[1]} px; the "
              f"set has {size_px[0]} x {size_px[1]}", file=sys.stderr)  # fmt: skip


def check_same_size(trained: str, trained_px: Sequence[int], beton: Path, size_px: tuple[int, int]) -> None:
    """Raise DataError unless `trained` (a name) has images of the height and width of the test images in `beton`."""
    if tuple(trained_px) != size_px:
        raise DataError(
            f"{beton}: {size_px[0]} x {size_px[1]} px images, but {trained} has {trained_px[0]} x {trained_px[1]}. "
            f"Convert the set again: make data DATASET={beton.parent.name} "
            f"ARGS='--height-px {trained_px[0]} --width-px {trained_px[1]}'"
        )


def check_patches(architecture: str, beton: Path, size_px: tuple[int, int]) -> None:
    """Raise DataError for images that the architecture cannot cut into whole patches."""
    patch = ARCHITECTURES[architecture].patch_px
    height, width = (max(patch, round(side / patch) * patch) for side in size_px)
    if (height, width) != tuple(size_px):
        raise DataError(
            f"{beton}: {size_px[0]} x {size_px[1]} px images, which {architecture} cannot cut into patches of {patch} "
            f"x {patch}. Convert the set to multiples of {patch}: make data DATASET={beton.parent.name} "
            f"ARGS='--height-px {height} --width-px {width}'"
        )
