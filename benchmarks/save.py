"""How long does a checkpoint hold training up? On the CPU, where the writer's thread takes time of the steps as well.

A round is two short epochs of the trainer's own step, each followed by TrainingState.save: as it is, behind the steps
that follow; waited for, as if the loop wrote it; and without any. ResNet-50's checkpoint is one of 0.5 GB.
"""

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import WORK, digits, drawn_set, interleaved, summarise, synchronise
from benchmarks.training import Training, assemble, one_batch, options
from dns.training.state import TrainingState

ARCHITECTURES = ("resnet50", "resnet18")
EPOCHS, STEPS = 2, 2  # per round, and per epoch
ROUNDS = 5


def measure() -> dict[str, Any]:
    """Return seconds an epoch of STEPS steps with 8 images. cost_s, cost_waited_s: what a save adds to it, by
    architecture; bytes: a checkpoint's."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    root, folder = drawn_set()[1].parent, WORK / "save"
    # One batch again and again at the recipe's rate ends in weights that are not finite, which are not saved.
    small = ["--data.persons=2", "--data.pictures=2", "--optim.lr=1e-6", f"--engine.device={device}"]
    cases: dict[str, Callable[[], float]] = {}
    paths = {}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ARCHITECTURES:
        training = assemble(options(root, [*small, f"--model.architecture={name}"]))
        paths[name] = folder / f"{name}.pt"
        run = partial(_epoch_s, training, _state(training), paths[name], one_batch(training))
        cases |= {
            f"{name}, ours": partial(run, saves=True),
            f"{name}, waited for": partial(run, saves=True, waits=True),
            f"{name}, not saved": partial(run, saves=False),
        }
    for case in cases.values():
        case()
    figures = summarise(interleaved(cases, ROUNDS))
    sizes = {name: path.stat().st_size for name, path in paths.items()}
    shutil.rmtree(folder)
    cost, waited = (
        {name: figures[f"{name}, {how}"]["median"] - figures[f"{name}, not saved"]["median"] for name in ARCHITECTURES}
        for how in ("ours", "waited for")
    )
    return {"unit": "s", "cases": figures, "bytes": sizes, "cost_s": cost, "cost_waited_s": waited,
            "cost_resnet50_s": cost.get("resnet50")}  # fmt: skip


def words(content: dict[str, Any]) -> list[str]:
    return [
        f"A checkpoint of {name} ({size / 1e6:.0f} MB) adds {digits(content['cost_s'][name])} s to an epoch of {STEPS} "
        f"steps; if the loop waits until it is on the disk, {digits(content['cost_waited_s'][name])} s."
        for name, size in content["bytes"].items()
    ]


def _state(training: Training) -> TrainingState:
    loader = training.loader
    return TrainingState(
        training.world, training.model, training.optimiser, training.scaler, training.config, loader.size_px,
        loader.sha256,
    )  # fmt: skip


def _epoch_s(
    training: Training,
    state: TrainingState,
    path: Path,
    batch: tuple[torch.Tensor, ...],
    *,
    saves: bool,
    waits: bool = False,
) -> float:
    """Return seconds an epoch. Waits for the last write after the clock stops: the next round starts without one."""
    training.engine.activate()
    if saves and not waits:
        state.save(path)  # so that a write runs during every epoch, as in a training
    synchronise(training.engine.device)
    begin = time.perf_counter()
    for _ in range(EPOCHS):
        for _ in range(STEPS):
            training.step(*batch)
        if saves:
            state.save(path)
        if waits:
            state.writer.wait()
    synchronise(training.engine.device)
    seconds = time.perf_counter() - begin
    state.writer.wait()
    return seconds / EPOCHS
