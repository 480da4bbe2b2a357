"""Turns the rows of an ablation into runs of train_ffcv.py. Rows that train the same network share their runs."""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dns.ablation.rows import Ablation, Row
from dns.methods import METHODS
from dns.training import repeats
from dns.training.config import given_options, read_config, read_yaml
from dns.training.jobs import Run, single
from dns.training.options import DEFAULT_METHOD, Config, declared
from dns.training.run_folder import CONFIG, finished, first_change, folder_of
from ffcv_convert.common.errors import ConfigError
from pipelines.subset import trials_of

OF_ROWS = ("run.seed", "run.repeats", "data.set", "model.method")  # what the command line cannot set
CONFIGS = Path("configs")


@dataclass(frozen=True)
class Member:
    """A run of a row. run: its name and command line."""

    config: Config
    run: Run

    @property
    def folder(self) -> Path:
        return folder_of(self.config)

    def finished(self) -> bool:
        """Whether it has its result. Raises ConfigError where its folder holds a run with other options."""
        if not finished(self.folder):
            return False
        if change := first_change(_stored(self.folder / CONFIG), self.config):
            raise ConfigError(
                f"{self.folder}: holds a run with {change.key} = {change.before!r}, not {change.now!r}. Set the row "
                "back, rename this folder, or choose another --run.name"
            )
        return True


@dataclass(frozen=True)
class Planned:
    """A row and its runs, one for each seed and, if the set has trials, each trial. same_as: the name of the row above
    it whose runs these are, or ""."""

    row: Row
    members: Sequence[Member]
    same_as: str = ""


def plan(ablation: Ablation, dataset: str, arguments: Sequence[str]) -> list[Planned]:
    """Return the rows with their runs. arguments: options over all rows; those of a row count more.

    A row whose method has no recipe for the set is left out, with a note. Raises ConfigError.
    """
    _check_options(arguments, ablation.path)
    planned: dict[str, Planned] = {}  # by fingerprint
    rows: list[Planned] = []
    for row in _with_recipe(ablation, dataset):
        words = ["--config-file", str(_recipe(row, dataset)), *arguments]
        if rows:  # all are tested alike, whatever their recipes do
            first = rows[0].members[0].config.eval
            words += [f"--eval.protocol={first.protocol}", f"--eval.flip={first.flip}"]
        config = _config(ablation, row, dataset, words)
        key = fingerprint(config)
        if key in planned:
            rows.append(replace(planned[key], row=row, same_as=planned[key].row.name))
            continue
        rows.append(Planned(row, _members(ablation, row, config, [*words, *row.flags()])))
        planned[key] = rows[-1]
    if not rows:
        raise ConfigError(f"{ablation.path}: no row has a recipe for {dataset}. Add one, or choose another data set")
    return rows


def fingerprint(config: Config) -> str:
    """Return the SHA-256 of every option that decides numbers, but the seed."""
    kept: dict[str, Any] = {}
    for section, options in config.stored().items():
        known = declared(section, config.model.method)
        kept |= {f"{section}.{name}": known[name][0].resumed(value) for name, value in options.items()}
    del kept["run.seed"]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def top_folder(rows: Sequence[Planned]) -> Path:
    """Return the folder that holds all runs, the table and the page."""
    run = rows[0].members[0].config.run
    return Path(run.root)


def unfinished(rows: Sequence[Planned]) -> list[Member]:
    """Return the runs that are to be trained, each once: with --run.resume=never, all of them. Raises ConfigError where
    a folder holds a run with other options."""
    own = [member for row in rows if not row.same_as for member in row.members]
    return [member for member in own if member.config.run.resume == "never" or not member.finished()]


def _check_options(arguments: Sequence[str], path: Path) -> None:
    if given := sorted(given_options(arguments).keys() & set(OF_ROWS)):
        raise ConfigError(f"the command line: {given[0]}: rows and seeds stand in {path}, the set is DATASET")


def _with_recipe(ablation: Ablation, dataset: str) -> list[Row]:
    found = []
    for row in ablation.rows:
        recipe = _recipe(row, dataset)
        if row.method != DEFAULT_METHOD and row.method in METHODS and not recipe.exists():
            print(f"note: {ablation.path}: no row {row.name!r}: there is no {recipe}", file=sys.stderr)
        else:
            found.append(row)
    return found


def _recipe(row: Row, dataset: str) -> Path:
    return (CONFIGS if row.method == DEFAULT_METHOD else CONFIGS / row.method) / f"{dataset}.yaml"


def _config(ablation: Ablation, row: Row, dataset: str, words: Sequence[str]) -> Config:
    """Return the configuration of a row's runs, all of them together. Raises ConfigError."""
    read_config(words, description="")  # a mistake in words is not the row's
    try:
        config = read_config([*words, *row.flags()], description="")
    except ConfigError as error:
        told = str(error).removeprefix("the command line: ")
        raise ConfigError(f"{ablation.path}: row {row.name!r}: {told}") from None
    run = config.run
    name = f"ablation-{dataset}" if run.name == "auto" else run.name
    return replace(config, run=replace(run, root=str(Path(run.root) / name)))


def _members(ablation: Ablation, row: Row, config: Config, words: Sequence[str]) -> list[Member]:
    trials = trials_of(config.data.folder)
    members = []
    for seed in ablation.seeds:
        run = replace(config.run, seed=seed, repeats=1, name=f"{row.folder}-seed{seed}")
        for member in repeats.members(replace(config, run=run), trials):
            alone = single([*words, f"--run.root={member.run.root}"], member)
            members.append(Member(member, alone._replace(name=f"{row.name}, {alone.name}")))
    return members


def _stored(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """Return section -> option -> value of a run's config.yaml. Raises ConfigError."""
    sections: dict[str, dict[str, Any]] = {}
    for key, given in read_yaml(path).items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = given.value
    return sections
