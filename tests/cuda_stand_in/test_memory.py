"""A device with too little memory: the run ends with the options that lower it, and its checkpoint stands."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.training import options
from tests.conftest import REPOSITORY
from tests.cuda_stand_in.build import CannotBuild
from tests.cuda_stand_in.run import environment


@pytest.mark.slow
def test_out_of_memory_names_what_lowers_it(converted_layout: Callable[[str], Path], tmp_path: Path) -> None:
    """With the memory of an H100 the same run ends well, see test_capture.py."""
    try:
        variables = {**environment(), "STAND_IN_MEMORY_GIB": "0.3"}
    except CannotBuild as error:
        pytest.skip(f"the stand-in cannot be built: {error}")
    given = options(converted_layout("sysu").parent, ["--model.architecture=resnet18", "--engine.compile=false"])
    run = ["--data.persons=4", f"--run.root={tmp_path}", "--run.name=run", "--optim.epochs=1", "--eval.every=0"]
    run.append("--report.write=false")
    program = (
        "import sys, train_ffcv; from tests.cuda_stand_in.capture import numbers_replaced\n"
        "from ffcv_convert.common.errors import user_errors\n"
        "with user_errors(), numbers_replaced(): sys.exit(train_ffcv.train(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *given, *run],
        cwd=REPOSITORY, env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr[-3000:]
    for words in ("the device's memory is full", "last.pt stands", "--data.source=stream", "--eval.batch_size"):
        assert words in done.stderr
    assert (tmp_path / "run" / "last.pt").exists()
    assert not list((tmp_path / "run").glob("*.partial"))
