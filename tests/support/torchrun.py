"""Starts trainings of several ranks by torchrun."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from dns.training import checkpoint
from tests.conftest import REPOSITORY

SMALL = [
    "--config-file", str(REPOSITORY / "configs" / "synthetic.yaml"), "--data.persons=2", "--data.pictures=2",
    "--optim.epochs=2", "--optim.peak_epoch=1", "--eval.every=1", "--eval.batch_size=16", "--run.log_every=1",
    "--optim.lr=0.002", "--data.workers=1", "--engine.device=cpu", "--engine.precision=fp32",
    "--report.write=false",
]  # fmt: skip
STEPS = 2 * (48 // 8 + 1)


def options(beton_root: Path, runs: Path, name: str, *more: str) -> list[str]:
    return [*SMALL, f"--data.beton_root={beton_root}", f"--run.root={runs}", f"--run.name={name}", *more]


def command(*arguments: object, ranks: int = 2, restarts: int = 0) -> list[str]:
    start = ["-m", "torch.distributed.run", "--standalone", "--local-addr=localhost", f"--nproc-per-node={ranks}"]
    return [sys.executable, *start, f"--max-restarts={restarts}", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default", **more}


def torchrun(*arguments: object, **how: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*arguments, **how), cwd=REPOSITORY, env=environment(), capture_output=True, text=True, timeout=240
    )


def started(*arguments: object, **how: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command(*arguments, **how), cwd=REPOSITORY, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


def steps(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "train"]


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Return all that training changes but running statistics: they average ranks, and follow accumulated batches."""
    content = checkpoint.load(run / "last.pt")
    momenta = {f"{number}.{name}": value for number, kept in content["optimiser"]["state"].items()
               for name, value in kept.items()}  # fmt: skip
    return {**{name: value for name, value in content["model"].items() if "running" not in name}, **momenta}


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def wait_for(run: Path, count: int, process: "subprocess.Popen[str]") -> None:
    """Wait until the run has logged `count` training steps."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (run / "log.jsonl").exists() and (run / "log.jsonl").read_text().count('"train"') >= count:
            return
        time.sleep(0.02)
    raise AssertionError(f"{count} steps were not reached: {process.communicate()[0]}")


def rank_pids(process: "subprocess.Popen[str]") -> list[int]:
    """Return the process numbers of torchrun's children: rank 0, rank 1, ..."""
    found = {}
    for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        ranks = [int(text.partition(b"=")[2]) for text in variables if text.startswith(b"RANK=")]
        found |= {rank: int(pid) for rank in ranks}
    return [found[rank] for rank in sorted(found)]
