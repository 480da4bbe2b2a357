"""How long does an epoch take, end to end, and how much of it is waiting for data?

Runs train_ffcv.py as a user does, with an evaluation after each epoch, and compares it with the published data path,
which feeds the published step for a few batches. The waiting time is what the epoch takes beyond as many steps on one
batch in memory. On CUDA the drawn set has SYSU-MM01's size (928 steps of 48 images); a CPU trains a ResNet-18 on the
small set.

The two also differ in precision: ours takes the engine's default (bf16 where the hardware supports it), the published
path fp16 as published, or fp32 on a CPU, which has no fast fp16. The result names both.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import WORK, digits, drawn_set, official_set, summarise, synchronise, times, waiting_share
from benchmarks.peers import stored_pixels
from benchmarks.pipeline import CORES
from benchmarks.published_path import reference_batches
from benchmarks.training import PUBLISHED, REPOSITORY, Training, assemble, engine_options, one_batch, options
from pipelines.augment.recipes import RECIPES
from pipelines.subset import open_subset

EPOCHS = {"cuda": 6, "cpu": 2}  # the first one compiles and warms up: it is not counted
PUBLISHED_BATCHES = {"cuda": 60, "cpu": 4}
STEPS_ALONE = {"cuda": 100, "cpu": 4}


def measure() -> dict[str, Any]:
    """Return seconds per epoch. wait_share: share of the median epoch spent waiting, see harness.waiting_share;
    speedup_published: the projected published epoch over ours."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    root = (official_set() if device == "cuda" else drawn_set())[1].parent
    more = [f"--engine.device={device}", *([] if device == "cuda" else ["--model.architecture=resnet18"])]
    log = _trained(options(root, [*more, f"--optim.epochs={EPOCHS[device]}", "--eval.every=1"]))
    seconds = [line["seconds"] for line in log if line["kind"] == "epoch"][1:]
    tested = [line["seconds"] for line in log if line["kind"] == "eval"][1:]

    training = assemble(options(root, more))
    alone = _alone(training, STEPS_ALONE[device]) * training.loader.iterations
    precision = "fp16" if device == "cuda" else "fp32"
    published = assemble(
        options(root, [*more, "--data.source=stream", *engine_options(**PUBLISHED, precision=precision)])
    )
    projected = _published(published, root / "sysu", PUBLISHED_BATCHES[device]) * training.loader.iterations
    figures = summarise(
        {"ours": seconds, "ours, its evaluation": tested, "ours, steps without loading": [alone],
         "published, projected": [projected]}
    )  # fmt: skip
    epoch = figures["ours"]["median"]
    return {
        "unit": "s",
        "cases": figures,
        "epoch_s": epoch,
        "epoch_s_sysu_size": epoch if device == "cuda" else None,
        "wait_share": waiting_share(alone, epoch),
        "speedup_published": projected / epoch,
        "precision": training.engine.precision,
        "precision_published": published.engine.precision,
        "iterations": training.loader.iterations,
        **training.work.speed(training.loader.iterations * training.loader.images_a_step, epoch),
        "engine": asdict(training.engine.options()),
    }


def words(content: dict[str, Any]) -> list[str]:
    share = content["wait_share"]
    waiting = (
        f"As many steps on one batch took {1 - share:.1%} of that; what is left is waiting, or noise of the machine"
    )
    return [
        f"An epoch of {content['iterations']} iterations takes {digits(content['epoch_s'])} s, or "
        f"{content['images_per_s']:,.0f} images/s{_tflops(content)}. {waiting}.",
        f"This is {times(content['speedup_published'])} as the published path, whose epoch is projected from a few "
        f"batches (precision: ours {content['precision']}, published {content['precision_published']}).",
    ]


def _tflops(content: dict[str, Any]) -> str:
    """Return a result's TFLOP/s in words; nothing for results from before this figure."""
    share = f", {content['mfu']:.1%} of the card's peak" if "mfu" in content else ""
    return f" ({digits(content['tflops'])} TFLOP/s{share})" if "tflops" in content else ""


def _trained(arguments: list[str]) -> list[dict[str, Any]]:
    """Train a new run; return the lines of its log.jsonl."""
    folder = WORK / "runs"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "train_ffcv.py", *arguments, f"--run.root={folder}", "--run.name=epoch"]
    subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    return [json.loads(line) for line in (folder / "epoch" / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def _alone(training: Training, steps: int) -> float:
    """Return the seconds per step on one batch in memory."""
    batch, device = one_batch(training), training.engine.device
    for _ in range(8 if device.type == "cuda" else 1):
        training.step(*batch)
    synchronise(device)
    begin = time.perf_counter()
    for _ in range(steps):
        training.step(*batch)
    synchronise(device)
    return (time.perf_counter() - begin) / steps


def _published(training: Training, folder: Path, batches: int) -> float:
    """Return the seconds per step when the published data path feeds the published step."""
    subset, loader, device = open_subset(folder, "train"), training.loader, training.engine.device
    warm_up = 2 * CORES
    plan = np.concatenate([loader.plan(0), loader.plan(1)])[: batches + warm_up]
    parameters = torch.empty(0, device=device)
    begin = 0.0
    ready: Iterator[Tensor] = reference_batches(
        stored_pixels(subset), loader.row_of_sample[plan], RECIPES["sysu"], workers=CORES
    )
    for number, (images, samples) in enumerate(zip(ready, plan, strict=True), start=1):
        persons = torch.from_numpy(loader.label_of_sample[samples]).to(device)
        training.step(images.to(device), parameters, persons)
        if number == warm_up:
            synchronise(device)
            begin = time.perf_counter()
    synchronise(device)
    return (time.perf_counter() - begin) / batches
