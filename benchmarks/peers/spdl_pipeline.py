"""SPDL: one pipeline for all plans, because ending a pipeline takes 100 ms, as long as an epoch of the measured set.

As documented: threads read files of one image each and make batches with load_npy and np.stack; the source continues
from epoch to epoch. spdl.dataloader.DataLoader, which builds a pipeline every epoch, was little more than half as fast,
and one pipe per image followed by aggregate a third as fast. JPEG decoding was not tried: it needs the system's FFmpeg.

By hand: the threads copy from one memory-mapped array into reused batches.
"""

import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from benchmarks.peers.prefetch import CORES, DEPTH, Batches, made_once, take_rows


@contextmanager
def documented(images_NHWC: np.ndarray, folder: Path) -> Iterator[Batches]:
    """The planned images, as many batches ahead as the pipeline's threads and sink hold."""
    from spdl.io import load_npy
    from spdl.pipeline import PipelineBuilder

    def make(target: Path) -> None:
        for row, image in enumerate(images_NHWC):
            np.save(target / f"{row}.npy", image)

    made = made_once(folder / "images", images_NHWC, make)
    source = _Plans()

    def load(rows: np.ndarray) -> np.ndarray:
        return np.stack([load_npy((made / f"{row}.npy").read_bytes()) for row in rows])

    builder = PipelineBuilder().add_source(source, continuous=True)
    builder.pipe(load, concurrency=CORES, output_order="input").add_sink(DEPTH)
    pipeline = builder.build(num_threads=CORES, use_thread_output_queue=True)

    def ready(plan: np.ndarray) -> Iterator[np.ndarray]:
        source.queue.put(plan)
        epoch = iter(pipeline)
        try:
            yield from epoch
        finally:
            for _ in epoch:  # discard the rest of a plan that was not used to its end
                pass

    try:
        with pipeline.auto_stop():
            yield ready
    finally:  # a stopping pipeline does not wait for the thread that reads its source
        source.queue.put(None)
        if source.thread is not None:
            source.thread.join()


class _Plans:
    """A source: each plan put into its queue is an epoch; None is an empty epoch."""

    def __init__(self) -> None:
        self.queue = SimpleQueue[np.ndarray | None]()
        self.thread: threading.Thread | None = None  # the thread that reads this source

    def __iter__(self) -> Iterator[np.ndarray]:
        self.thread = threading.current_thread()
        plan = self.queue.get()
        if plan is not None:
            yield from plan


@contextmanager
def by_hand(images_NHWC: np.ndarray, folder: Path) -> Iterator[Batches]:
    """The planned images."""
    from spdl.io import load_npy
    from spdl.pipeline import PipelineBuilder

    made = made_once(folder / "array", images_NHWC, lambda target: np.save(target / "images.npy", images_NHWC))
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

    for _ in range(CORES + DEPTH + 2):  # being made, finished, in use, and one spare
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
        finally:  # discard the rest of a plan that was not used to its end
            for out in made_batches:
                free.put(out)

    with pipeline.auto_stop():
        try:
            yield ready
        finally:
            plans.put(None)
