"""Runs side by side: the rows of runs one after another, through signals and a run that dies."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import train_ffcv
from dns.training import jobs
from tests.conftest import REPOSITORY
from tests.end_to_end.test_sets import FAST

Layout = Callable[[str], Path]
TRIALS = 10


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """In every process: results do not depend on the cores that a job gets."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    torch.set_num_threads(1)


def arguments(folder: Path, runs: Path, *more: str) -> list[str]:
    recipe = str(REPOSITORY / "configs" / f"{folder.name}.yaml")
    return ["--config-file", recipe, f"--data.beton_root={folder.parent}", f"--run.root={runs}", *FAST, *more]


def mean_rows(folder: Path) -> list[dict]:
    return json.loads((folder / "result.json").read_text())["evaluation"]


@pytest.mark.slow
def test_seeds_side_by_side_give_the_rows_of_seeds_in_turn(
    converted_layout: Layout, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    folder = converted_layout("pku_sketch")
    for name, number in (("turn", 1), ("side", 2)):
        asked = ["--run.repeats=3", "--run.log_every=1", f"--run.jobs={number}"]
        assert train_ffcv.train(arguments(folder, tmp_path / name, *asked)) == 0
    said = capfd.readouterr()
    for seed in range(3):
        assert f"seed {seed}: begins on cpu, " in said.out
        assert f"seed {seed}: rank-1 " in said.out
        assert f"seed {seed}: epoch 1/1: 100%" in said.err
    assert mean_rows(tmp_path / "turn" / "pku_sketch-seeds0-2") == mean_rows(tmp_path / "side" / "pku_sketch-seeds0-2")


def test_places_share_the_cores_and_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    for gpus, device, count, expected in (
        (0, "auto", 2, [("auto", {0, 1, 2}), ("auto", {3, 4, 5})]),
        (2, "auto", 3, [("cuda:0", {0, 1}), ("cuda:1", {2, 3}), ("cuda:0", {4, 5})]),
        (2, "cpu", 1, [("cpu", set(range(6)))]),
        (2, "cuda:1", 2, [("cuda:1", {0, 1, 2}), ("cuda:1", {3, 4, 5})]),
    ):  # fmt: skip
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        assert [(place.device, place.cores) for place in jobs.share_out(device, count)] == expected
    assert all(place.cores for place in jobs.share_out("cpu", 20))
