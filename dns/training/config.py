"""Reads the configuration: defaults, then YAML recipes, then the command line; everything else is refused.

fastargs by itself drops unknown YAML keys, exits 0 on bad values and lets environment variables beat the command line.
So it resolves what options.py declares, and this module reads: every value is checked where it was written.
"""

import difflib
import reprlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from fastargs import Param, Section
from fastargs.config import Config as Fastargs
from terminaltables import AsciiTable

from dns.training.checkers import checker_of
from dns.training.options import SECTIONS, Config, ModelOptions, declared
from ffcv_convert.common.errors import ConfigError, printable, user_errors
from ffcv_convert.common.paths import expanded

REQUIRED = "(required)"
GONE = {"engine.cooperative_reductions"}  # options of earlier versions, which their recipes and runs still name
Stored = Mapping[str, Mapping[str, Any]]  # section -> option -> plain value, of Config.stored


class Given(NamedTuple):
    value: Any
    source: str


class _Loader(yaml.SafeLoader):
    """A safe YAML loader for which a key given twice is an error; PyYAML's lets the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"{', '.join(sorted(twice))} given twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def declare() -> Fastargs:
    """Return a fresh fastargs configuration of every section and option."""
    fresh = Fastargs()
    for name, section in SECTIONS.items():
        params = {}
        for key, (option, kind, default) in declared(name).items():
            given = {"required": True} if default is MISSING else {"default": default}
            params[key] = Param(checker_of(option, kind), option.help, **given)
        Section(name, section.__doc__, fresh).params(**params)
    return fresh


@cache
def _options() -> dict[str, Param]:
    """Return section.key -> what fastargs knows of it."""
    return {".".join(path): param for path, param in declare().entries.items()}


def read_config(arguments: Sequence[str], *, description: str, base: Stored | None = None) -> Config:
    """Return the configuration of files and command line. `base` holds values weaker than both.

    Raises ConfigError. `--help` prints every section and leaves with code 0.
    """
    if split_arguments(arguments)[0] is None:
        print(help_text(description))
        raise SystemExit(0)
    stored = flatten(base or {}, "the checkpoint's configuration")
    for key in sorted(stored.keys() - _options().keys() - GONE):
        shown = printable(key[:200], newlines=False)
        unknown = f"the checkpoint's configuration has {shown}, an option of another version"
        print(f"note: {unknown}: ignored", file=sys.stderr)
    values_given = {key: found for key, found in stored.items() if key in _options()} | _given(arguments)
    values = {key: _checked(key, *found) for key, found in values_given.items()}
    for key, param in _options().items():
        if param.required and key not in values:
            raise ConfigError(f"{key} is missing ({param.desc}). Name a recipe: --config-file configs/llcm.yaml")
    resolved = declare()
    resolved.collect(values)
    return Config(
        **{
            name: section(**{key: resolved[(name, key)] for key in declared(name)})
            for name, section in SECTIONS.items()
        }
    )


def split_arguments(arguments: Sequence[str]) -> tuple[list[str] | None, dict[str, str]]:
    """Return YAML files and `--section.key=value` (or `--section.key value`) pairs; files is None if help is wanted."""
    files: list[str] = []
    flags: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word in ("-h", "--help"):
            return None, {}
        if not word.startswith("-"):
            raise ConfigError(f"the command line: {word!r} is no option. Options look like --optim.lr=0.1")
        name, equals, value = word.lstrip("-").partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ConfigError(f"the command line: --{name} has no value. Write --{name}=VALUE; --help lists all")
            value = rest.pop(0)
        if name in ("config-file", "C"):
            files.append(expanded(value))
        else:
            flags[name] = value
    return files, flags


def given_options(arguments: Sequence[str]) -> dict[str, Any]:
    """Return what files and command line set, section.key -> value. Raises ConfigError."""
    return {key: _checked(key, *found) for key, found in _given(arguments).items()}


def option_sources(arguments: Sequence[str]) -> dict[str, str]:
    """Return section.key -> the file that set it, or the command line. Raises ConfigError."""
    return {key: found.source for key, found in _given(arguments).items()}


def _given(arguments: Sequence[str]) -> dict[str, Given]:
    files, flags = split_arguments(arguments)
    found: dict[str, Given] = {}
    for file in files or []:
        found |= read_yaml(Path(file))
    found |= {key: Given(value, "the command line") for key, value in flags.items()}
    for key in [key for key in GONE if key in found and key not in flags]:
        print(f"note: {found.pop(key).source}: {key} is an option of an earlier version: ignored", file=sys.stderr)
    return {_known(key, given.source): given for key, given in found.items()}


def read_yaml(path: Path) -> dict[str, Given]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        found = flatten(content, str(path)) if isinstance(content, dict) else None
    except FileNotFoundError:
        there = sorted(file.stem for file in Path(path.parent).glob("*.yaml"))
        near = difflib.get_close_matches(path.stem.lower(), there, 1, 0.6)
        hint = f" Did you mean {path.parent / near[0]}.yaml?" if near else ""
        if there and not near:
            hint = f" There are {', '.join(there)}; for a set of your own copy {path.parent / 'custom.yaml'}"
        raise ConfigError(f"{path}: no such configuration.{hint}") from None
    except Exception as error:  # PyYAML lets errors of int, float and datetime through
        raise ConfigError(f"{path}: not readable as YAML ({' '.join(str(error).split())})") from None
    if found is None:
        raise ConfigError(f"{path}: holds no sections. It should look like configs/llcm.yaml")
    return found


def flatten(content: Mapping[Any, Any], source: str) -> dict[str, Given]:
    """Return section.key -> value, from `section: {key: value}` and `section.key: value` alike."""
    flat: dict[str, Given] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": Given(inner, source) for key, inner in value.items()}
        else:
            flat[str(name)] = Given(value, source)
    return flat


def _known(key: str, source: str) -> str:
    names = list(_options())
    if key not in names:
        last = {name: name.split(".")[-1] for name in names}
        near = difflib.get_close_matches(key, names, 1, 0.4) or [n for n in names if last[n] == key.split(".")[-1]]
        hint = f" Did you mean {near[0]}?" if near else " --help lists them all."
        raise ConfigError(f"{source}: unknown option {key}.{hint}")
    return key


def _checked(key: str, value: Any, source: str) -> Any:
    checker = _options()[key].checker
    if value is None:
        raise ConfigError(f"{source}: {key} has no value. It takes {checker.help()}")
    try:
        return checker.check(value)
    except (ValueError, KeyError, TypeError, OverflowError):
        names = getattr(checker, "names", ())
        wrong = [word for word in str(value).split(",") if word not in names]
        near = difflib.get_close_matches(wrong[0].lower(), names, 1) if wrong else []
        hint = f". Did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{source}: {key} = {reprlib.repr(value)} is not {checker.help()}{hint}") from None


def stored_model(stored: Stored, now: ModelOptions) -> ModelOptions:
    """Return the network of a checkpoint's configuration, `now` where that says nothing. Raises ConfigError."""
    known = {key: value for key, value in stored.get("model", {}).items() if f"model.{key}" in _options()}
    source = "the checkpoint's configuration"
    return replace(now, **{key: _checked(f"model.{key}", value, source) for key, value in known.items()})


def help_text(description: str) -> str:
    parts = [
        description.strip(),
        "",
        f"usage: {Path(sys.argv[0]).name} [--config-file FILE.yaml] [--section.key=value ...]",
        "",
    ]
    for name, section in SECTIONS.items():
        rows = [["option", "default", "takes", "what it is"]]
        for key, (option, kind, default) in declared(name).items():
            shown = REQUIRED if default is MISSING else _plain(default)
            rows.append([f"--{name}.{key}", shown, checker_of(option, kind).help(), option.help])
        parts.append(AsciiTable(rows, section.__doc__).table)
    return "\n".join(parts)


def _plain(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join(default)
    return str(default).lower() if isinstance(default, bool) else str(default)


def to_yaml(config: Config, header: str) -> str:
    """Return the resolved configuration as text; usable again with --config-file. It is ASCII: PyYAML would write some
    of Unicode's line breaks as they are, and read them as blanks."""
    return f"# {header}\n" + yaml.safe_dump(config.stored(), sort_keys=False)


def main(arguments: Sequence[str]) -> None:
    """Check options alone, as `make train` does before a first conversion. Raises SystemExit: 2 for a mistake."""
    with user_errors():
        read_config(arguments, description=__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
