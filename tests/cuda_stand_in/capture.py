"""What happens on the host when the step is captured, trained with, stopped, and its network tested.

    python -m tests.cuda_stand_in.run tests.cuda_stand_in.capture BETON_ROOT WORK_FOLDER every|pairs [--model.x=y ...]

BETON_ROOT holds a converted set `sysu` of any size. every: all combinations of precision, optimiser and source, and 200
iterations of the loop; pairs: the combinations in PAIRS, and 40 iterations. A ResNet-18, unless an option says
otherwise. Prints one JSON object. Kernels do nothing here, so tensors hold anything: `train` replaces the checks that
numbers are finite, and the metrics.
"""

import itertools
import json
import os
import signal
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

import eval as eval_script
import train_ffcv
from benchmarks.training import assemble, one_batch, options
from dns import ranks
from dns.evaluation.metrics import RANKS, Metrics, PerQuery
from dns.losses import Losses
from dns.optim import set_learning_rate
from dns.step import CapturedStep
from dns.training.loss_watch import LossQueue
from dns.training.setup import Training
from dns.training.stopping import Interruption
from ffcv_convert.common.world import World
from tests.cuda_stand_in.device import counted, nodes, violations

SMALL = [
    "--report.write=false",
    "--model.architecture=resnet18",
    "--engine.compile=false",
    "--data.persons=3",
    "--data.pictures=2",
]
WAITS = ("sync", "wait")
# Precision, optimiser and source: every combination; and the fewest that hold each two of them together.
EVERY = tuple(itertools.product(("bf16", "fp16", "fp32"), ("sgd", "adamw"), ("resident", "stream")))
PAIRS = (
    ("bf16", "sgd", "resident"), ("bf16", "adamw", "stream"), ("fp16", "sgd", "stream"), ("fp16", "adamw", "resident"),
    ("fp32", "sgd", "resident"), ("fp32", "adamw", "stream"),
)  # fmt: skip


def combinations(beton_root: Path, chosen: Iterable[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """These combinations through warm-up, capture and replays: what a steady step launches."""
    found = []
    for precision, optimiser, source in chosen:
        choice = [f"--engine.precision={precision}", f"--optim.name={optimiser}", f"--data.source={source}"]
        training = assemble(options(beton_root, [*SMALL, *choice]))
        found.append({"precision": precision, "optimiser": optimiser, "source": source, **steady_step(training)})
    return found


def steady_step(training: Training) -> dict[str, Any]:
    """Of a step after warm-up and capture."""
    batch, before = one_batch(training), len(violations())
    seeds = training.loader.dropout_seeds(0, 0)
    for _ in range(CapturedStep.WARM_UP + 2):
        training.step(*batch, dropout_seeds=seeds)
    steady = counted(lambda: training.step(*batch, dropout_seeds=seeds))
    return {
        "launches": steady["launch"] + steady["replay"], "replays": steady["replay"],
        "syncs": sum(steady[name] for name in WAITS), "nodes": len(nodes()), "violations": violations()[before:],
    }  # fmt: skip


def several(beton_root: Path) -> dict[str, Any]:
    """Steps with more than one batch: accumulated, and of two ranks. Their all-reduce is torch's fake one, which
    launches nothing: NCCL asks the driver for more than the stand-in has."""
    found = {"accumulated": steady_step(assemble(options(beton_root, [*SMALL, "--optim.accumulate=2"])))}
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    with patch.object(ranks, "join", lambda device: World(device, 0, 2)):
        found["two ranks"] = steady_step(assemble(options(beton_root, SMALL)))
    dist.destroy_process_group()
    return found


def controls() -> dict[str, bool]:
    """Steps that must not be captured, and whether that was seen."""
    zeros = torch.zeros(4, device="cuda")
    elsewhere = torch.cuda.Stream()

    def losses(total: Tensor) -> Losses:
        return {"total": total}

    def reads(*_: Tensor) -> Losses:
        return losses(zeros + zeros.sum().item())

    def copies(*_: Tensor) -> Losses:
        return losses(torch.zeros(4).to("cuda"))

    def synchronises(*_: Tensor) -> Losses:
        torch.cuda.synchronize()
        return losses(zeros)

    def leaves(*_: Tensor) -> Losses:
        with torch.cuda.stream(elsewhere):
            zeros.add_(1)
        return losses(zeros)

    named: dict[str, Callable[..., Losses]] = {
        "reads a value back": reads, "copies from pageable memory": copies, "synchronises": synchronises,
        "computes on a stream outside the graph": leaves,
    }  # fmt: skip
    return {name: _is_caught(step) for name, step in named.items()}


def _is_caught(step: Callable[..., Losses]) -> bool:
    before, captured = len(violations()), CapturedStep(step)
    inputs = [torch.zeros(2, device="cuda") for _ in range(3)]
    try:
        with warnings.catch_warnings():  # of graphs that stay empty
            warnings.simplefilter("ignore")
            for _ in range(CapturedStep.WARM_UP + 1):
                captured(*inputs)
    except RuntimeError:
        return True
    finally:
        torch.cuda.set_stream(torch.cuda.default_stream())
    return len(violations()) > before


def loop(beton_root: Path, source: str, iterations: int) -> dict[str, Any]:
    """The training loop's own calls of an iteration: launches, synchronisations, and milliseconds of its thread."""
    training = assemble(options(beton_root, [*SMALL, f"--data.source={source}"]))
    queue = LossQueue()
    times: list[float] = []
    launches: list[int] = []
    syncs: list[int] = []

    def iteration(batch: Any, number: int) -> None:
        set_learning_rate(training.optimiser, 0.1 + 1e-6 * number)
        seeds = training.loader.dropout_seeds(epoch, number)
        queue.put(training.step(batch.images, batch.augmentation, batch.person_B, dropout_seeds=seeds))
        for _ in queue.arrived():
            pass

    epoch = 0
    while len(times) < iterations:
        with training.loader.epoch(epoch) as batches:
            begin = time.thread_time()
            for batch in batches:
                seen = counted(lambda batch=batch: iteration(batch, len(times)))  # type: ignore[misc]
                times.append(1000 * (time.thread_time() - begin))
                launches.append(seen["launch"] + seen["replay"])
                syncs.append(sum(seen[name] for name in WAITS))
                begin = time.thread_time()
        epoch += 1
    steady = CapturedStep.WARM_UP + 2
    return {
        "host_ms": statistics.median(times[steady:]),
        "launches": statistics.mode(launches[steady:]),
        "syncs": max(syncs[steady:]),
    }


def train(beton_root: Path, folder: Path, *, numbers: bool = False) -> dict[str, Any]:
    """train_ffcv.py with a stop and a resume, then eval.py with and without re-ranking. Returns exit codes.

    numbers: whether the stand-in computes (computing.py), so that every check of a number is the product's own.
    """
    arguments = [
        *options(beton_root, SMALL), f"--run.root={folder}", "--run.name=run", "--optim.epochs=2", "--eval.every=1",
        "--run.log_every=1", "--eval.batch_size=16",
    ]  # fmt: skip
    checkpoint = folder / "run" / "last.pt"
    tested = [f"--eval.checkpoint={checkpoint}", "--eval.protocols=sysu-all", "--eval.batch_size=16"]
    if numbers:
        tested.append("--engine.compile=false")  # as the training: Triton's kernels would compute nothing
    with nullcontext() if numbers else numbers_replaced():
        with patch.object(Interruption, "before_stop", _stop_after(3)):
            codes = {"stopped": train_ffcv.train(arguments)}
        codes["resumed"] = train_ffcv.train(arguments)
        codes["tested"] = eval_script.evaluate(tested)
        codes["tested with re-ranking"] = eval_script.evaluate([*tested, "--eval.re_ranking=true"])
    return codes


def _stop_after(steps: int) -> Callable[..., Iterator[Any]]:
    """Interruption.before_stop, with a SIGTERM after this many batches."""
    real = Interruption.before_stop

    def batches(self: Interruption, given: Iterator[Any], agreed: Callable[[int], int]) -> Iterator[Any]:
        for number, batch in enumerate(real(self, given, agreed), start=1):
            if number == steps:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    return batches


@contextmanager
def numbers_replaced() -> Iterator[None]:
    """Where numbers decide what the program does, they are replaced: none was computed."""
    metrics = Metrics(cmc=[0.5] * RANKS, mAP=0.5, mINP=0.5, chance=0.5)

    def rank_queries(distance: Tensor, query: Tensor, *_: Any, **__: Any) -> PerQuery:
        assert distance.is_cuda
        return PerQuery(*[torch.ones(len(query))] * len(PerQuery._fields))

    def rerank(query: Tensor, gallery: Tensor) -> Tensor:  # its sizes follow from its numbers
        assert query.is_cuda
        return query @ gallery.T

    with (
        patch.multiple(
            "dns.evaluation.ranking", rank_queries=rank_queries, rerank=rerank, mean_metrics=lambda _: metrics
        ),
        patch("torch.isfinite", lambda tensor: torch.ones(tensor.shape, dtype=torch.bool)),
        patch("train_ffcv.math", SimpleNamespace(isfinite=lambda _: True)),
    ):
        yield


def main(beton_root: str, folder: str, which: str, *more: str) -> None:
    SMALL.extend(more)
    chosen, iterations = {"every": (EVERY, 200), "pairs": (PAIRS, 40)}[which]
    result = {
        "combinations": combinations(Path(beton_root), chosen),
        "several": several(Path(beton_root)),
        "controls": controls(),
        "loop": {source: loop(Path(beton_root), source, iterations) for source in ("resident", "stream")},
        "training": train(Path(beton_root), Path(folder)),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
