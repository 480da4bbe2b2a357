"""Writes checkpoints while the training goes on, which waits only for a copy of its state."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from dns.training import checkpoint
from ffcv_convert.common.errors import UserError


class CheckpointWriter:
    """A thread writes one copy at a time; the next one waits for it.

    The copy lies in buffers that are made once (pinned, where a GPU trains): as much memory as a checkpoint takes on
    the disk, 0.5 GB for ResNet-50 with SGD. An error of the disk is raised by the next call. As a context manager it
    waits at the end.
    """

    def __init__(self) -> None:
        self._buffers: dict[tuple, Tensor] = {}
        self._thread: Thread | None = None
        self._error: Exception | None = None

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except UserError as late:
            if kind is None:
                raise
            print(f"note: {late}", file=sys.stderr)  # the training ended by another error, which is raised

    def write(self, paths: Sequence[Path], content: Mapping[str, Any]) -> None:
        """Write `content` to one path after another. Raises what the last write raised."""
        self.wait()
        held = self._held(content, ())
        if torch.cuda.is_available():
            torch.cuda.current_stream().synchronize()
        self._thread = Thread(target=self._write, args=(paths, held), name="checkpoint", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until nothing is being written. Raises what the write raised."""
        if self._thread is not None:
            self._thread.join()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _write(self, paths: Sequence[Path], held: Mapping[str, Any]) -> None:
        try:
            for path in paths:
                checkpoint.save(path, held)
        except Exception as error:  # kept, and raised in the training thread
            self._error = error

    def _held(self, value: Any, where: tuple) -> Any:
        """Return `value` with every tensor copied to its buffer."""
        if isinstance(value, Tensor):
            buffer = self._buffers.get(where)
            if buffer is None or buffer.shape != value.shape:
                buffer = torch.empty_like(value, device="cpu", pin_memory=value.is_cuda)
                self._buffers[where] = buffer
            return buffer.copy_(value.detach(), non_blocking=True)
        if isinstance(value, Mapping):
            return {key: self._held(inner, (*where, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._held(inner, (*where, number)) for number, inner in enumerate(value)]
        return value
