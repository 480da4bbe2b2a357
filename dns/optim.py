"""Builds the optimiser: a method's parameter groups with learning-rate multipliers, and the published schedules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch

from dns.network import Network
from dns.option import option

MAX_EPOCHS = 100_000
EPOCHS = (1, MAX_EPOCHS)
MULTIPLIER = (0, 1000)  # keeps rate * multiplier * weight decay inside float32, in which the optimisers compute it


@dataclass(frozen=True, kw_only=True)
class OptimOptions:
    """Optimisation"""

    name: Literal["sgd", "adamw"] = option("sgd", "SGD with Nesterov momentum, or AdamW")
    lr: float = option(0.2, "peak learning rate of a group with multiplier 1", (0, 1e30))
    momentum: float = option(0.9, "of SGD", (0, 1))
    weight_decay: float = option(5e-4, "on every parameter", (0, 1000))
    epochs: int = option(100, "epochs, and where a linear learning rate reaches 0", EPOCHS)
    schedule: Literal["linear", "steps"] = option(
        "linear", "the learning rate rises and falls linearly, or is constant in an epoch and falls in steps"
    )
    peak_epoch: int = option(16, "linear: epoch at which the rate peaks; half of a run that is shorter", EPOCHS)
    warm_up_epochs: int = option(10, "steps: epochs in which the rate rises to its peak, by equal steps", EPOCHS)
    decay_epochs: tuple[int, ...] = option((20, 50), "steps: epochs (from 0) that begin with a tenth of it", EPOCHS)
    published_schedule: bool = option(
        True, "an epoch runs one iteration more; linear: its first one takes its last learning rate"
    )
    accumulate: int = option(1, "published batches an optimiser step on each device", (1, 1000))
    gather: bool = option(False, "losses over the batches of all ranks, not of each")
    scale_lr: Literal["none", "sqrt", "linear"] = option(
        "none", "how optim.lr grows with the number of published batches a step, over all ranks"
    )


@dataclass(frozen=True, kw_only=True)
class MultiplierOptions:
    """Learning-rate multipliers of the parameter groups"""

    rest: float = option(0.1, "both stems, HSS, CSS", MULTIPLIER)
    layer3: float = option(0.2, "layer3", MULTIPLIER)
    layer4: float = option(0.25, "layer4", MULTIPLIER)
    neck: float = option(1.0, "BN neck", MULTIPLIER)
    classifier: float = option(1.0, "classifier", MULTIPLIER)
    distillation: float = option(1.0, "per-modality classifiers of DD", MULTIPLIER)


def parameter_groups(model: Network, multipliers: MultiplierOptions) -> list[dict]:
    """Return one group for each name of model.groups(), in that order; each carries its `multiplier`."""
    return [
        {"params": parameters, "name": name, "multiplier": getattr(multipliers, name)}
        for name, parameters in model.groups().items()
    ]


def make_optimiser(
    model: Network, options: OptimOptions, multipliers: MultiplierOptions, *, fused: bool
) -> torch.optim.Optimizer:
    """Build SGD with Nesterov momentum, or AdamW; weight decay on every parameter, batch norms included (as published).

    fused: one kernel for many parameters, with learning rates as tensors on the device: a changed rate then needs no
    recompilation, and a captured step sees it. Without it torch chooses, as in the published code.
    """
    groups, lr, weight_decay = parameter_groups(model, multipliers), options.lr, options.weight_decay
    device = next(model.parameters()).device
    for group in groups:
        group["lr"] = torch.tensor(lr, device=device) if fused else lr
    if options.name == "sgd":
        nesterov = options.momentum > 0
        sgd = torch.optim.SGD(
            groups, lr=lr, momentum=options.momentum, nesterov=nesterov, weight_decay=weight_decay, fused=fused or None
        )
        if fused and nesterov:  # its own momentum starts uninitialised, and stays so if fp16 skips the first step
            for parameter in (parameter for group in groups for parameter in group["params"]):
                sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    return torch.optim.AdamW(
        groups, lr=lr, weight_decay=weight_decay, fused=fused or None, capturable=fused and device.type == "cuda"
    )


def scaled_rate(lr: float, batches: int, rule: str) -> float:
    """Return the peak learning rate of steps that average the gradients of so many published batches. rule: none, sqrt,
    linear."""
    return lr * batches ** {"none": 0.0, "sqrt": 0.5, "linear": 1.0}[rule]


def schedule(options: OptimOptions, iterations: int, batches: int) -> Callable[[int, int], float]:
    """Return the function (epoch, iteration) -> the peak group's learning rate. iterations: an epoch's; batches:
    published batches of a step, over all ranks."""
    peak = scaled_rate(options.lr, batches, options.scale_lr)
    if options.schedule == "steps":
        return lambda epoch, _: stepped_rate(
            epoch, peak=peak, warm_up_epochs=options.warm_up_epochs, decay_epochs=options.decay_epochs
        )
    return partial(
        learning_rate, scheduled=iterations - options.published_schedule, peak=peak, epochs=options.epochs,
        peak_epoch=options.peak_epoch, published=options.published_schedule,
    )  # fmt: skip


def learning_rate(
    epoch: int, iteration: int, *, scheduled: int, peak: float, epochs: int, peak_epoch: int, published: bool
) -> float:
    """Return the peak group's learning rate: from peak / 10^4 up to `peak` at `peak_epoch`, down to 0 at `epochs`.

    Linear in between, over epochs of `scheduled` iterations. A run too short for its `peak_epoch` peaks half-way.
    published: reproduce two quirks of the published code, which takes entry `iteration - 1` of its schedule (so an
    epoch's first iteration gets its last value) and runs one iteration more than it schedules.
    """
    peak_at = peak_epoch if peak_epoch < epochs else epochs / 2
    entry = (iteration - 1) % scheduled if published else iteration
    return float(np.interp(epoch + entry / scheduled, [0, peak_at, epochs], [1e-4 * peak, peak, 0.0]))


def stepped_rate(epoch: int, *, peak: float, warm_up_epochs: int, decay_epochs: Sequence[int]) -> float:
    """Return the peak group's learning rate in `epoch`, from 0: peak * (epoch + 1) / warm_up_epochs up to `peak`, and a
    tenth of it from each of decay_epochs on."""
    return peak * min((epoch + 1) / warm_up_epochs, 1) / 10 ** sum(epoch >= at for at in decay_epochs)


def set_learning_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Set every group's rate. Rates on a device are set in place, all of them by two launches."""
    rates = [lr * group["multiplier"] for group in optimiser.param_groups]
    tensors = [group["lr"] for group in optimiser.param_groups]
    if isinstance(tensors[0], torch.Tensor):
        torch._foreach_zero_(tensors)
        torch._foreach_add_(tensors, rates)
        return
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = rate
