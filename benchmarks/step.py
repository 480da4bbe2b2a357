"""How long does one training step take, and what does each part of the engine gain?

The trainer's own step, again and again on one batch, from the published form (eager, NCHW, float images already on the
device) to the engine's default, one switch more a case. On CUDA 48 images and fp16 as published; a CPU gets 8 images,
and fp32, for it has no fast fp16.
"""

import time
from functools import partial
from typing import Any

import torch

from benchmarks.harness import drawn_set, interleaved, summarise, synchronise
from benchmarks.training import PUBLISHED, Training, assemble, engine_options, one_batch, options

# Switches added to those of the case before; the last case is what "auto" resolves to.
ABLATION: dict[str, dict[str, dict[str, str]]] = {
    "cuda": {
        "published: eager, NCHW, fp16": {"precision": "fp16"},
        "+ channels-last": {"channels_last": "true"},
        "+ bf16": {"precision": "bf16"},
        "+ fused optimiser": {"fused": "true"},
        "+ augmentation in the step": {"augment": "device"},
        "+ torch.compile": {"compile": "true"},
        "+ CUDA graph": {"graph": "true"},
        "+ resident pictures": {},
    },
    "cpu": {"published: eager, NCHW, fp32": {"precision": "fp32"}, "+ bf16": {"precision": "auto"}},
}
STEPS = {"cuda": 20, "cpu": 1}  # a round
WARM_UP = 8  # steps: the CUDA graph is captured in the fifth


def measure() -> dict[str, Any]:
    """Milliseconds a step; ratio_eager: the published form's over the last case's."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    root = drawn_set()[1].parent
    small = ["--data.persons=2", "--data.pictures=2"] if device == "cpu" else []
    trainings, switches = {}, dict(PUBLISHED)
    for name, added in ABLATION[device].items():
        switches |= added
        source = "resident" if "resident" in name else "stream"
        trainings[name] = assemble(
            options(root, [*small, f"--data.source={source}", f"--engine.device={device}", *engine_options(**switches)])
        )
    cases = {
        name: partial(_step_ms, training, one_batch(training), STEPS[device]) for name, training in trainings.items()
    }
    for training in trainings.values():
        batch = one_batch(training)
        for _ in range(WARM_UP if device == "cuda" else 1):
            training.step(*batch)
    figures = summarise(interleaved(cases))
    medians = [case["median"] for case in figures.values()]
    last = list(trainings.values())[-1]
    return {
        "unit": "ms",
        "cases": figures,
        "step_ms": medians[-1],
        "ratio_eager": medians[0] / medians[-1],
        "images": last.loader.batch_size,
        "size_px": last.loader.size_px,
        "engine": last.engine.options(),
    }


def _step_ms(training: Training, batch: tuple[torch.Tensor, ...], steps: int) -> float:
    synchronise(training.engine.device)
    begin = time.perf_counter()
    for _ in range(steps):
        training.step(*batch)
    synchronise(training.engine.device)
    return 1000 * (time.perf_counter() - begin) / steps
