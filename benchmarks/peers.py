"""Holds the loader that comes nearest to ours, for benchmarks/pipeline.py: the images as a memory-mapped tensor of
tensordict, with our augmentation after it.

Only the storage is tensordict's: threads of ours copy the images with NumPy from the mapped memory into reused batches,
two batches ahead of the one in use. No documentation shows this form. torch.index_select with out= was slower in
threads, because each of them starts its own OpenMP threads.

simplejpeg, DALI's readers, SPDL, WebDataset, LitData and Mosaic Streaming were measured too, each as its documentation
shows it and in such a form. All were slower. Commit 24f1a79 was the last to hold them.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

import numpy as np
import torch

from benchmarks.harness import CORES
from pipelines.subset import Subset

# plan of row numbers, int64 (iterations, batch) -> batches, uint8 (batch, H, W, 3), each valid until the next one is
# requested. Only one plan runs at a time, because the buffers are reused.
Batches = Callable[[np.ndarray], Iterator[np.ndarray]]
NAME = "tensordict, by hand"  # name in the tables
DEPTH = 2  # batches made ahead of the one in use


@contextmanager
def opened(images_NHWC: np.ndarray, batch_size: int, folder: Path) -> Iterator[Batches]:
    """Write the images, uint8, to `folder` and read batches of them. Leaving the block ends the threads."""
    mapped = _mapped(images_NHWC, folder)
    buffers = np.empty((DEPTH + 1, batch_size, *images_NHWC.shape[1:]), np.uint8)
    with ThreadPoolExecutor(CORES) as pool:

        def start(rows: np.ndarray, out: np.ndarray) -> list[Future]:
            """Let each thread copy its share, without holding the interpreter lock."""
            shares = zip(np.array_split(rows, CORES), np.array_split(out, CORES), strict=True)
            # "clip": with "raise", NumPy would make a copy of the whole share first
            return [pool.submit(np.take, mapped, part, 0, target, "clip") for part, target in shares]

        def batches(plan: np.ndarray) -> Iterator[np.ndarray]:
            started: deque[tuple[np.ndarray, list[Future]]] = deque()
            try:
                for number in range(len(plan) + DEPTH):
                    if number < len(plan):
                        out = buffers[number % len(buffers)]
                        started.append((out, start(plan[number], out)))
                    if number >= DEPTH:
                        out, copies = started.popleft()
                        for copy in copies:
                            copy.result()
                        yield out
            finally:  # no thread may still write into the buffers when the next plan starts
                wait([copy for _, copies in started for copy in copies])

        yield batches


def _mapped(images_NHWC: np.ndarray, folder: Path) -> np.ndarray:
    """Return the images, mapped from tensordict's files in `folder`, which are written each time."""
    from tensordict import TensorDict

    rmtree(folder, ignore_errors=True)
    images = torch.from_numpy(images_NHWC.copy())
    TensorDict({"image": images}, batch_size=[len(images)]).memmap_(str(folder))
    return TensorDict.load_memmap(str(folder))["image"].numpy()


def stored_pixels(subset: Subset) -> np.ndarray:
    """Read the subset's stored images into memory: uint8 (N, H, W, 3)."""
    manifest = subset.converted.manifest
    stored = [subset.converted.structure.stored_bytes(int(sample)) for sample in subset.sample_N]
    return np.frombuffer(b"".join(stored), np.uint8).reshape(-1, manifest.height_px, manifest.width_px, 3)
