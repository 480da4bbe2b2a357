"""Shows what a training would do, and changes nothing: its options and where each comes from, its size, its time."""

import math
import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from terminaltables import AsciiTable
from torch import Tensor, nn

from dns import ranks
from dns.step import Step
from dns.training.former_choices import with_former_choices
from dns.training.network import check_weights
from dns.training.options import Config
from dns.training.run_folder import RunFolder, folder_of
from dns.training.setup import assemble, open_data
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import printable
from ffcv_convert.common.world import World
from pipelines.data import TrainingLoader
from pipelines.resident import ResidentLoader

GB = 1e9
ENOUGH_S = 20.0  # total of the steps that are timed


def show(runs: Sequence[Config], sources: Mapping[str, str]) -> int:
    """Print what training these runs would do, the first one in full. Writes nothing.

    sources: section.option -> file or command line that set it.
    """
    for one in runs:
        check_weights(one.model.architecture, one.model.pretrained)
    session, loader, _ = open_data(with_former_choices(runs[0]))
    epochs, world = session.config.optim.epochs, session.world
    run = RunFolder(session.config, world)
    run.forget()  # its memory is none of the training's
    training = assemble(session, loader, resumed=True)  # initial weights are not fetched: no time needs them
    seconds = timed_steps(training.step, loader, world)
    held = training_bytes(training.model, training.optimiser)
    print(configuration(runs[0], session.config, sources))
    print(what(run, [folder_of(one) for one in runs], loader, held, epochs=epochs))
    print(cost(loader, held, seconds, world.device, epochs=epochs, tflop=training.work.tflop))
    return 0


def configuration(config: Config, resolved: Config, sources: Mapping[str, str]) -> str:
    """Return a table of every option. config: as it was read; resolved: with every "auto" settled; sources:
    section.option -> file or command line that set it."""
    rows = [["option", "value", "from"]]
    before = config.stored()
    for section, options in resolved.stored().items():
        for name, value in options.items():
            key = f"{section}.{name}"
            source = sources.get(key, "default")
            settled = "" if before[section][name] == value else f", {before[section][name]} settled here"
            rows.append([key, printable(str(value), newlines=False), source + settled])
    return AsciiTable(rows, "configuration").table


def tensor_bytes(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def training_bytes(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, int]:
    """Return the bytes of what training keeps, by name, after a step at least."""
    parameters = list(model.parameters())
    state = [value for of in optimiser.state.values() for value in of.values() if isinstance(value, Tensor)]
    return {
        "network": tensor_bytes([*parameters, *model.buffers()]),
        "gradients": tensor_bytes([parameter.grad for parameter in parameters if parameter.grad is not None]),
        "optimiser": tensor_bytes(state),
    }


def peak_bytes(device: torch.device) -> tuple[str, int]:
    """Return the memory's name and the most bytes of it that the steps needed."""
    if device.type == "cuda":
        return "device memory", torch.cuda.max_memory_allocated(device)
    return "memory of this process", 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def timed_steps(step: Step, loader: TrainingLoader, world: World) -> list[float]:
    """Measure the seconds of each step after the first, as many as fit ENOUGH_S and two at least."""
    begin, seconds = time.monotonic(), []
    with loader.epoch(0) as batches:
        last = begin
        for number, batch in enumerate(batches):
            float(step(batch.images, batch.augmentation, batch.person_B)["total"])  # waits for the device
            now = time.monotonic()
            seconds += [now - last] if number else []
            last = now
            enough = len(seconds) >= 2 and now - begin > ENOUGH_S
            if ranks.highest(world, int(enough))[0]:
                break
    return seconds


def what(
    run: RunFolder, folders: Sequence[Path], loader: TrainingLoader, held: Mapping[str, int], *, epochs: int
) -> str:
    """Return a table of what would be trained and where it is kept. folders: all runs'; held: see training_bytes."""
    index = loader.index
    return lines({
        "runs": ", ".join(map(str, folders)),
        "this one": "goes on from its last checkpoint" if run.resumed else "begins",
        "would write": f"{run.path}: config.yaml, log.jsonl, result.json, result.md, report.html, report/",
        "checkpoints": f"last.pt, best.pt: {gigabytes(held['network'] + held['optimiser'])} each",
        "identities": loader.identities,
        "images": ", ".join(f"{(index.modality_N == code).sum():,} {Modality(code).name.lower()}"
                            for code in np.unique(index.modality_N)),
        "steps an epoch": f"{loader.iterations} of {loader.images_a_step} images of {loader.size_px[0]} x "
                          f"{loader.size_px[1]} px; {epochs} epochs",
    }, "training")  # fmt: skip


def cost(
    loader: TrainingLoader, held: Mapping[str, int], seconds: Sequence[float], device: torch.device, *, epochs: int,
    tflop: float,
) -> str:  # fmt: skip
    """Return a table of memory and time. seconds: those of each timed step; tflop: that of a step."""
    whose, peak = peak_bytes(device)
    resident = isinstance(loader, ResidentLoader)
    images_bytes, step_s = len(loader.index) * 3 * math.prod(loader.size_px), median(seconds)
    return lines({
        "training images": f"{gigabytes(images_bytes)}, {'in device memory' if resident else 'read from the disk'}",
        **{name: gigabytes(count) for name, count in held.items()},
        f"{whose}, at most so far": gigabytes(peak),
        "a step": f"{step_s:.3f} s, median of {len(seconds)} after the first; {tflop:.3g} TFLOP a device",
        "an epoch": f"{loader.iterations * step_s:.0f} s without its evaluation",
        "the training": f"{epochs * loader.iterations * step_s / 3600:.2f} h without evaluations",
    }, "memory and time")  # fmt: skip


def gigabytes(count: float) -> str:
    return f"{count / GB:.2f} GB"


def lines(rows: Mapping[str, Any], title: str) -> str:
    table = AsciiTable([[name, printable(str(value), newlines=False)] for name, value in rows.items()], title)
    table.inner_heading_row_border = False
    return table.table
