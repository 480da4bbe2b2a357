"""Six parameter groups with their own learning-rate multipliers, and the published schedule."""

from collections.abc import Mapping

import numpy as np
import torch

from dns.model import DNS


def parameter_groups(model: DNS, multipliers: Mapping[str, float]) -> list[dict]:
    """One group a name of model.groups(), in that order; each carries its `multiplier`."""
    return [
        {"params": parameters, "name": name, "multiplier": multipliers[name]}
        for name, parameters in model.groups().items()
    ]


def make_optimiser(
    model: DNS,
    *,
    name: str,
    lr: float,
    momentum: float,
    weight_decay: float,
    multipliers: Mapping[str, float],
    fused: bool,
) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW; weight decay on every parameter, batch norms included (as published).

    fused: one kernel for many parameters, with learning rates as tensors on the device: a changed rate then needs no
    recompilation, and a captured step sees it. Without it torch chooses, as in the published code.
    """
    groups = parameter_groups(model, multipliers)
    device = next(model.parameters()).device
    for group in groups:
        group["lr"] = torch.tensor(lr, device=device) if fused else lr
    if name == "sgd":
        nesterov = momentum > 0
        sgd = torch.optim.SGD(
            groups, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, fused=fused or None
        )
        if fused and nesterov:  # its own momentum starts uninitialised, and stays so if fp16 skips the first step
            for parameter in model.parameters():
                sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    return torch.optim.AdamW(
        groups, lr=lr, weight_decay=weight_decay, fused=fused or None, capturable=fused and device.type == "cuda"
    )


def scaled_rate(lr: float, batches: int, rule: str) -> float:
    """The peak learning rate of steps that average the gradients of so many published batches. rule: none, sqrt,
    linear."""
    return lr * batches ** {"none": 0.0, "sqrt": 0.5, "linear": 1.0}[rule]


def learning_rate(
    epoch: int, iteration: int, *, scheduled: int, peak: float, epochs: int, peak_epoch: int, published: bool
) -> float:
    """Peak-group learning rate of one iteration: from peak / 10^4 up to `peak` at `peak_epoch`, down to 0 at `epochs`.

    Linear in between, over epochs of `scheduled` iterations. A run too short for its `peak_epoch` peaks half-way.
    published: reproduce two quirks of the published code, which takes entry `iteration - 1` of its schedule (so an
    epoch's first iteration gets its last value) and runs one iteration more than it schedules.
    """
    peak_at = peak_epoch if peak_epoch < epochs else epochs / 2
    entry = (iteration - 1) % scheduled if published else iteration
    return float(np.interp(epoch + entry / scheduled, [0, peak_at, epochs], [1e-4 * peak, peak, 0.0]))


def set_learning_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Rates on a device are set in place, all of them by two launches."""
    rates = [lr * group["multiplier"] for group in optimiser.param_groups]
    tensors = [group["lr"] for group in optimiser.param_groups]
    if isinstance(tensors[0], torch.Tensor):
        torch._foreach_zero_(tensors)
        torch._foreach_add_(tensors, rates)
        return
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = rate
