"""Exchanges what a training's ranks share while they compute: gradients, losses, outputs, running statistics."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dns.ranks import lost_ranks
from ffcv_convert.common.world import World


class Mean:
    """A mean over ranks and accumulated batches, which replaces the tensors in one all-reduce of a flat buffer. It can
    be captured in a CUDA graph. Every call must bring tensors of the same shapes."""

    def __init__(self, world: World, accumulated: int):
        self._world, self._share = world, 1 / (world.size * accumulated)
        self._flat: Tensor | None = None
        self._views: list[Tensor] = []

    def __call__(self, sums: Sequence[Tensor]) -> None:
        tensors = list(sums)
        if self._world.size == 1:
            if self._share != 1:
                torch._foreach_mul_(tensors, self._share)
            return
        if self._flat is None:
            self._flat, self._views = _flat_buffer(tensors)
        torch._foreach_copy_(self._views, tensors)
        with lost_ranks():
            dist.all_reduce(self._flat)
        self._flat.mul_(self._share)
        torch._foreach_copy_(tensors, self._views)


class Gather:
    """Joins the outputs and identities of all ranks' batches into one batch, block by block: [visible of all...,
    infrared of all...], and on through whatever further blocks the outputs have, see Network.blocks.

    Each rank then computes the same loss L. The backward pass adds up what the ranks want of a rank's outputs, which is
    dL times the number of ranks, and Mean divides by it: the gradient is that of one process with the joined batch.
    """

    def __init__(self, world: World):
        self._world = world

    @torch.compiler.disable
    def __call__(self, outputs: Any, person_B: Tensor) -> tuple[Any, Tensor]:
        rows = len(person_B) // 2  # of a block
        joined = (None if output is None else self._joined(output, rows) for output in outputs)
        return type(outputs)(*joined), self._joined(person_B, rows)

    def _joined(self, tensor: Tensor, rows: int) -> Tensor:
        blocks = zip(*(batch.split(rows) for batch in _AllGather.apply(tensor.contiguous(), self._world)), strict=True)
        return torch.cat([part for block in blocks for part in block])


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, own: Tensor, world: World) -> Tensor:
        """Return the tensors of all ranks: (ranks, ...)."""
        context.rank = world.rank
        gathered = [torch.empty_like(own) for _ in range(world.size)]
        with lost_ranks():
            dist.all_gather(gathered, own)
        return torch.stack(gathered)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        wanted = gradient.contiguous()
        with lost_ranks():
            dist.all_reduce(wanted)
        return wanted[context.rank], None


def _flat_buffer(tensors: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Return a buffer for all tensors one after another, and a view of it for each, strided as the tensor is."""
    flat = torch.empty(sum(tensor.numel() for tensor in tensors), dtype=tensors[0].dtype, device=tensors[0].device)
    views, start = [], 0
    for tensor in tensors:
        views.append(flat.as_strided(tensor.shape, tensor.stride(), start))
        start += tensor.numel()
    return flat, views


def running_statistics(model: nn.Module) -> list[Tensor]:
    """Return the running means and variances of every batch norm: the only buffers in which ranks differ."""
    return [
        buffer for name, buffer in model.named_buffers() if name.rpartition(".")[2] in ("running_mean", "running_var")
    ]


def every_statistic(world: World, model: nn.Module) -> Tensor:
    """Return the running statistics of every rank, one after another: (ranks, numbers), on the device."""
    own = torch.cat([buffer.flatten() for buffer in running_statistics(model)])
    if world.size == 1:
        return own[None]
    gathered = [torch.empty_like(own) for _ in range(world.size)]
    with lost_ranks():
        dist.all_gather(gathered, own)
    return torch.stack(gathered)


def set_statistics(model: nn.Module, numbers: Tensor) -> None:
    """Set the model's running statistics. numbers: one rank's, as every_statistic lays them out."""
    buffers = running_statistics(model)
    with torch.no_grad():
        for buffer, part in zip(buffers, numbers.split([buffer.numel() for buffer in buffers]), strict=True):
            buffer.copy_(part.view_as(buffer))


@contextmanager
def averaged_statistics(world: World, model: nn.Module) -> Iterator[Tensor]:
    """Give the model the mean of all ranks' running statistics in the block, as testing and checkpoints want it; after
    it, its own again. Yields those of every rank."""
    every = every_statistic(world, model)
    if world.size == 1:
        yield every
        return
    set_statistics(model, every.mean(dim=0))
    try:
        yield every
    finally:
        set_statistics(model, every[world.rank])
