"""One of two ranks is killed: it is named, torchrun starts both again, and the result is that of an unbroken run."""

import json
import os
import random
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from dns.training import checkpoint
from tests.faults.conftest import IN_MAKE_FAULTS, Tally
from tests.support.torchrun import STEPS, assert_equal, options, rank_pids, started, steps, torchrun, wait_for, weights

pytestmark = [pytest.mark.timeout(1200), *IN_MAKE_FAULTS]
END_S = 30  # in which a rank's death ends the others
OFTEN = "--run.save_minutes=0"  # a checkpoint after every step
RUNS, KILLS = 3, 3  # in each run: one while it trains, the others while new ranks start and find each other


def test_killed_ranks_are_named_and_their_run_goes_on_by_itself(beton_root: Path, tmp_path: Path, tally: Tally) -> None:
    """Either rank, at any moment of the run, under --max-restarts."""
    done = torchrun("train_ffcv.py", *options(beton_root, tmp_path, "whole"))
    assert done.returncode == 0, done.stderr
    whole, moments = tmp_path / "whole", random.Random(0)
    for number in range(RUNS):
        run, pids = tmp_path / f"killed-{number}", []
        process = started("train_ffcv.py", *options(beton_root, tmp_path, run.name, OFTEN), restarts=KILLS)
        wait_for(run, moments.randrange(STEPS), process)
        for kill in range(KILLS):
            pids = new_ranks(process, pids)
            time.sleep(moments.random() * (3 if kill else 0.2))
            os.kill(pids[(number + kill) % 2], signal.SIGKILL)
            tally.did("kills")
        said = process.communicate(timeout=120)[0]
        if process.returncode or not all(f"local_rank: {victim}" in said for victim in range(2)):
            tally.wrong("crashed", f"run {number}: {process.returncode}, {said}")
            continue
        assert_equal(weights(run), weights(whole))
        assert steps(run) == steps(whole)
        results = [json.loads((folder / "result.json").read_text())["training"] for folder in (whole, run)]
        assert results[0] == results[1]


def new_ranks(process: subprocess.Popen[str], former: list[int]) -> list[int]:
    """Wait until torchrun has started both ranks again. Returns their process numbers."""
    while process.poll() is None:
        with suppress(OSError):  # one has ended meanwhile
            pids = rank_pids(process)
            if len(pids) == 2 and not set(pids) & set(former):
                return pids
        time.sleep(0.02)
    raise AssertionError(f"torchrun ended: {process.communicate()[0]}")


def test_without_restarts_a_killed_rank_ends_all_soon(beton_root: Path, tmp_path: Path, tally: Tally) -> None:
    """What is promised: torchrun's report names the rank and how it ended, and the last checkpoint stands. Whether the
    other rank says that it lost this one depends on who ends it first, its lost connection or torchrun."""
    process = started("train_ffcv.py", *options(beton_root, tmp_path, "run", "--optim.epochs=50", OFTEN))
    wait_for(tmp_path / "run", 3, process)
    begin = time.monotonic()
    os.kill(rank_pids(process)[1], signal.SIGKILL)
    said = process.communicate(timeout=60)[0]
    tally.did("kills")
    assert process.returncode != 0
    assert time.monotonic() - begin < END_S
    assert re.search(r"rank +: 1 \(local_rank: 1\)\n +exitcode +: -9 ", said), said
    stands = checkpoint.load(tmp_path / "run" / "last.pt")
    assert stands["epoch"] + stands["iteration"] > 0
