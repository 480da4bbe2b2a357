"""One training step: augment, forward, losses, backward, optimiser. The trainer calls what a benchmark times."""

from collections.abc import Callable

import torch
from torch import Tensor

from dns.engine import Engine
from dns.losses import Losses
from dns.model import DNS

Step = Callable[[Tensor, Tensor, Tensor], Losses]


def make_step(
    model: DNS,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    augment: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    engine: Engine,
) -> Step:
    """The function (images, augmentation parameters, person_B) of a batch -> Losses, detached and still on the device.

    augment: the loader's; it turns the first two into the batch's halves, (B/2, 3, H, W) float each. No host
    synchronisation, except a GradScaler with an unfused optimiser.
    """

    def forward(given: Tensor, parameters: Tensor, person_B: Tensor) -> Losses:
        visible, other = map(engine.arrange, augment(given, parameters))
        with engine.autocast():
            outputs = model(visible, other)
        return model.loss(outputs, person_B)

    run = engine.compiled(forward)

    def step(images: Tensor, parameters: Tensor, person_B: Tensor) -> Losses:
        losses = run(images, parameters, person_B)
        optimiser.zero_grad(set_to_none=True)
        scaler.scale(losses.total).backward()
        scaler.step(optimiser)
        scaler.update()
        return Losses(*(loss.detach() for loss in losses))

    return CapturedStep(step) if engine.graph else step


class CapturedStep:
    """A step replayed as a CUDA graph: one launch in the place of a thousand. Inputs are copied into fixed buffers, and
    the losses lie in fixed buffers until the next call.

    The first WARM_UP steps train without the graph, on a stream of their own, while compilers and allocators settle.
    """

    WARM_UP = 4

    def __init__(self, step: Step):
        self._step, self._calls = step, 0
        self._inputs: tuple[Tensor, ...] = ()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._losses: Losses | None = None
        self._stream: torch.cuda.Stream | None = None  # one: each has a pool of memory of its own

    def __call__(self, images: Tensor, parameters: Tensor, person_B: Tensor) -> Losses:
        inputs = (images, parameters, person_B)
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
