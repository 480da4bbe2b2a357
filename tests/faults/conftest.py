"""Counts of what was done to the program and of what went wrong, over all tests of this folder.

`make faults` runs them whole (--faults JSON) and writes the counts; `make test` runs a few of each kind.
"""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch
from hypothesis import settings

from dns.training.environment import environment
from tests.conftest import FAULTS

# What even a few of take long.
IN_MAKE_FAULTS = [
    pytest.mark.slow,
    pytest.mark.skipif(f"not config.getoption({FAULTS!r})", reason="takes long: make faults"),
]
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


COUNTS = pytest.StashKey[Tally]()
HERE = Path(__file__).parent
signal.signal(signal.SIGINT, signal.default_int_handler)  # started in a shell's background, it would be ignored
MEMORY_MB = 500  # of which hypothesis takes some itself


@pytest.fixture(scope="session")
def _counts(pytestconfig: pytest.Config) -> Tally:
    return pytestconfig.stash.setdefault(COUNTS, Tally())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Write the counts, if the tests of all files ran. A test that failed without a call of `wrong` counts as well."""
    if not config.getoption(FAULTS):
        return
    counts, stats = config.stash.get(COUNTS, Tally()).counts, terminalreporter.stats
    reports = [report for outcome in ("passed", "failed", "error") for report in stats.get(outcome, [])]
    ran = {report.nodeid.partition("::")[0] for report in reports}
    missing = [path.name for path in HERE.glob("test_*.py") if not any(name.endswith(path.name) for name in ran)]
    if missing or stats.get("deselected") or config.getoption("maxfail"):
        terminalreporter.write_line("not all faults were tried: no counts are written")
        return
    counts["crashed"] += sum(report.failed and report.when != "teardown" for report in reports)
    report = {**counts, "environment": environment(torch.device("cpu"))}
    Path(config.getoption(FAULTS)).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    terminalreporter.write_line(f"written: {config.getoption(FAULTS)}")


@pytest.fixture
def tally(_counts: Tally, pytestconfig: pytest.Config) -> Iterator[Tally]:
    """Counts for this test; fails it where `wrong` was called."""
    assert not (pytestconfig.getoption(FAULTS) and "PYTEST_XDIST_WORKER" in os.environ), "run --faults without -n"
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


@pytest.fixture(scope="session", autouse=True)
def _no_files_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> None:
    hypothesis.configuration.set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))


@pytest.fixture
def examples(times) -> settings:
    """Seeded, so that a failure comes again; a few, or many."""
    return settings(
        max_examples=times(40, 2000), derandomize=True, database=None, deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip


def _resident_mb(what: str) -> float:
    """what: VmRSS, of now, or VmHWM, the highest."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{what}:")[2].split()[0]) / 1e3


@pytest.fixture
def little_memory() -> Iterator[None]:
    """No input makes a reader take MEMORY_MB, whatever it claims to hold."""
    Path("/proc/self/clear_refs").write_text("5")  # the highest is that of from now on
    before = _resident_mb("VmRSS")
    yield
    taken = _resident_mb("VmHWM") - before
    assert taken < MEMORY_MB, f"{taken:.0f} MB were taken"
