"""Counts of what was done to the program and of what went wrong, over all tests of this folder.

`make faults` runs them whole (--faults JSON) and writes the counts; `make test` runs a few of each kind.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import FAULTS

DONE = ("kills", "damages", "hang_classes", "hostile_inputs")
WRONG = ("silent", "hung", "lost", "crashed")


class Tally:
    """What was tried, and what went wrong with it."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys((*DONE, *WRONG), 0)
        self.problems: list[str] = []

    def did(self, kind: str, number: int = 1) -> None:
        """kind: of DONE."""
        assert kind in DONE
        self.counts[kind] += number

    def wrong(self, kind: str, what: str) -> None:
        """kind: of WRONG; the test goes on and fails at its end."""
        assert kind in WRONG
        self.counts[kind] += 1
        self.problems.append(f"{kind}: {what}")


@pytest.fixture(scope="session")
def _counts(pytestconfig: pytest.Config) -> Iterator[Tally]:
    tally = Tally()
    yield tally
    target = pytestconfig.getoption(FAULTS)
    if target:
        Path(target).write_text(json.dumps(tally.counts, indent=1) + "\n", encoding="utf-8")


@pytest.fixture
def tally(_counts: Tally) -> Iterator[Tally]:
    """Counts for this test; fails it where `wrong` was called."""
    before = len(_counts.problems)
    yield _counts
    problems = _counts.problems[before:]
    if problems:
        pytest.fail("\n".join(problems[:20]))


@pytest.fixture(scope="session")
def times(pytestconfig: pytest.Config):
    """times(few, all): how often to do a thing, in `make test` and in `make faults`."""
    whole = bool(pytestconfig.getoption(FAULTS))
    return lambda few, all_: all_ if whole else few
