"""Reads the value of an option: one fastargs checker for each kind of value.

fastargs' own read "False" as true and 3.7 as 3; these refuse what they cannot take.
"""

from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

from fastargs.validation import Checker

from dns.option import Option
from ffcv_convert.common.paths import expanded


class Number(Checker):
    """An int or float in a closed range; 3.7 is no int, true is no number, "1e-4" is the number it says."""

    def __init__(self, kind: type, low: float, high: float):
        self.kind, self.low, self.high = kind, low, high

    def check(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError
        if self.kind is int and isinstance(value, float):
            raise ValueError
        if not self.low <= (number := self.kind(value)) <= self.high:  # this refuses NaN too
            raise ValueError
        return number

    def help(self) -> str:
        if self.kind is int:
            return f"an integer from {self.low} to {self.high}"
        return f"a number from {self.low:g} to {self.high:g}"


class Switch(Checker):
    def check(self, value: Any) -> bool:
        return value if isinstance(value, bool) else {"true": True, "false": False}[str(value).lower()]

    def help(self) -> str:
        return "true or false"


class Choice(Checker):
    def __init__(self, *names: str):
        self.names = names

    def check(self, value: Any) -> str:
        # YAML reads a bare on, off, yes or no as a boolean.
        text = {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
        text = {"on": "true", "off": "false"}[text] if isinstance(value, bool) and "true" in self.names else text
        if text not in self.names:
            raise ValueError
        return text

    def help(self) -> str:
        return "one of " + ", ".join(self.names)


class Text(Checker):
    def check(self, value: Any) -> str:
        if not isinstance(value, str) or not value:
            raise ValueError
        return value

    def help(self) -> str:
        return "text"


class FilePath(Text):
    """A path, with ~ for the home folder; or a word that stands for one, such as auto."""

    def check(self, value: Any) -> str:
        return expanded(super().check(value))


class Names(Checker):
    """Several of some names: a YAML list, or text with commas."""

    def __init__(self, names: Sequence[str]):
        self.names = names

    def check(self, value: Any) -> tuple[str, ...]:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, (list, tuple)) or not parts or any(part not in self.names for part in parts):
            raise ValueError
        if len(set(parts)) < len(parts):
            raise ValueError
        return tuple(parts)

    def help(self) -> str:
        return "some of " + ", ".join(self.names) + ", each once, with commas"


class Numbers(Checker):
    """Several whole numbers in ascending order: a YAML list, text with commas, or a single number."""

    def __init__(self, low: float, high: float):
        self._each = Number(int, low, high)

    def check(self, value: Any) -> tuple[int, ...]:
        parts = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
        numbers = tuple(int(self._each.check(part)) for part in parts)
        if not numbers or list(numbers) != sorted(set(numbers)):
            raise ValueError
        return numbers

    def help(self) -> str:
        return f"integers from {self._each.low} to {self._each.high}, ascending, with commas"


class Letters(Checker):
    """Several of some letters, as text in alphabetical order."""

    def __init__(self, letters: str):
        self.letters = letters

    def check(self, value: Any) -> str:
        found = "".join(sorted(set(str(value).upper())))
        if not found or set(found) - set(self.letters) or len(found) != len(str(value)):
            raise ValueError
        return found

    def help(self) -> str:
        return f"letters out of {self.letters}, each once"


def checker_of(option: Option, kind: Any) -> Checker:
    """Return the checker for an option whose field has the type `kind`."""
    if get_origin(kind) is Literal:
        return Choice(*get_args(kind))
    if kind is bool:
        return Switch()
    if get_origin(kind) is tuple and option.limits is not None:
        return Numbers(*option.limits)
    if option.limits is not None:
        return Number(kind, *option.limits)
    if option.letters:
        return Letters(option.letters)
    if option.names:
        return Choice(*option.names) if kind is str else Names(option.names)
    return FilePath() if option.path else Text()
