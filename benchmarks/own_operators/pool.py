"""Starts worker processes that fill reused batches in shared memory, for tools that hold Python's interpreter lock.

PyTorch's notes on multiprocessing advise to reuse such buffers. Its DataLoader does not: new shared memory for a batch
of 24 MB takes longer than augmenting it.
"""

import mmap
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipelines.augment.recipes import Recipe

# plan of row numbers, int64 (iterations, batch) -> batches, float32 (batch, 3, H, W), each valid until the next one is
# requested. Only one plan runs at a time, because the buffers are reused.
Ready = Callable[[np.ndarray], Iterator[Tensor]]
# (row numbers (B,), out float32 (B, 3, H, W), number of the batch): augments the images of the rows into `out`, visible
# half first.
Fill = Callable[[np.ndarray, np.ndarray, int], object]
CORES = len(os.sched_getaffinity(0))
AHEAD = 2 * CORES  # batches made ahead of the one in use, as many as DataLoader makes
ROOT = Path(__file__).parent.parent.parent


def mapped(file: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Return an array in the shared memory of an open file."""
    return np.frombuffer(mmap.mmap(file, int(np.prod(shape)) * np.dtype(dtype).itemsize), dtype).reshape(shape)


@contextmanager
def in_processes(tool: str, images: np.ndarray, size_px: tuple[int, int], recipe: Recipe) -> Iterator[Ready]:
    """Let CORES processes fill batches with this package's module `tool`: its filler(images, recipe) returns a Fill.
    They run worker.py.

    images: uint8, in the shape that the filler takes. size_px: height and width of the batches' images.
    """
    with ExitStack() as stack:
        images_file, batches_file = _shared_memory(stack), _shared_memory(stack)
        os.truncate(images_file, images.nbytes)
        mapped(images_file, images.shape, np.uint8)[...] = images
        workers = [stack.enter_context(_worker(images_file, batches_file)) for _ in range(CORES)]
        for worker in workers:
            worker.send((tool, images.shape, recipe))
        made = count()

        def ready(plan: np.ndarray) -> Iterator[Tensor]:
            shape = (AHEAD + 1, plan.shape[1], 3, *size_px)
            os.truncate(batches_file, int(np.prod(shape)) * 4)
            buffers = mapped(batches_file, shape, np.float32)
            waiting: deque[Connection] = deque()

            def start(number: int) -> None:
                waiting.append(workers[number % CORES])
                waiting[-1].send((plan[number], shape, number % len(buffers), next(made)))

            try:
                for number in range(min(AHEAD, len(plan))):
                    start(number)
                for number in range(len(plan)):
                    if number + AHEAD < len(plan):
                        start(number + AHEAD)
                    waiting.popleft().recv()
                    yield torch.from_numpy(buffers[number % len(buffers)])
            except (EOFError, OSError) as error:
                raise ChildProcessError("a worker process has failed; its own message is above") from error
            finally:  # no worker may still write into the buffers when the next plan starts
                for worker in waiting:
                    with suppress(EOFError, OSError):  # that worker has failed
                        worker.recv()

        yield ready


def _shared_memory(stack: ExitStack) -> int:
    """Open a new file in memory, which `stack` closes."""
    file = os.memfd_create("benchmark")
    stack.callback(os.close, file)
    return file


@contextmanager
def _worker(images_file: int, batches_file: int) -> Iterator[Connection]:
    """Start a worker. Leaving the block ends it."""
    ours, theirs = Pipe()
    with ours, theirs:
        passed = (theirs.fileno(), images_file, batches_file)
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.own_operators.worker", *map(str, passed)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            pass_fds=passed,
        )
        theirs.close()
        try:
            yield ours
        finally:
            with suppress(OSError):  # it has failed
                ours.send(None)  # closing would not do: forked processes, such as DataLoader's, keep the pipe open
            process.wait()
