"""Makes one training step: augment, forward, losses, backward, optimiser. The trainer calls what a benchmark times."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from dns.engine import Engine
from dns.network import Losses, Network


class Step(Protocol):
    def __call__(
        self, images: Tensor, parameters: Tensor, person_B: Tensor, *, dropout_seeds: Sequence[int] = ()
    ) -> Losses:
        """Run one optimiser step on a batch and its augmentation parameters. Losses are detached and still on the
        device. dropout_seeds: one for each accumulated batch; without any, torch's generator goes on."""


def own_outputs(outputs: Any, person_B: Tensor) -> tuple[Any, Tensor]:
    return outputs, person_B


def no_averaging(tensors: Sequence[Tensor]) -> None:
    """Leave the tensors as they are: the mean over one batch of one process."""


def make_step(
    model: Network,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    augment: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    engine: Engine,
    *,
    accumulate: int = 1,
    average: Callable[[Sequence[Tensor]], None] = no_averaging,
    gather: Callable[[Any, Tensor], tuple[Any, Tensor]] = own_outputs,
) -> Step:
    """Return a step that trains `model`, without host synchronisation but for a GradScaler with an unfused optimiser.

    augment: the loader's; it turns images and parameters into the visible and the other images, (rows, 3, H, W) float
    each, see Network.forward.
    accumulate: how many published batches each batch holds, see EpochPlan. average: replaces the sums of their
    gradients and losses by the means over all batches of the step, wherever these are computed. gather: returns the
    outputs and identities that the losses see.
    """

    def forward(given: Tensor, parameters: Tensor, person_B: Tensor) -> Losses:
        visible, other = map(engine.arrange, augment(given, parameters))
        with engine.autocast():
            outputs = model(visible, other)
        return model.loss(*gather(outputs, person_B))

    run = engine.compiled(forward)

    def step(images: Tensor, parameters: Tensor, person_B: Tensor, *, dropout_seeds: Sequence[int] = ()) -> Losses:
        sums: Losses = {}
        for number, batch in enumerate(published_batches((images, parameters, person_B), accumulate)):
            if dropout_seeds:
                torch.manual_seed(dropout_seeds[number])
            model.begin_batch(number)
            losses = run(*batch)
            if number == 0:
                optimiser.zero_grad(set_to_none=True)
            scaler.scale(losses["total"]).backward()
            detached = {name: loss.detach() for name, loss in losses.items()}
            sums = {name: sums[name] + loss for name, loss in detached.items()} if sums else detached
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        average([*gradients, *sums.values()])
        scaler.step(optimiser)
        scaler.update()
        return sums

    return CapturedStep(step) if engine.graph else step


def published_batches(batch: tuple[Tensor, ...], number: int) -> list[tuple[Tensor, ...]]:
    """Cut a batch into `number` published ones. Its tensors hold blocks of rows, such as [visible of each..., infrared
    of each...]; the last one, the labels, has two, and the others have as many as they have of its halves."""
    if number == 1:
        return [batch]
    rows = len(batch[-1]) // (2 * number)
    return [tuple(torch.cat(tensor.split(rows)[first::number]) for tensor in batch) for first in range(number)]


class CapturedStep:
    """A step replayed as a CUDA graph: one launch in the place of a thousand. Inputs are copied into fixed buffers, and
    the losses lie in fixed buffers until the next call. Dropout draws from the seed of the first accumulated batch.

    The first WARM_UP steps train without the graph, on a stream of their own, while compilers and allocators settle.
    """

    WARM_UP = 4

    def __init__(self, step: Step):
        self._step, self._calls = step, 0
        self._inputs: tuple[Tensor, ...] = ()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._losses: Losses | None = None
        self._stream: torch.cuda.Stream | None = None  # only one stream: each has its own pool of memory

    def __call__(
        self, images: Tensor, parameters: Tensor, person_B: Tensor, *, dropout_seeds: Sequence[int] = ()
    ) -> Losses:
        inputs = (images, parameters, person_B)
        for seed in dropout_seeds[:1]:
            torch.manual_seed(seed)
        if self._calls < self.WARM_UP:
            self._calls += 1
            return self._aside(inputs)
        if self._graph is None:
            self._capture(inputs)
        assert self._graph is not None
        assert self._losses is not None
        for fixed, given in zip(self._inputs, inputs, strict=True):
            fixed.copy_(given, non_blocking=True)
        self._graph.replay()
        return self._losses

    def _aside(self, inputs: tuple[Tensor, ...]) -> Losses:
        current, aside = torch.cuda.current_stream(), self._stream or torch.cuda.Stream()
        self._stream = aside
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            losses = self._step(*inputs)
        current.wait_stream(aside)
        return losses

    def _capture(self, inputs: tuple[Tensor, ...]) -> None:
        self._inputs = tuple(given.clone() for given in inputs)
        graph = torch.cuda.CUDAGraph()
        # thread_local: the loader's thread may wait for an event meanwhile.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            self._losses = self._step(*self._inputs)
        self._graph = graph
