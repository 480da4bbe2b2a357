"""How long does one training step take, and how much does each option of the engine gain?

Repeats the trainer's own step on one batch. The first case is the published form (eager, NCHW, float images already on
the device); each further case adds one option, up to the engine's default. CUDA takes 48 images and fp16, as published;
a CPU takes 8 images and fp32, because it has no fast fp16.
"""

import time
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from benchmarks.harness import digits, drawn_set, interleaved, summarise, synchronise, times
from benchmarks.training import PUBLISHED, Training, assemble, engine_options, one_batch, options

# The options that each case adds to the case before; the last case is what "auto" chooses.
ABLATION: dict[str, dict[str, dict[str, str]]] = {
    "cuda": {
        "published: eager, NCHW, fp16": {"precision": "fp16"},
        "+ channels-last": {"channels_last": "true"},
        "+ bf16": {"precision": "bf16"},
        "+ fused optimiser": {"fused": "true"},
        "+ augmentation in the step": {"augment": "device"},
        "+ torch.compile": {"compile": "true"},
        "+ CUDA graph": {"graph": "true"},
        "+ resident images": {},
        "+ cuDNN's first choice of algorithms": {"cudnn_benchmark": "auto"},
    },
    "cpu": {"published: eager, NCHW, fp32": {"precision": "fp32"}, "+ bf16": {"precision": "auto"}},
}
STEPS = {"cuda": 20, "cpu": 1}  # per round
WARM_UP = 8  # steps: the CUDA graph is captured in the fifth


def measure() -> dict[str, Any]:
    """Return milliseconds per step; speedup_eager: time of the published form over that of the last case."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    root = drawn_set()[1].parent
    small = ["--data.persons=2", "--data.pictures=2"] if device == "cpu" else []
    trainings: dict[str, Training] = {}
    switches = dict(PUBLISHED)
    for name, added in ABLATION[device].items():
        switches |= added
        source = "resident" if "+ resident images" in (name, *trainings) else "stream"
        trainings[name] = assemble(
            options(root, [*small, f"--data.source={source}", f"--engine.device={device}", *engine_options(**switches)])
        )
    cases = {
        name: partial(_step_ms, training, one_batch(training), STEPS[device]) for name, training in trainings.items()
    }
    for training in trainings.values():
        training.engine.activate()
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
        "tflop": last.work.tflop,
        **last.work.speed(last.work.images, medians[-1] / 1000),
        "speedup_eager": medians[0] / medians[-1],
        "images": last.loader.batch_size,
        "size_px": last.loader.size_px,
        "engine": asdict(last.engine.options()),
    }


def words(content: dict[str, Any]) -> list[str]:
    height, width = content["size_px"]
    found = [
        f"A step with {content['images']} images of {height} x {width} takes {digits(content['step_ms'])} ms with the "
        f"engine's default options: {times(content['speedup_eager'])} as the published form."
    ]
    if "tflops" in content:  # results before this figure have none
        share = f", {content['mfu']:.1%} of the card's peak" if "mfu" in content else ""
        found.append(
            f"It has {content['tflop']:.3g} TFLOP of convolutions and matrix products: {digits(content['tflops'])} "
            f"TFLOP/s{share}."
        )
    return found


def _step_ms(training: Training, batch: tuple[torch.Tensor, ...], steps: int) -> float:
    training.engine.activate()  # sets what holds for the whole process: TF32, whether cuDNN tries its algorithms
    synchronise(training.engine.device)
    begin = time.perf_counter()
    for _ in range(steps):
        training.step(*batch)
    synchronise(training.engine.device)
    return 1000 * (time.perf_counter() - begin) / steps
