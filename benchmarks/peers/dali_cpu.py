"""NVIDIA DALI without a GPU.

As documented: fn.readers.numpy shuffles and reads files of one image each, two batches ahead. Reading JPEG files with
fn.readers.file and fn.decoders.image was less than half as fast; DALIGenericIterator was as fast as Pipeline.run.

By hand: external_source passes views of one memory-mapped file to DALI without copying, and fn.copy collects them in
DALI's threads, two batches ahead.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.prefetch import CORES, DEPTH, Batches, made_once


@contextmanager
def documented(images_NHWC: np.ndarray, folder: Path) -> Iterator[Batches]:
    """As many images as planned, in the reader's own order: every epoch is shuffled."""
    from nvidia.dali import Pipeline, fn

    def make(target: Path) -> None:
        for row, image in enumerate(images_NHWC):
            np.save(target / f"{row:06d}.npy", image)

    made = made_once(folder / "images", images_NHWC, make)

    @cache
    def built(batch: int) -> Any:
        pipeline = Pipeline(batch, num_threads=CORES, device_id=None, prefetch_queue_depth=DEPTH)
        with pipeline:
            pipeline.set_outputs(fn.readers.numpy(file_root=str(made), random_shuffle=True))
        pipeline.build()
        return pipeline

    def ready(plan: np.ndarray) -> Iterator[np.ndarray]:
        pipeline = built(plan.shape[1])
        for _ in plan:
            (out,) = pipeline.run()
            yield np.asarray(out.as_tensor())

    try:
        yield ready
    finally:
        built.cache_clear()  # a pipeline's threads end with it


@contextmanager
def by_hand(images_NHWC: np.ndarray, folder: Path) -> Iterator[Batches]:
    """The planned images."""
    from nvidia.dali import Pipeline, fn, types

    made = made_once(folder / "array", images_NHWC, lambda target: np.save(target / "images.npy", images_NHWC))
    mapped = np.asarray(np.load(made / "images.npy", mmap_mode="r"))
    rows_ahead: Iterator[np.ndarray] = iter(())

    def views() -> list[np.ndarray]:
        return [mapped[row] for row in next(rows_ahead)]  # StopIteration tells DALI that the plan has ended

    @cache
    def built(batch: int) -> Any:
        pipeline = Pipeline(batch, num_threads=CORES, device_id=None, prefetch_queue_depth=DEPTH, exec_dynamic=True)
        with pipeline:
            source = fn.external_source(views, dtype=types.UINT8, ndim=3, layout="HWC", no_copy=True)
            pipeline.set_outputs(fn.copy(source))
        pipeline.build()
        return pipeline

    def ready(plan: np.ndarray) -> Iterator[np.ndarray]:
        nonlocal rows_ahead
        rows_ahead = iter(plan)
        pipeline = built(plan.shape[1])
        try:
            while (out := next_batch(pipeline)) is not None:
                yield out
        finally:
            rows_ahead = iter(())
            while next_batch(pipeline) is not None:  # discard the rest of a plan that was not used to its end
                pass
            pipeline.reset()

    try:
        yield ready
    finally:
        built.cache_clear()  # a pipeline's threads end with it


def next_batch(pipeline: Any) -> np.ndarray | None:
    """The pipeline's next batch, valid until the pipeline runs again; None at the end."""
    try:
        (out,) = pipeline.run()
    except StopIteration:
        return None
    return np.asarray(out.as_tensor())
