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

from dns.methods import METHODS
from dns.network import NetworkOptions
from dns.training.checkers import checker_of
from dns.training.help import help_text
from dns.training.options import DEFAULT_METHOD, SECTIONS, Config, declared, section_class
from ffcv_convert.common.errors import ConfigError, printable, user_errors
from ffcv_convert.common.paths import expanded

METHOD = "model.method"  # read before all others: it decides which others there are
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


def declare(method: str) -> Fastargs:
    """Return a fresh fastargs configuration of every section and option of a method."""
    fresh = Fastargs()
    for name in SECTIONS:
        params = {}
        for key, (option, kind, default) in declared(name, method).items():
            given = {"required": True} if default is MISSING else {"default": default}
            params[key] = Param(checker_of(option, kind), option.help, **given)
        Section(name, section_class(name, method).__doc__, fresh).params(**params)
    return fresh


@cache
def _options(method: str | None) -> dict[str, Param]:
    """Return section.key -> what fastargs knows of it: of a method, or of any where None stands for it."""
    if method is None:
        return {key: param for name in reversed(METHODS) for key, param in _options(name).items()}
    return {".".join(path): param for path, param in declare(method).entries.items()}


def read_config(arguments: Sequence[str], *, description: str, base: Stored | None = None) -> Config:
    """Return the configuration of files and command line. `base` holds values weaker than both.

    Raises ConfigError. `--help` prints every section and leaves with code 0.
    """
    if split_arguments(arguments)[0] is None:
        print(help_text(description, _asked_method(arguments)))
        raise SystemExit(0)
    stored = flatten(base or {}, "the checkpoint's configuration")
    found = _found(arguments)
    method = _method(stored | found) or DEFAULT_METHOD
    options = _options(method)
    for key in sorted(stored.keys() - options.keys() - GONE):
        shown = printable(key[:200], newlines=False)
        unknown = f"the checkpoint's configuration has {shown}, an option of another version"
        print(f"note: {unknown}: ignored", file=sys.stderr)
    values_given = {key: value for key, value in stored.items() if key in options} | dict(_known(found, method))
    values = {key: _checked(options, key, *value) for key, value in values_given.items()} | {METHOD: method}
    for key, param in options.items():
        if param.required and key not in values:
            raise ConfigError(f"{key} is missing ({param.desc}). Name a recipe: --config-file configs/llcm.yaml")
    resolved = declare(method)
    resolved.collect(values)
    return Config(
        **{
            name: section_class(name, method)(**{key: resolved[(name, key)] for key in declared(name, method)})
            for name in SECTIONS
        }
    ).with_normalisation()


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
    """Return what files and command line set, section.key -> value. Where they name no method, a checkpoint may, and
    the options of any are taken. Raises ConfigError."""
    found = _found(arguments)
    method = _method(found)
    return {key: _checked(_options(method), key, *value) for key, value in _known(found, method).items()}


def option_sources(arguments: Sequence[str]) -> dict[str, str]:
    """Return section.key -> the file that set it, or the command line. Raises ConfigError."""
    found = _found(arguments)
    return {key: value.source for key, value in _known(found, _method(found)).items()}


def _found(arguments: Sequence[str]) -> dict[str, Given]:
    """Return what files and command line set, whether or not there is such an option."""
    files, flags = split_arguments(arguments)
    found: dict[str, Given] = {}
    for file in files or []:
        found |= read_yaml(Path(file))
    found |= {key: Given(value, "the command line") for key, value in flags.items()}
    for key in [key for key in GONE if key in found and key not in flags]:
        print(f"note: {found.pop(key).source}: {key} is an option of an earlier version: ignored", file=sys.stderr)
    return found


def _method(found: Mapping[str, Given]) -> str | None:
    """Return the method that is named, None if none is. Raises ConfigError for one that does not exist."""
    return _checked(_options(DEFAULT_METHOD), METHOD, *found[METHOD]) if METHOD in found else None


def _asked_method(arguments: Sequence[str]) -> str:
    """Return the method whose help is wanted, whatever is wrong with the other arguments."""
    try:
        return _method(_found([word for word in arguments if word not in ("-h", "--help")])) or DEFAULT_METHOD
    except ConfigError:
        return DEFAULT_METHOD


def read_yaml(path: Path) -> dict[str, Given]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        found = flatten(content, str(path)) if isinstance(content, dict) else None
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration.{_nearest_recipe(path)}") from None
    except Exception as error:  # PyYAML lets errors of int, float and datetime through
        raise ConfigError(f"{path}: not readable as YAML ({' '.join(str(error).split())})") from None
    if found is None:
        raise ConfigError(f"{path}: holds no sections. It should look like configs/llcm.yaml")
    return found


def _nearest_recipe(path: Path) -> str:
    """Say which recipe may be meant by one that does not exist."""
    there = sorted(file.stem for file in path.parent.glob("*.yaml") if file.stem != "ablation")  # rows over recipes
    near = difflib.get_close_matches(path.stem.lower(), there, 1, 0.6)
    if near:
        return f" Did you mean {path.parent / near[0]}.yaml?"
    if there and path.parent.name in METHODS:
        of = f"{path.parent.name} has recipes for {', '.join(there)}; for no other set is one published"
        return f" Method {of}. For a set of your own copy one of them"
    if there:
        return f" There are {', '.join(there)}; for a set of your own copy {path.parent / 'custom.yaml'}"
    return "" if path.parent.exists() else f" There are recipes of the methods {', '.join(METHODS)}"


def flatten(content: Mapping[Any, Any], source: str) -> dict[str, Given]:
    """Return section.key -> value, from `section: {key: value}` and `section.key: value` alike."""
    flat: dict[str, Given] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": Given(inner, source) for key, inner in value.items()}
        else:
            flat[str(name)] = Given(value, source)
    return flat


def _known(found: Mapping[str, Given], method: str | None) -> Mapping[str, Given]:
    """Return what was found if the method has all of these options. Raises ConfigError."""
    names = list(_options(method))
    for key, (_, source) in found.items():
        if key in names:
            continue
        if key in _options(None):
            section = key.partition(".")[0]
            own = [name.partition(".")[2] for name in names if name.startswith(f"{section}.")]
            raise ConfigError(f"{source}: method {method} has no {key}. In {section} it has {', '.join(own)}")
        last = {name: name.split(".")[-1] for name in names}
        near = difflib.get_close_matches(key, names, 1, 0.4) or [n for n in names if last[n] == key.split(".")[-1]]
        hint = f" Did you mean {near[0]}?" if near else " --help lists them all."
        raise ConfigError(f"{source}: unknown option {key}.{hint}")
    return found


def _checked(options: Mapping[str, Param], key: str, value: Any, source: str) -> Any:
    checker = options[key].checker
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


def method_of(stored: Stored) -> str:
    """Return the method of a checkpoint's configuration; those of before there were several name none."""
    return _method(flatten(stored, "the checkpoint's configuration")) or DEFAULT_METHOD


def stored_model(stored: Stored, now: NetworkOptions) -> NetworkOptions:
    """Return the network of a checkpoint's configuration, `now` where that says nothing. Raises ConfigError."""
    options, source = _options(method_of(stored)), "the checkpoint's configuration"
    known = {key: value for key, value in stored.get("model", {}).items() if f"model.{key}" in options}
    return replace(now, **{key: _checked(options, f"model.{key}", value, source) for key, value in known.items()})


def stored_normalisation(stored: Stored) -> str:
    """Return the normalisation that a checkpoint's configuration names. Raises ConfigError."""
    key = "augment.normalisation"
    option, _, _ = declared("augment")["normalisation"]
    value = stored.get("augment", {}).get("normalisation", option.former)
    return _checked(_options(method_of(stored)), key, value, "the checkpoint's configuration")


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
