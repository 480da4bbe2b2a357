"""SPDL: a pipeline whose threads gather the planned pictures from a memory-mapped array into reused batches.

One pipeline for all plans: ending one takes 100 ms, as long as an epoch of the measured set.
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from benchmarks.peers.ahead import CORES, DEPTH, Batches, made_once, take_rows


@contextmanager
def batches(images_NHWC: np.ndarray, folder: Path) -> Iterator[Batches]:
    """The planned pictures."""
    from spdl.io import load_npy
    from spdl.pipeline import PipelineBuilder

    made = made_once(folder, images_NHWC, lambda target: np.save(target / "images.npy", images_NHWC))
    with open(made / "images.npy", "rb") as file:
        mapped = load_npy(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    plans, free = SimpleQueue[np.ndarray | None](), SimpleQueue[np.ndarray]()

    def planned() -> Iterator[np.ndarray]:
        while (plan := plans.get()) is not None:
            yield from plan

    def gather(rows: np.ndarray) -> np.ndarray:
        out = free.get()
        if len(out) != len(rows):
            out = np.empty((len(rows), *images_NHWC.shape[1:]), np.uint8)
        return take_rows(mapped, rows, out)

    for _ in range(CORES + DEPTH + 2):  # being made, finished, in use, and one to spare
        free.put(np.empty((0, *images_NHWC.shape[1:]), np.uint8))
    builder = PipelineBuilder().add_source(planned())
    builder.pipe(gather, concurrency=CORES, output_order="input").add_sink(DEPTH)
    pipeline = builder.build(num_threads=CORES, use_thread_output_queue=True)

    def ready(plan: np.ndarray) -> Iterator[np.ndarray]:
        plans.put(plan)
        made_batches = (pipeline.get_item() for _ in plan)
        try:
            for out in made_batches:
                try:
                    yield out
                finally:
                    free.put(out)
        finally:  # what is left of a plan that was not asked for to its end
            for out in made_batches:
                free.put(out)

    with pipeline.auto_stop():
        try:
            yield ready
        finally:
            plans.put(None)
