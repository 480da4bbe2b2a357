"""Every target of the fuzzer for a while: `python tests/faults/fuzz.py --seconds 120` goes on for longer."""

from collections.abc import Callable

import pytest

from tests.faults.fuzz import NAMES, fuzz

pytest.importorskip("atheris", reason="needs pip install '.[fuzz]'")


@pytest.mark.parametrize("name", NAMES)
def test_the_fuzzer_finds_nothing(name: str, times: Callable[[int, int], int]) -> None:
    found = fuzz(name, times(1, 20))
    assert "error" not in found, found
    assert isinstance(executions := found["executions"], int)
    assert executions > 100  # some hundreds a second where other processes compute beside it
