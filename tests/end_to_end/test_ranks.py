"""Several processes train one network: the same numbers as one process that accumulates batches, through stops.

tests/faults/test_killed_ranks.py kills them.
"""

import json
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import eval as eval_script
import train_ffcv
from dns import ranks
from dns.training import checkpoint
from ffcv_convert.common.errors import CheckpointError, ConfigError
from tests.support import joined_batch
from tests.support.refusals import refusal
from tests.support.torchrun import STEPS, assert_equal, options, started, steps, torchrun, wait_for, weights

pytestmark = pytest.mark.slow


@dataclass
class Together:
    """A run of two processes that a signal stopped and the same command went on with, and what they did afterwards."""

    stopped: Path  # a copy of its folder as the signal left it, called as the run itself
    ended: int
    said: str
    run: Path
    said_later: str
    features: Path  # exported by eval.py
    rows: list[dict[str, Any]]  # of eval.py and of the training
    joined: Path  # weights of joined_batch.py


def arguments_of_eval(run: Path, features: Path) -> list[str]:
    engine = ["--engine.device=cpu", "--engine.precision=fp32"]
    return [f"--eval.checkpoint={run / 'last.pt'}", f"--eval.export={features}", "--eval.batch_size=3", *engine]


def rows(run: Path) -> list[dict[str, Any]]:
    return json.loads((run / "result.json").read_text())["evaluation"]


@pytest.fixture(scope="module")
def together(beton_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Together:
    """Ranks take seconds to start, so two starts serve all tests."""
    top = tmp_path_factory.mktemp("ranks")
    run, features, joined = top / "two", top / "two.npz", top / "two.pt"
    asked = options(beton_root, top, "two")
    process = started("train_ffcv.py", *asked)
    wait_for(run, 3, process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[0]
    stopped = shutil.copytree(run, top / "stopped" / "two")
    work = {
        "joined": str(joined),
        "train": [*asked, "--report.write=true", "--report.images=false"],
        "eval": [*arguments_of_eval(run, features), f"--data.beton_root={beton_root}"],
    }
    done = torchrun("-m", "tests.support.ranks_in_turn", json.dumps(work))
    assert done.returncode == 0, done.stderr
    return Together(stopped, process.returncode, said, run, done.stdout, features, rows(run), joined)


def test_two_ranks_train_as_one_process_that_accumulates_two_batches(
    together: Together, beton_root: Path, tmp_path: Path
) -> None:
    """Bit by bit, over fourteen steps in float32: weights, momenta, DD's twins, and the mean losses of each step."""
    torch.set_num_threads(1)
    assert train_ffcv.train(options(beton_root, tmp_path, "one", "--optim.accumulate=2")) == 0
    assert len(steps(together.run)) == len(steps(tmp_path / "one")) == STEPS
    assert steps(together.run) == steps(tmp_path / "one")
    assert_equal(weights(together.run), weights(tmp_path / "one"))


def test_a_signal_stops_every_rank_before_the_same_step_and_the_run_goes_on(
    together: Together, beton_root: Path
) -> None:
    """Its end is that of an unbroken run, see above."""
    assert together.ended != 0
    assert "stopped after 0 epochs" in together.said, together.said
    kept = checkpoint.load(together.stopped / "last.pt")
    assert kept["iteration"] == len(steps(together.stopped)) < STEPS // 2
    with pytest.raises(CheckpointError, match=r"began, and cannot go on there with 1.*make RANKS=2"):
        train_ffcv.train(options(beton_root, together.stopped.parent, "two"))
    assert together.said_later.count("going on with") == 1


def test_a_run_says_how_many_trained_it(together: Together) -> None:
    said = {"world": 2, "images_a_step": 16, "scale_lr": "none"}
    run = together.run
    result = json.loads((run / "result.json").read_text())
    assert result["steps"] == STEPS
    for place in (result, *result["evaluation"], json.loads((run / "log.jsonl").read_text().splitlines()[0])):
        assert {key: place[key] for key in said} == said
    assert "ranks: 2" in (run / "config.yaml").read_text()
    assert (run / "report.html").exists()
    assert checkpoint.load(run / "last.pt")["ranks"]["statistics"].shape[0] == 2


def test_evaluation_by_two_ranks_is_that_of_one_bit_by_bit(
    together: Together, beton_root: Path, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    run, features = shutil.copytree(together.run, tmp_path / "two"), tmp_path / "one.npz"
    (run / "result.json").unlink()
    assert eval_script.evaluate([*arguments_of_eval(run, features), f"--data.beton_root={beton_root}"]) == 0
    with np.load(features) as one, np.load(together.features) as two:
        assert one.files == two.files
        for key in one.files:
            assert np.array_equal(one[key], two[key]), key
    assert rows(run)
    assert all(row in together.rows for row in rows(run))


def test_losses_over_the_batches_of_all_ranks_are_those_of_the_joined_batch(together: Together, tmp_path: Path) -> None:
    joined_batch.main(str(tmp_path / "alone.pt"))
    one, other = (torch.load(path, weights_only=True) for path in (tmp_path / "alone.pt", together.joined))
    for method in joined_batch.VIEWS:
        for name in one[method]:
            assert torch.allclose(one[method][name], other[method][name], rtol=1e-9, atol=1e-9), (method, name)


def test_another_number_of_ranks_goes_on_at_the_end_of_an_epoch(
    together: Together, beton_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(together.run, tmp_path / "two")
    (tmp_path / "two" / "result.json").unlink()
    content = checkpoint.load(tmp_path / "two" / "last.pt")
    results = {**content["results"], "evaluation_due": True}
    torch.save({**content, "epoch": 1, "results": results}, tmp_path / "two" / "last.pt")
    assert train_ffcv.train(options(beton_root, tmp_path, "two")) == 0
    assert "after 1 epoch and 0 iterations, which 2 processes began" in capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "two" / "log.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["world"]) for line in lines if line["kind"] == "run"] == [(0, 2), (1, 1)]


def test_what_cannot_be_is_refused(beton_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with refusal(ConfigError, "run.ranks = 2", "1 process", "RANKS=2"):
        train_ffcv.train(options(beton_root, tmp_path, "none", "--run.ranks=2"))
    monkeypatch.setattr(ranks, "started", lambda: True)
    with refusal(ConfigError, "run.jobs", "make JOBS=", "make RANKS="):
        train_ffcv.train(options(beton_root, tmp_path, "none", "--run.jobs=2", "--run.repeats=2"))
    assert not any(tmp_path.iterdir())
