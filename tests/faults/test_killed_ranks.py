"""One of two ranks is killed: it is named, torchrun starts both again, and the result is that of an unbroken run."""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import IN_MAKE_FAULTS, Tally
from tests.support.torchrun import STEPS, assert_equal, options, rank_pids, started, steps, torchrun, wait_for, weights

pytestmark = [pytest.mark.timeout(1200), *IN_MAKE_FAULTS]
END_S = 30  # in which a rank's death ends the others


def test_a_killed_rank_is_named_and_its_run_goes_on_by_itself(
    beton_root: Path, tmp_path: Path, times: Callable[[int, int], int], tally: Tally
) -> None:
    """Either rank, at any moment of the run, under --max-restarts."""
    done = torchrun("train_ffcv.py", *options(beton_root, tmp_path, "whole"))
    assert done.returncode == 0, done.stderr
    whole, moments = tmp_path / "whole", random.Random(0)
    for number in range(times(1, 10)):
        run, victim = tmp_path / f"killed-{number}", number % 2
        process = started("train_ffcv.py", *options(beton_root, tmp_path, run.name, "--run.save_minutes=0"), restarts=3)
        wait_for(run, moments.randrange(STEPS), process)
        time.sleep(moments.random() / 5)
        os.kill(rank_pids(process)[victim], signal.SIGKILL)
        said = process.communicate(timeout=120)[0]
        tally.did("kills")
        if process.returncode or f"local_rank: {victim}" not in said:
            tally.wrong("crashed", f"rank {victim}: {process.returncode}, {said}")
            continue
        assert_equal(weights(run), weights(whole))
        assert steps(run) == steps(whole)
        results = [json.loads((folder / "result.json").read_text())["training"] for folder in (whole, run)]
        assert results[0] == results[1]


def test_without_restarts_a_killed_rank_ends_all_soon(beton_root: Path, tmp_path: Path, tally: Tally) -> None:
    process = started("train_ffcv.py", *options(beton_root, tmp_path, "run", "--optim.epochs=50"))
    wait_for(tmp_path / "run", 2, process)
    begin = time.monotonic()
    os.kill(rank_pids(process)[1], signal.SIGKILL)
    said = process.communicate(timeout=60)[0]
    tally.did("kills")
    assert process.returncode != 0
    assert time.monotonic() - begin < END_S
    assert "rank 0: another rank" in said
    assert "rank      : 1 (local_rank: 1)" in said, said
