"""How fast do two processes train together, and which way of averaging their gradients is faster?

    python -m benchmarks.ranks

Repeats the trainer's own step (ResNet-50, 8 images of 288 x 144 a process, CPU, one thread a process) in one process
and in two: with one all-reduce of a flat buffer, which training uses, and with torch's DistributedDataParallel. Each
round starts the processes again. Written to benchmarks/results/ranks-<hardware>-<date>.json.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from benchmarks.harness import digits, drawn_set, interleaved, summarise, write_result
from benchmarks.training import REPOSITORY, assemble, one_batch, options
from dns import ranks
from dns.losses import LossOptions
from dns.model import DNS, ModelOptions
from dns.network import Network
from dns.step import Step, make_step
from dns.training.environment import environment
from dns.training.setup import Training

STEPS, WARM_UP, ROUNDS = 4, 2, 3
CASES = {
    "one process": (1, "flat"),
    "two ranks, one all-reduce of a flat buffer": (2, "flat"),
    "two ranks, DistributedDataParallel": (2, "ddp"),
}
# Bytes a second in each direction, as their makers state them: NVLink of an H100, PCIe 5 x16.
LINKS = {"NVLink": 450e9, "PCIe": 64e9}


class Wrapped:
    """A network whose forward pass DistributedDataParallel calls; all else is the network's own."""

    def __init__(self, model: Network):
        self._model, self._parallel = model, DistributedDataParallel(model)

    def __call__(self, visible: Tensor, other: Tensor) -> Any:
        return self._parallel(visible, other)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def step_of(training: Training, way: str) -> Step:
    if way == "flat":
        return training.step
    wrapped: Any = Wrapped(training.model)
    return make_step(wrapped, training.optimiser, training.scaler, training.loader.augment, training.engine)


def step_ms(way: str) -> float:
    """Measure milliseconds a step in this process, the median of STEPS."""
    root = drawn_set()[1].parent
    small = ["--data.persons=2", "--data.pictures=2", "--data.workers=1", "--engine.device=cpu"]
    training = assemble(options(root, small))
    step, batch, took = step_of(training, way), one_batch(training), []
    for _ in range(WARM_UP + STEPS):
        begin = time.perf_counter()
        step(*batch)
        took.append(1000 * (time.perf_counter() - begin))
    return sorted(took[WARM_UP:])[STEPS // 2]


def started(processes: int, way: str) -> float:
    """Return the milliseconds a step that rank 0 of `processes` new processes measures."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--local-addr=localhost", f"--nproc-per-node={processes}"]
    done = subprocess.run(
        [*command, "-m", "benchmarks.ranks", way], cwd=REPOSITORY, env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout.split()[-1])


def measure() -> dict[str, Any]:
    """Return milliseconds a step. efficiency: images/s of two ranks over twice those of one process. reduced_bytes:
    bytes of gradients that each step averages; seconds computed, not measured, for rings of four GPUs."""
    drawn_set()
    figures = summarise(interleaved({name: partial(started, *case) for name, case in CASES.items()}, ROUNDS))
    alone, *together = (case["median"] for case in figures.values())
    model = DNS(395, ModelOptions(), LossOptions())
    size = 4 * sum(parameter.numel() for parameter in model.parameters())
    return {
        "unit": "ms",
        "cases": figures,
        "efficiency": {name: alone / ms for name, ms in zip(list(CASES)[1:], together, strict=True)},
        "reduced_bytes": size,
        "computed_ms": {name: 1000 * 2 * 3 / 4 * size / speed for name, speed in LINKS.items()},
    }


def table(content: Mapping[str, Any]) -> str:
    lines = ["| a step | median, ms | lowest | highest | efficiency |", "| --- | --- | --- | --- | --- |"]
    for name, case in content["cases"].items():
        share = f"{content['efficiency'][name]:.0%}" if name in content["efficiency"] else ""
        numbers = " | ".join(digits(case[key]) for key in ("median", "least", "most"))
        lines.append(f"| {name} | {numbers} | {share} |")
    links = " and ".join(f"{ms:.1f} ms by {name}" for name, ms in content["computed_ms"].items())
    size = f"{content['reduced_bytes'] / 1e6:.0f} MB"
    return "\n".join(lines) + (
        f"\n\nA step averages {size} of gradients. Computed, not measured, from the makers' bandwidths: a ring of four "
        f"GPUs takes at least {links}, unless it overlaps with the backward pass.\n"
    )


def main(arguments: Sequence[str]) -> int:
    if arguments:
        with ranks.main_alone_prints(), ranks.leaving():
            print(step_ms(arguments[0]))
        return 0
    content = {**measure(), "environment": environment(torch.device("cpu"))}
    print(table(content))
    print(f"written: {write_result('ranks', content, content['environment'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
