"""What eval.py tests: which checkpoints, with which configuration, and what a report calls them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dns import config
from dns.checkpoint import CheckpointError
from dns.config import ConfigError
from dns.options import Config
from dns.run import run_path

Values = Mapping[str, Mapping[str, Any]]
PLACEHOLDER = re.compile(r"\{trial\}|\{seed\}")
MOST_RUNS = 1000  # numbers that are tried for a placeholder
RECIPES = Path(__file__).parent.parent / "configs"


def checkpoint_pattern(given: Mapping[str, Any]) -> tuple[Path, int]:
    """What to test: eval.checkpoint, or best.pt of the run that run.name (or data.set and run.seed) means; and the
    trial that was asked for, or 0. Of a run with trials it is the name with {trial} for the number."""
    trial = given.get("data.trial", 0)
    if given.get("eval.checkpoint", "auto") != "auto":
        return Path(given["eval.checkpoint"]), trial
    root, name = given.get("run.root", "runs"), given.get("run.name", "auto")
    run = run_path(root, name, given.get("data.set", "synthetic"), given.get("run.seed", 0), 0)
    whole = (run / "best.pt").exists() or not any(run.glob("trial-*"))
    return (run if whole else run / "trial-{trial}") / "best.pt", trial


def numbered(pattern: Path, trial: int) -> list[tuple[Path, int]]:
    """The checkpoints that `pattern` names, each with its trial, 0 without {trial} in the pattern: the one asked for,
    or those there are. {seed} stands for the seeds of repeated runs."""
    found = PLACEHOLDER.search(str(pattern))
    if not found:
        return [(pattern, 0)]
    of_trials = found[0] == "{trial}"
    paths = [(Path(PLACEHOLDER.sub(str(n), str(pattern))), n if of_trials else 0) for n in range(MOST_RUNS)]
    if trial and of_trials:
        return [(Path(PLACEHOLDER.sub(str(trial), str(pattern))), trial)]
    return [pair for pair in paths if pair[0].exists()] or paths[1:2]


def settings(
    declared: Config, arguments: Sequence[str], content: Mapping[str, Any], trial: int, description: str
) -> Values:
    """The configuration to test `content` with. A checkpoint of ours brings its own, and its network cannot be another;
    a published one takes the recipe of data.set, if no file is named."""
    more = [f"--data.trial={trial}"] if trial else []
    given = config.given(declared, arguments)
    stored = content["config"]
    if not stored and "data.set" in given and not config.split_arguments(arguments)[0]:
        more += ["--config-file", str(RECIPES / f"{given['data.set']}.yaml")]
    base = {name: dict(part) for name, part in stored.items() if name != "engine"}  # which is this machine's own
    for key in ("re_ranking", "export", "checkpoint"):  # asked for anew, or not at all
        base.get("eval", {}).pop(key, None)
    if stored and given.get("data.set", stored["data"]["set"]) != stored["data"]["set"]:
        base["data"].pop("trial", None)  # it is the other set's
    values = config.read(declared, [*arguments, *more], description=description, base=base)
    if not stored:
        return _with_export(values)
    trained, tested = stored["data"], values["data"]
    if trained["set"] == tested["set"] and trained.get("trial", 0) != tested["trial"]:
        raise ConfigError(
            f"the checkpoint was trained on trial {trained.get('trial', 0)}; trial {tested['trial']} would test it on "
            "identities that it has seen. Leave data.trial (make TRIAL=) out"
        )
    if trained["set"] != tested["set"] and "eval.protocols" not in given:
        raise ConfigError(
            f"the checkpoint was trained on {trained['set']}. To test it on {tested['set']}, name the protocols: "
            "--eval.protocols=..., make PROTOCOL=..."
        )
    network = config.stored_section(declared, "model", stored.get("model", {}))
    return {**_with_export(values), "model": {**values["model"], **network}}


def _with_export(values: Values) -> Values:
    if not values["eval"]["export"].endswith((".npz", "none")):
        raise ConfigError(f"eval.export = {values['eval']['export']!r} does not end with .npz")
    return values


def check_trials(values: Values, pattern: Path, numbers: Sequence[int], trial: int, known: Sequence[int]) -> None:
    """Raises CheckpointError where a set with trials (`known`) gets a checkpoint for none of them, or, unasked,
    for some only."""
    if known and not values["data"]["trial"]:
        raise CheckpointError(
            f"{pattern}: {values['data']['set']} has {len(known)} trials. Name this checkpoint's (--data.trial=3, make "
            "TRIAL=3), or put {trial} where the names of all of them differ"
        )
    missing = sorted(set(known) - set(numbers)) if not trial and numbers[0] else []
    if missing:
        raise CheckpointError(
            f"{PLACEHOLDER.sub(str(missing[0]), str(pattern))}: no such checkpoint ({len(missing)} of {len(known)} "
            "trials lack theirs). Train them first, or test one: --data.trial, make TRIAL=..."
        )
    export = values["eval"]["export"]
    if len(numbers) > 1 and "{trial}" not in export and export != "none":
        raise ConfigError(f"eval.export = {export!r}: several runs need {{trial}} in the name")


def describe(path: Path, content: Mapping[str, Any], tested: str) -> str:
    """A checkpoint's name in a report: file, epoch, the set it was trained on if that is not the tested one, and
    that it was chosen on the test set, where it was."""
    file = "/".join(path.parts[-2:]) if path.parent.name.startswith("trial-") else path.name
    name = f"{file}, epoch {content['epoch']}"
    name += (
        f", trained on {trained}" if (trained := content["config"].get("data", {}).get("set", tested)) != tested else ""
    )
    return name + chosen(path)


def chosen(path: Path) -> str:
    """What a report adds for the checkpoints that this program and the published code choose as they train."""
    best = path.name == "best.pt" or path.stem.endswith("_best")
    return ", chosen by rank-1 on the test set" if best else ""


def result_folder(pattern: Path, root: Path, *, ours: bool) -> Path:
    """The run's own folder; for a checkpoint from elsewhere one of its name in `root`."""
    if not ours:
        return root / PLACEHOLDER.sub("all", pattern.stem)
    return next(folder for folder in pattern.parents if not PLACEHOLDER.search(str(folder)))
