"""Faults of the captured step: each trains wrongly, and neither raises nor breaks a rule of capture.

planted.py puts them into a training and compares it with the CPU's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dns.losses import Losses
from dns.step import CapturedStep

if TYPE_CHECKING:  # it needs the stand-in; the names of the faults do not
    from tests.cuda_stand_in.small_training import Parts

Fault = Callable[["Parts"], None]


class Replaying(CapturedStep):
    """A captured step, with the steps of a replay apart, so that a fault can change one of them."""

    def __call__(self, *inputs: Tensor, dropout_seeds: Any = ()) -> Losses:
        if self._calls < self.WARM_UP:
            return super().__call__(*inputs, dropout_seeds=dropout_seeds)
        captures = self._graph is None
        if captures:
            self._capture(inputs)
        self.fill(inputs)
        return self.finish(captures)

    def fill(self, inputs: tuple[Tensor, ...]) -> None:
        for fixed, given in zip(self._inputs, inputs, strict=True):
            fixed.copy_(given)

    def finish(self, _captures: bool) -> Losses:
        assert self._graph is not None
        assert self._losses is not None
        self._graph.replay()
        return self._losses


class SwapsInputs(Replaying):
    def fill(self, inputs: tuple[Tensor, ...]) -> None:
        self._inputs = inputs  # the graph goes on reading the former ones' memory


class ForgetsIdentities(Replaying):
    def fill(self, inputs: tuple[Tensor, ...]) -> None:
        for fixed, given in list(zip(self._inputs, inputs, strict=True))[:2]:
            fixed.copy_(given)


class FreesInputs(Replaying):
    def _capture(self, inputs: tuple[Tensor, ...]) -> None:
        super()._capture(inputs)
        self._inputs = tuple(torch.zeros_like(fixed) for fixed in self._inputs)


class ReadsTooEarly(Replaying):
    def finish(self, captures: bool) -> Losses:
        assert self._losses is not None
        early = {name: loss.clone() for name, loss in self._losses.items()}
        super().finish(captures)
        return early


class DoesNotReplayCapture(Replaying):
    def finish(self, captures: bool) -> Losses:
        assert self._losses is not None
        return self._losses if captures else super().finish(captures)


class DropsGradients(Replaying):
    optimiser: torch.optim.Optimizer

    def finish(self, captures: bool) -> Losses:
        losses = super().finish(captures)
        self.optimiser.zero_grad(set_to_none=True)
        self.others = [torch.full((1 << size,), 7.0, device="cuda") for size in range(20)]  # would take freed memory
        return losses


def replaced_by(kind: type[Replaying]) -> Fault:
    def plant(parts: Parts) -> None:
        assert isinstance(parts.step, CapturedStep)
        parts.step.__class__ = kind
        parts.step.optimiser = parts.optimiser  # type: ignore[attr-defined]

    return plant


def rate_is_a_number(parts: Parts) -> None:
    def set_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
        for group in optimiser.param_groups:
            group["lr"] = torch.tensor(lr * group["multiplier"]).item()  # rounded to float32, as the right one is

    parts.set_rate = set_rate


def rate_is_replaced(parts: Parts) -> None:
    def set_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
        for group in optimiser.param_groups:
            group["lr"] = torch.tensor(lr * group["multiplier"], device=group["lr"].device)

    parts.set_rate = set_rate


def twins_move_outside(parts: Parts) -> None:
    move = parts.model.distillation.update_twins
    parts.model.distillation.update_twins = lambda: None if _capturing() else move()  # type: ignore[method-assign]


def gradients_are_not_zeroed(parts: Parts) -> None:
    zero = parts.optimiser.zero_grad
    parts.optimiser.zero_grad = lambda set_to_none=True: None if _capturing() else zero(set_to_none)  # type: ignore


def twins_move_with_every_batch(parts: Parts) -> None:
    distillation = parts.model.distillation
    forward = distillation.forward

    def moving(*given: Tensor) -> Tensor:
        distillation.twins_follow = True
        return forward(*given)

    distillation.forward = moving  # type: ignore[method-assign]


def _capturing() -> bool:
    return torch.cuda.is_current_stream_capturing()


# Name -> fault, published batches, and the first step that it makes wrong.
FAULTS: dict[str, tuple[Fault, int, int]] = {
    "losses read before the replay": (replaced_by(ReadsTooEarly), 1, 4),
    "no replay after the capture": (replaced_by(DoesNotReplayCapture), 1, 4),
    "rate baked into the graph": (rate_is_a_number, 1, 6),
    "twins move where Python runs alone": (twins_move_outside, 1, 4),
    "identities not copied": (replaced_by(ForgetsIdentities), 1, 5),
    "gradients not zeroed in the graph": (gradients_are_not_zeroed, 1, 5),
    "inputs swapped, not copied": (replaced_by(SwapsInputs), 1, 6),  # at 5 the new batch lies where the old one did
    "fixed inputs freed": (replaced_by(FreesInputs), 1, 6),  # for the same reason
    "rates that the graph does not read": (rate_is_replaced, 1, 6),
    "twins move with every accumulated batch": (twins_move_with_every_batch, 2, 1),
}
RIGHT: dict[str, Fault | None] = {
    "no fault": None,
    "gradients dropped outside the graph": replaced_by(DropsGradients),  # their memory stays in the graph's pool
}
