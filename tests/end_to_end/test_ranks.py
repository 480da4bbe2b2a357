"""Several processes train one network: the same numbers as one process that accumulates batches, through stops.

tests/faults/test_killed_ranks.py kills them.
"""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import eval as eval_script
import train_ffcv
from dns.training import checkpoint
from ffcv_convert.common.errors import CheckpointError, ConfigError
from tests.conftest import REPOSITORY
from tests.support.refusals import refusal
from tests.support.torchrun import (
    STEPS,
    assert_equal,
    environment,
    options,
    started,
    steps,
    torchrun,
    wait_for,
    weights,
)


@pytest.fixture(scope="module")
def together(beton_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two processes."""
    runs = tmp_path_factory.mktemp("ranks")
    done = torchrun("train_ffcv.py", *options(beton_root, runs, "two"))
    assert done.returncode == 0, done.stderr
    return runs / "two"


def test_two_ranks_train_as_one_process_that_accumulates_two_batches(
    together: Path, beton_root: Path, tmp_path: Path
) -> None:
    """Bit by bit, over fourteen steps in float32: weights, momenta, DD's twins, and the mean losses of each step."""
    torch.set_num_threads(1)
    assert train_ffcv.train(options(beton_root, tmp_path, "one", "--optim.accumulate=2")) == 0
    assert len(steps(together)) == len(steps(tmp_path / "one")) == STEPS
    assert steps(together) == steps(tmp_path / "one")
    assert_equal(weights(together), weights(tmp_path / "one"))


def test_a_run_says_how_many_trained_it(together: Path) -> None:
    said = {"world": 2, "images_a_step": 16, "scale_lr": "none"}
    result = json.loads((together / "result.json").read_text())
    assert result["steps"] == STEPS
    for place in (result, *result["evaluation"], json.loads((together / "log.jsonl").read_text().splitlines()[0])):
        assert {key: place[key] for key in said} == said
    assert "ranks: 2" in (together / "config.yaml").read_text()
    assert checkpoint.load(together / "last.pt")["ranks"]["statistics"].shape[0] == 2


def test_evaluation_by_two_ranks_is_that_of_one_bit_by_bit(together: Path, beton_root: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    last, found = together / "last.pt", {}
    for name in ("one", "two"):
        file = tmp_path / f"{name}.npz"
        asked = [f"--eval.checkpoint={last}", f"--data.beton_root={beton_root}", f"--eval.export={file}"]
        asked += ["--eval.batch_size=3", "--engine.device=cpu", "--engine.precision=fp32"]
        if name == "one":
            assert eval_script.evaluate(asked) == 0
        else:
            done = torchrun("eval.py", *asked)
            assert done.returncode == 0, done.stderr
        with np.load(file) as stored:
            found[name] = {key: stored[key] for key in stored.files}
        found[name]["rows"] = json.loads((together / "result.json").read_text())["evaluation"]
    assert found["one"].keys() == found["two"].keys()
    for key in found["one"]:
        assert np.array_equal(found["one"][key], found["two"][key]), key


def test_losses_over_the_batches_of_all_ranks_are_those_of_the_joined_batch(tmp_path: Path) -> None:
    module = "tests.support.joined_batch"
    alone = subprocess.run([sys.executable, "-m", module, tmp_path / "alone.pt"], cwd=REPOSITORY, env=environment())
    both = torchrun("-m", module, tmp_path / "both.pt")
    assert (alone.returncode, both.returncode) == (0, 0), both.stderr
    one, other = (torch.load(tmp_path / name, weights_only=True) for name in ("alone.pt", "both.pt"))
    for name in one:
        assert torch.allclose(one[name], other[name], rtol=1e-9, atol=1e-9), name


def test_a_signal_stops_every_rank_before_the_same_step_and_the_run_goes_on(
    together: Path, beton_root: Path, tmp_path: Path
) -> None:
    asked = options(beton_root, tmp_path, "two")
    process = started("train_ffcv.py", *asked)
    wait_for(tmp_path / "two", 3, process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[0]
    assert process.returncode != 0
    assert "stopped after 0 epochs" in said, said
    kept = checkpoint.load(tmp_path / "two" / "last.pt")
    assert kept["iteration"] == len(steps(tmp_path / "two"))

    with refusal(CheckpointError, tmp_path / "two" / "last.pt", "with 1", "RANKS=2"):
        train_ffcv.train(asked)

    done = torchrun("train_ffcv.py", *asked)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("going on with") == 1
    assert_equal(weights(tmp_path / "two"), weights(together))
    assert steps(tmp_path / "two") == steps(together)
    results = [json.loads((run / "result.json").read_text())["training"] for run in (together, tmp_path / "two")]
    assert results[0] == results[1]


def test_another_number_of_ranks_goes_on_at_the_end_of_an_epoch(
    together: Path, beton_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(together, tmp_path / "two")
    (tmp_path / "two" / "result.json").unlink()
    content = checkpoint.load(tmp_path / "two" / "last.pt")
    results = {**content["results"], "evaluation_due": True}
    torch.save({**content, "epoch": 1, "results": results}, tmp_path / "two" / "last.pt")
    assert train_ffcv.train(options(beton_root, tmp_path, "two")) == 0
    assert "after 1 epoch and 0 iterations, which 2 processes began" in capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "two" / "log.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["world"]) for line in lines if line["kind"] == "run"] == [(0, 2), (1, 1)]


def test_what_cannot_be_is_refused(beton_root: Path, tmp_path: Path) -> None:
    asked = options(beton_root, tmp_path, "none", "--run.jobs=2", "--run.repeats=2")
    done = torchrun("train_ffcv.py", *asked)
    assert done.returncode != 0
    assert "run.jobs" in done.stderr
    with refusal(ConfigError, "run.ranks = 2", "1 process", "RANKS=2"):
        train_ffcv.train(options(beton_root, tmp_path, "none", "--run.ranks=2"))
    assert not any(tmp_path.iterdir())
