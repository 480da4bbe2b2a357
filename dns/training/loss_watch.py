"""Brings losses from the device to the host."""

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor

from dns.losses import Losses


class LossQueue:
    """Asynchronous copies of the losses to the host. They are read in order; nothing blocks unless wait=True."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._underway: deque[tuple[Tensor, torch.cuda.Event | None]] = deque()

    def put(self, losses: Losses) -> None:
        self._names, values = list(losses), torch.stack(list(losses.values()))
        if values.is_cuda:
            fixed = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            values, arrival = fixed.copy_(values, non_blocking=True), torch.cuda.Event()
            arrival.record()
            self._underway.append((values, arrival))
        else:
            self._underway.append((values, None))

    def arrived(self, *, wait: bool = False) -> Iterator[tuple[int, dict[str, float]]]:
        """Yield, for each step whose losses have arrived since the last call (for every step with `wait`), how many
        steps came after it, and its losses by name."""
        while self._underway:
            values, arrival = self._underway[0]
            if arrival is not None and wait:
                arrival.synchronize()
            elif arrival is not None and not arrival.query():
                return
            self._underway.popleft()
            yield len(self._underway), dict(zip(self._names, values.tolist(), strict=True))
