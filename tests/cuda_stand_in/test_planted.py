"""What trains wrongly in silence is seen: faults of the captured step, and what is not waited for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cuda_stand_in.conftest import OnStandIn
from tests.cuda_stand_in.race_faults import FAULTS as RACES
from tests.cuda_stand_in.step_faults import FAULTS, RIGHT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(on_stand_in: OnStandIn) -> dict[str, Any]:
    """What planted.py prints: the first step that each fault makes wrong."""
    return on_stand_in("planted")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_captured_step_is_seen_at_the_first_step_that_it_makes_wrong(
    found: dict[str, Any], name: str
) -> None:
    assert found["faults"][name] == FAULTS[name][2]


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_is_not_called_wrong(found: dict[str, Any], name: str) -> None:
    assert found["right"][name] is None


@pytest.fixture(scope="module")
def trained(
    on_stand_in: OnStandIn, converted_layout: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., dict[str, Any]]:
    """What races.py prints, of a training from a streamed set."""
    beton_root = converted_layout("sysu").parent

    def run(*how: str) -> dict[str, Any]:
        return on_stand_in("races", beton_root, tmp_path_factory.mktemp("races"), "stream", *how)

    return run


@pytest.fixture(scope="module")
def at_once(trained: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return trained("eager")


def test_lazy_streams_train_to_the_same_bits(trained: Callable[..., dict[str, Any]], at_once: dict[str, Any]) -> None:
    assert trained("lazy") == at_once


@pytest.mark.parametrize("name", RACES)
def test_what_is_not_waited_for_changes_what_lazy_streams_train(
    trained: Callable[..., dict[str, Any]], at_once: dict[str, Any], name: str
) -> None:
    assert trained("lazy", name) != at_once
