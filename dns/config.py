"""Reads the configuration: defaults, then YAML recipes, then the command line; everything else is refused.

fastargs alone drops unknown YAML keys, exits 0 on bad values and lets environment variables beat the command line. So
it declares and resolves here, and this module reads: every value is checked where it was written.
"""

import difflib
import reprlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from fastargs.config import Config
from terminaltables import AsciiTable

from dns.options import REQUIRED
from dns.terminal import printable


class ConfigError(Exception):
    """A configuration that cannot be used; the message names key, place and the nearest valid key."""


class Given(NamedTuple):
    value: Any
    place: str


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 300


class _Loader(yaml.SafeLoader):
    """Safe; a key given twice is an error instead of the last one winning; and no aliases, of which a page could hold
    billions of values."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            at = self.peek_event().start_mark
            raise yaml.constructor.ConstructorError(None, None, "aliases (*name) are not read: write the value out", at)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"{', '.join(sorted(twice))} given twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def read(
    options: Config, arguments: Sequence[str], *, description: str, base: Mapping[str, Mapping] | None = None
) -> dict[str, dict[str, Any]]:
    """Section -> key -> value, every option present. `base` holds values weaker than files and arguments.

    Raises ConfigError. `--help` prints every section and leaves with code 0.
    """
    if split_arguments(arguments)[0] is None:
        print(help_text(options, description))
        raise SystemExit(0)
    stored = flatten(base or {}, "the checkpoint's configuration")
    known = {".".join(path) for path in options.entries}
    for key in sorted(stored.keys() - known):
        unknown = f"the checkpoint's configuration has {printable(key[:200])}, an option of another version"
        print(f"note: {unknown}: ignored", file=sys.stderr)
    settings = {key: found for key, found in stored.items() if key in known} | _given(options, arguments)
    values = {key: _checked(options, key, *found) for key, found in settings.items()}
    for path, param in options.entries.items():
        if param.required and ".".join(path) not in values:
            raise ConfigError(
                f"{'.'.join(path)} is missing ({param.desc}). Name a recipe: --config-file configs/llcm.yaml"
            )
    options.collect(values)
    resolved: dict[str, dict[str, Any]] = {}
    for section, key in options.entries:
        resolved.setdefault(section, {})[key] = options[(section, key)]
    return resolved


def split_arguments(arguments: Sequence[str]) -> tuple[list[str] | None, dict[str, str]]:
    """YAML files and `--section.key=value` (or `--section.key value`) pairs; files is None where help is asked for."""
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
            files.append(value)
        else:
            flags[name] = value
    return files, flags


def given(options: Config, arguments: Sequence[str]) -> dict[str, Any]:
    """What files and command line set, section.key -> value. Raises ConfigError."""
    return {key: _checked(options, key, *found) for key, found in _given(options, arguments).items()}


def _given(options: Config, arguments: Sequence[str]) -> dict[str, Given]:
    files, flags = split_arguments(arguments)
    found: dict[str, Given] = {}
    for file in files or []:
        found |= read_yaml(options, Path(file))
    for key, value in flags.items():
        found[_known(options, key, "the command line")] = Given(value, "the command line")
    return found


def read_yaml(options: Config, path: Path) -> dict[str, Given]:
    try:
        if path.exists() and not path.is_file():  # a pipe or a device would never end
            raise OSError("it is no regular file")
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        found = flatten(content, str(path)) if isinstance(content, dict) else None
    except FileNotFoundError:
        there = sorted(file.stem for file in Path(path.parent).glob("*.yaml"))
        near = difflib.get_close_matches(path.stem, there, 1, 0.6)
        hint = f" Did you mean {path.parent / near[0]}.yaml?" if near else ""
        if there and not near:
            hint = f" There are {', '.join(there)}; for a set of your own copy {path.parent / 'custom.yaml'}"
        raise ConfigError(f"{path}: no such configuration.{hint}") from None
    except Exception as error:  # PyYAML lets those of int, float and datetime out as they come
        raise ConfigError(f"{path}: not readable as YAML ({' '.join(str(error).split())})") from None
    if found is None:
        raise ConfigError(f"{path}: holds no sections. It should look like configs/llcm.yaml")
    return {_known(options, key, str(path)): given for key, given in found.items()}


def flatten(content: Mapping[Any, Any], place: str) -> dict[str, Given]:
    """`section: {key: value}` and `section.key: value` alike -> section.key -> value."""
    flat: dict[str, Given] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": Given(inner, place) for key, inner in value.items()}
        else:
            flat[str(name)] = Given(value, place)
    return flat


def _known(options: Config, key: str, place: str) -> str:
    names = [".".join(path) for path in options.entries]
    if key not in names:
        last = {name: name.split(".")[-1] for name in names}
        near = difflib.get_close_matches(key, names, 1, 0.4) or [n for n in names if last[n] == key.split(".")[-1]]
        hint = f" Did you mean {near[0]}?" if near else " --help lists them all."
        raise ConfigError(f"{place}: unknown option {key}.{hint}")
    return key


def _checked(options: Config, key: str, value: Any, place: str) -> Any:
    param = options.entries[tuple(key.split("."))]
    if value is None:
        raise ConfigError(f"{place}: {key} has no value. It takes {param.checker.help()}")
    try:
        return param.checker.check(value)
    except (ValueError, KeyError, TypeError, OverflowError):
        raise ConfigError(f"{place}: {key} = {_shown(value)} is not {param.checker.help()}") from None


def _shown(value: Any) -> str:
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python writes no integer of more than 4300 digits
        return "a number too long to show"


def stored_section(options: Config, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A section of a checkpoint's configuration, as far as it is known. Raises ConfigError."""
    known = {key: value for key, value in values.items() if (name, key) in options.entries}
    place = "the checkpoint's configuration"
    return {key: _checked(options, f"{name}.{key}", value, place) for key, value in known.items()}


def help_text(options: Config, description: str) -> str:
    parts = [
        description.strip(),
        "",
        f"usage: {Path(sys.argv[0]).name} [--config-file FILE.yaml] [--section.key=value ...]",
        "",
    ]
    for namespace, section in options.sections.items():
        rows = [["option", "default", "takes", "what it is"]]
        for path in options.sections_to_entries[namespace]:
            param = options.entries[path]
            default = REQUIRED if param.required else str(param.default)
            rows.append(["--" + ".".join(path), default.lower() if isinstance(param.default, bool) else default,
                         param.checker.help(), param.desc])  # fmt: skip
        parts.append(AsciiTable(rows, section.desc).table)
    return "\n".join(parts)


def to_yaml(values: Mapping[str, Mapping[str, Any]], header: str) -> str:
    """The resolved configuration; usable again with --config-file. In ASCII: PyYAML would write some of Unicode's line
    breaks as they are, and read them as blanks."""
    return f"# {header}\n" + yaml.safe_dump({k: dict(v) for k, v in values.items()}, sort_keys=False)
