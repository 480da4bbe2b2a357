"""Reads the rows of an ablation: names, and options over the recipe of a set. configs/ablation.yaml is such a file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dns.training.config import flatten, read_yaml
from dns.training.options import DEFAULT_METHOD, plain
from ffcv_convert.common.errors import ConfigError

# What all rows share, so that none can set it.
OF_ALL = ("run.", "eval.", "engine.device", "data.set", "data.beton_root", "data.trial", "model.method")


@dataclass(frozen=True)
class Row:
    """A row of the table. method: whose recipe it takes; options: section.key -> value over that recipe."""

    name: str
    method: str
    options: Mapping[str, Any]

    @property
    def folder(self) -> str:
        """Return how the folders of its runs begin: without-hss of "without HSS"."""
        return re.sub(r"\W+", "-", self.name.lower()).strip("-")

    def flags(self) -> list[str]:
        """Return the options as a command line has them."""
        texts = {key: plain(tuple(value)) if isinstance(value, list) else value for key, value in self.options.items()}
        return [f"--{key}={str(text).lower() if isinstance(text, bool) else text}" for key, text in texts.items()]


@dataclass(frozen=True)
class Ablation:
    path: Path
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]


def read_ablation(path: Path) -> Ablation:
    """Read the file. What an option may be, its recipe decides. Raises ConfigError."""
    content = {key: given.value for key, given in read_yaml(path).items()}
    if unknown := sorted(content.keys() - {"seeds", "rows"}):
        raise ConfigError(f"{path}: holds {unknown[0]}. It takes seeds and rows, as configs/ablation.yaml shows")
    seeds, listed = content.get("seeds", [0]), content.get("rows")
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds):
        raise ConfigError(f"{path}: seeds = {seeds!r} is no list of integers. Write seeds: [0, 1, 2]")
    if not all(0 <= seed < 2**32 for seed in seeds):
        raise ConfigError(f"{path}: seeds = {seeds!r}: a seed is 0 to {2**32 - 1}. Write seeds: [0, 1, 2]")
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"{path}: seeds = {seeds!r} names a seed twice. Remove it")
    if not isinstance(listed, list) or not listed:
        raise ConfigError(f"{path}: lacks a list of rows. Write them as configs/ablation.yaml does")
    rows = tuple(_row(row, number, path) for number, row in enumerate(listed, start=1))
    folders = [row.folder for row in rows]
    if twice := [row for number, row in enumerate(rows) if row.folder in folders[:number]]:
        raise ConfigError(f"{path}: two rows have runs in {twice[0].folder}-seed{seeds[0]}. Rename {twice[0].name!r}")
    return Ablation(path, tuple(seeds), rows)


def _row(content: Any, number: int, path: Path) -> Row:
    flat = {key: given.value for key, given in flatten(content, "").items()} if isinstance(content, Mapping) else {}
    name, method = flat.pop("name", None), flat.pop("method", DEFAULT_METHOD)
    if not isinstance(name, str) or not re.search(r"\w", name):
        raise ConfigError(f"{path}: row {number} has no name. Write - name: without HSS")
    if not isinstance(method, str):
        raise ConfigError(f"{path}: row {name!r} has method = {method!r}. Name one, or leave it out")
    if unknown := sorted(key for key in flat if "." not in key):
        raise ConfigError(
            f"{path}: row {name!r} sets {unknown[0]}. It takes name, method, and options such as model.hss"
        )
    if given := sorted(key for key in flat if key.startswith(OF_ALL)):
        raise ConfigError(
            f"{path}: row {name!r} sets {given[0]}, which all rows share. Put it into ARGS, seeds into seeds, and the "
            "name of another method into method"
        )
    return Row(name, method, flat)
