"""What could be forgotten to be waited for between the streams, the loader's thread, the training loop and the
writer's.

Where work is done at once, none of them changes a number. races.py shows each with lazy streams.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import torch

from dns.training import writer
from dns.training.loss_watch import LossQueue
from pipelines import prefetch
from pipelines.batch import Batch


def _arrived(batch: Batch, *_: Any) -> Batch:
    return batch


def _release(self: prefetch.PrefetchedEpoch, slot: prefetch.Slot, after: object = None) -> None:
    self._free.put((slot.number, None))


def _read_at_once(self: LossQueue, *, wait: bool = False) -> Iterator[tuple[int, dict[str, float]]]:
    self._underway = deque((values, None) for values, _ in self._underway)
    yield from _ARRIVED(self, wait=wait)


def _write_at_once(self: writer.CheckpointWriter, paths: Any, content: Any) -> None:
    with patch.object(torch.cuda, "is_available", lambda: False):
        _WRITE(self, paths, content)
    self.wait()  # the disk is faster than the device


_ARRIVED, _WRITE = LossQueue.arrived, writer.CheckpointWriter.write
# Name -> what is replaced, by what.
FAULTS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "the step does not wait for its batch": (prefetch, "_arrived", _arrived),
    "a pinned slot is written before it was copied": (prefetch.PrefetchedEpoch, "release", _release),
    "a loss is read before it arrived": (LossQueue, "arrived", _read_at_once),
    "a checkpoint is written before it was copied": (writer.CheckpointWriter, "write", _write_at_once),
}
