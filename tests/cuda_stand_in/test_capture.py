"""The captured step, the training loop, a stop and a resume, evaluation and re-ranking, on a CUDA that does nothing."""

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.cuda_stand_in.build import CannotBuild
from tests.cuda_stand_in.run import environment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(converted_layout: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What capture.py prints."""
    try:
        variables = environment()
    except CannotBuild as error:
        pytest.skip(f"the stand-in cannot be built: {error}")
    beton_root, folder = converted_layout("sysu").parent, tmp_path_factory.mktemp("stand-in")
    capture = [sys.executable, "-m", "tests.cuda_stand_in.capture", beton_root, folder, "pairs"]
    done = subprocess.run(
        [*capture, "--model.architecture=resnet10_half"],
        cwd=REPOSITORY, env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_every_precision_optimiser_and_source_is_captured_without_waiting(found: dict[str, Any]) -> None:
    """Any two of the three together; `make check-cuda` captures every combination."""
    choices = {"precision": ["bf16", "fp16", "fp32"], "optimiser": ["sgd", "adamw"], "source": ["resident", "stream"]}
    for first, second in itertools.combinations(choices, 2):
        captured = {(one[first], one[second]) for one in found["combinations"]}
        assert captured == set(itertools.product(choices[first], choices[second]))
    for one in found["combinations"]:
        assert one["violations"] == [], one
        assert (one["syncs"], one["replays"]) == (0, 1), one
        assert one["launches"] <= 6, one
        assert one["nodes"] > 500, one  # the whole step, uncompiled


def test_steps_with_several_batches_are_captured_without_waiting(found: dict[str, Any]) -> None:
    assert found["several"].keys() == {"accumulated", "two ranks"}
    for one in found["several"].values():
        assert (one["violations"], one["syncs"], one["replays"]) == ([], 0, 1), one
        assert one["launches"] <= 6, one
    assert found["several"]["accumulated"]["nodes"] > 1.5 * found["combinations"][0]["nodes"]


def test_what_must_not_be_captured_is_caught(found: dict[str, Any]) -> None:
    assert len(found["controls"]) == 4
    assert all(found["controls"].values()), found["controls"]


@pytest.mark.parametrize("source", ["resident", "stream"])
def test_an_iteration_of_the_loop_waits_for_nothing(found: dict[str, Any], source: str) -> None:
    assert found["loop"][source]["syncs"] == 0
    assert found["loop"][source]["launches"] <= 10


def test_a_stop_a_resume_and_the_tests_end_well(found: dict[str, Any]) -> None:
    assert found["training"] == {"stopped": 143, "resumed": 0, "tested": 0, "tested with re-ranking": 0}
