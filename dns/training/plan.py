"""What a training would do: its configuration and where each value comes from, its size, its time. Changes nothing."""

import resource
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from terminaltables import AsciiTable
from torch import Tensor, nn

from dns.training.options import Config
from ffcv_convert.common.errors import printable

GB = 1e9


def configuration(asked: Config, resolved: Config, sources: Mapping[str, str]) -> str:
    """A table of every option. asked: as it was read; resolved: with every "auto" settled; sources: section.option ->
    file or command line that set it."""
    rows = [["option", "value", "from"]]
    before = asked.stored()
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
    """Bytes of what training keeps, by name, after a step at least."""
    parameters = list(model.parameters())
    state = [value for of in optimiser.state.values() for value in of.values() if isinstance(value, Tensor)]
    return {
        "network": tensor_bytes([*parameters, *model.buffers()]),
        "gradients": tensor_bytes([parameter.grad for parameter in parameters if parameter.grad is not None]),
        "optimiser": tensor_bytes(state),
    }


def peak_bytes(device: torch.device) -> tuple[str, int]:
    """What the steps needed at most, and of which memory."""
    if device.type == "cuda":
        return "device memory", torch.cuda.max_memory_allocated(device)
    return "memory of this process", 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def gigabytes(count: float) -> str:
    return f"{count / GB:.2f} GB"


def lines(rows: Mapping[str, Any], title: str) -> str:
    table = AsciiTable([[name, printable(str(value), newlines=False)] for name, value in rows.items()], title)
    table.inner_heading_row_border = False
    return table.table
