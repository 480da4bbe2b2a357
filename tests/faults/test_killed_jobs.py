"""Runs side by side, through Ctrl-C and a run that dies. As part of `make faults` alone: they take long."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import train_ffcv
from ffcv_convert.common.errors import TrainingError
from tests.conftest import REPOSITORY
from tests.end_to_end.test_jobs import Layout, arguments, mean_rows
from tests.faults.conftest import IN_MAKE_FAULTS
from tests.support.refusals import refusal

pytestmark = IN_MAKE_FAULTS


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    torch.set_num_threads(1)


def test_a_signal_reaches_all_and_the_same_command_goes_on(converted_layout: Layout, tmp_path: Path) -> None:
    folder = converted_layout("regdb")
    command = [
        sys.executable,
        "train_ffcv.py",
        *arguments(folder, tmp_path / "runs", "--optim.epochs=50", "--run.jobs=2"),
    ]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        logs = [tmp_path / "runs" / "regdb-seed0" / f"trial-{trial}" / "log.jsonl" for trial in (1, 2)]
        deadline = time.monotonic() + 120
        while not all(log.exists() and '"epoch"' in log.read_text() for log in logs) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, errors
    assert said.count("the same command goes on from") == 2, said
    assert "the same command goes on with what is left" in said
    assert [(log.parent / "last.pt").exists() for log in logs] == [True, True]
    assert not (tmp_path / "runs" / "regdb-seed0" / "trial-3").exists()


def test_a_run_that_dies_is_named_and_does_not_stop_the_others(
    converted_layout: Layout, tmp_path: Path, refused: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = converted_layout("pku_sketch")
    asked = arguments(folder, tmp_path, "--run.repeats=2", "--run.jobs=2")
    (tmp_path / "pku_sketch-seed1").mkdir()
    (tmp_path / "pku_sketch-seed1" / "last.pt").write_text("damaged")
    with refusal(TrainingError, "seed 1", "1 of 2"):
        train_ffcv.train(asked)
    assert [(tmp_path / f"pku_sketch-seed{seed}" / "result.json").exists() for seed in range(2)] == [True, False]
    shutil.rmtree(tmp_path / "pku_sketch-seed1")
    assert train_ffcv.train(asked) == 0
    assert mean_rows(tmp_path / "pku_sketch-seeds0-1")[0]["trials"] == 2
