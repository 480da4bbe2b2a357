"""Reads the parameters of a search: the options of `make search`, with the same names, values and messages."""

import argparse
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn
from urllib.parse import parse_qsl

from dns.search.__main__ import question
from dns.search.rows import Filters
from dns.search.sightings import Box
from dns.search.upkeep_command import filters
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import ConfigError

MOST_HITS = 1000  # of a search: each is kept for every search of a batch, and read from a table


class Asked(NamedTuple):
    """What a search asks about its image. box: where the person is, None for all of it; chosen: the rows to search;
    hits, fpir: as in `answer`."""

    modality: Modality
    box: Box | None
    chosen: Filters
    hits: int
    fpir: float


class _Parser(argparse.ArgumentParser):
    """Raises what a command line would print."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message.removeprefix("argument "))

    def options(self) -> list[argparse.Action]:
        return self._actions


def _parser() -> _Parser:
    made = _Parser(add_help=False, allow_abbrev=False)
    question(made)
    return made


def parameters() -> list[dict[str, Any]]:
    """Return the parameters as OpenAPI describes them."""
    return [
        {
            "name": option.dest, "in": "query", "required": option.required, "schema": {"type": "string"},
            "description": f"{option.help} ({option.metavar})" if option.metavar else option.help,
        }
        for option in _parser().options()
    ]  # fmt: skip


def read(query: str) -> Asked:
    """Read what stands behind the ? of an address. Raises ConfigError for a parameter that is unknown, given twice,
    missing or wrong."""
    parser = _parser()
    given = parse_qsl(query, keep_blank_values=True)
    known = [option.dest for option in parser.options()]
    for number, (name, _) in enumerate(given):
        if name not in known:
            raise ConfigError(f"{name}: no such parameter. There are {', '.join(known)}")
        if name in dict(given[:number]):
            raise ConfigError(f"{name}: is given twice. Give it once")
    found = parser.parse_args([f"--{name}={value}" for name, value in given])
    if found.hits > MOST_HITS:
        raise ConfigError(f"hits: {found.hits:,} is more than {MOST_HITS:,}. Ask for fewer")
    box = Box(*found.box) if found.box else None
    return Asked(found.modality, box, filters(found, found.rows), found.hits, found.fpir)


def told(asked: Asked) -> Mapping[str, Any]:
    """Return what the answer repeats of it."""
    return {"modality": asked.modality.name.lower(), "fpir": asked.fpir}
