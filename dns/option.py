"""Declares options: each is a field of a frozen dataclass, with its type, default, range and help.

The network, the losses, the optimiser and the engine declare theirs beside the code that reads them.
dns/training/options.py collects all of them; dns/training/config.py reads YAML and command line by these declarations.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

AutoSwitch = Literal["auto", "true", "false"]


def unchanged(value: Any) -> Any:
    """Return what must stay the same, when a run is resumed, of an option that decides numbers: all of it."""
    return value


def free(value: Any) -> None:
    """Return what must stay the same of an option that decides no number: nothing."""


def device_type(value: str) -> str:
    """Return what must stay the same of a device: cuda:0 may become cuda:1, but not cpu."""
    return str(value).partition(":")[0]


@dataclass(frozen=True)
class Option:
    """What a field declares beside type and default.

    limits: lowest and highest value of a number; every number between them can be used, as a seed, a count or a
    float32. names: the choices, or what a list may hold. letters: those that a text may hold. path: whether ~ is the
    home folder. resumed: value -> what of it stays the same when a run is resumed; former: what runs from before the
    option had, where that is not its default.
    """

    help: str
    limits: tuple[float, float] | None = None
    names: tuple[str, ...] = ()
    letters: str = ""
    path: bool = False
    resumed: Callable[[Any], Any] = unchanged
    former: Any = None


def option(
    default: Any,
    help: str,
    limits: tuple[float, float] | None = None,
    *,
    names: Iterable[str] = (),
    letters: str = "",
    path: bool = False,
    resumed: Callable[[Any], Any] = unchanged,
    former: Any = None,
) -> Any:
    """Return a field that declares an option, see Option. default: dataclasses.MISSING if it has to be given."""
    return field(
        default=default, metadata={"option": Option(help, limits, tuple(names), letters, path, resumed, former)}
    )
