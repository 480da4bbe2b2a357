"""Runs as a worker process of pool.py: python -m benchmarks.own_operators.worker CONNECTION IMAGES BATCHES

These are open files: a pipe to the parent, and shared memory for the images and the batches. The parent sends (module,
shape of the images, recipe), then (row numbers, shape of all buffers, buffer, batch's number) for each batch, and None
at the end; the worker answers each batch when it is in its buffer.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from multiprocessing.connection import Connection

import numpy as np
import torch

from benchmarks.own_operators.pool import Fill, mapped


def main(arguments: Sequence[str]) -> None:
    connection, images_file, batches_file = map(int, arguments)
    torch.set_num_threads(1)  # as in a worker of DataLoader: the processes share the cores
    with Connection(connection) as parent:
        tool, shape, recipe = parent.recv()
        filler = import_module(f"benchmarks.own_operators.{tool}").filler
        fill: Fill = filler(mapped(images_file, shape, np.uint8), recipe)
        buffers = np.empty(0)
        while (asked := parent.recv()) is not None:
            rows, shape, buffer, batch = asked
            if buffers.shape != shape:
                buffers = mapped(batches_file, shape, np.float32)
            fill(rows, buffers[buffer], batch)
            parent.send(None)


if __name__ == "__main__":
    main(sys.argv[1:])
