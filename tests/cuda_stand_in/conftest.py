"""Runs a module of this folder on the stand-in, for the tests of what it computes."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.cuda_stand_in.build import CannotBuild
from tests.cuda_stand_in.private_names import COMPUTING, gone
from tests.cuda_stand_in.run import environment

OnStandIn = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def on_stand_in() -> OnStandIn:
    """on_stand_in(module, arguments ...): the JSON object that the module prints there."""
    try:
        variables = environment()
    except CannotBuild as error:
        pytest.skip(f"the stand-in cannot be built: {error}")
    if lost := gone(COMPUTING):
        pytest.skip(f"the stand-in cannot compute with this torch, which lacks {', '.join(lost)}")

    def call(module: str, *arguments: object) -> dict[str, Any]:
        command = [sys.executable, "-m", f"tests.cuda_stand_in.{module}", *map(str, arguments)]
        done = subprocess.run(command, cwd=REPOSITORY, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return call
