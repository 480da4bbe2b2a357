"""What the peers share: threads that make batches ahead, and files that are made once."""

import hashlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

import numpy as np

# plan of row numbers, int64 (iterations, batch) -> batches, uint8 (batch, H, W, 3), each valid until the next one is
# requested. Only one plan runs at a time, because the buffers are reused.
Batches = Callable[[np.ndarray], Iterator[np.ndarray]]
CORES = len(os.sched_getaffinity(0))
DEPTH = 2  # batches made ahead of the one in use


@contextmanager
def made_ahead(
    fill: Callable[[np.ndarray, np.ndarray], object], shape_HWC: tuple[int, ...], *, threads: int = CORES
) -> Iterator[Batches]:
    """Let threads call fill(rows, out) to write batches into reused buffers, DEPTH batches ahead of the one in use.

    Each thread fills its share of a batch. shape_HWC: the shape of one image.
    """
    buffers = np.empty((0, 0, *shape_HWC), np.uint8)

    def batches(plan: np.ndarray) -> Iterator[np.ndarray]:
        nonlocal buffers
        if buffers.shape[1] != plan.shape[1]:
            buffers = np.empty((DEPTH + 1, plan.shape[1], *shape_HWC), np.uint8)
        waiting: deque[tuple[np.ndarray, list[Future]]] = deque()

        def start(number: int) -> None:
            out = buffers[number % len(buffers)]
            pieces = zip(np.array_split(plan[number], threads), np.array_split(out, threads), strict=True)
            waiting.append((out, [pool.submit(fill, rows, piece) for rows, piece in pieces]))

        try:
            for number in range(min(DEPTH, len(plan))):
                start(number)
            for number in range(len(plan)):
                if number + DEPTH < len(plan):
                    start(number + DEPTH)
                out, pieces = waiting.popleft()
                for piece in pieces:
                    piece.result()
                yield out
        finally:  # no thread may still write into the buffers when the next plan starts
            wait([piece for _, pieces in waiting for piece in pieces])

    with ThreadPoolExecutor(threads) as pool:
        yield batches


def take_rows(images_NHWC: np.ndarray, rows: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Copy images_NHWC[rows] into `out`, without holding the interpreter lock, and return it."""
    return np.take(images_NHWC, rows, axis=0, out=out, mode="clip")  # "raise" would make a copy of `out`


def made_once(folder: Path, images_NHWC: np.ndarray, make: Callable[[Path], object]) -> Path:
    """Return `folder`; call make(folder) first, unless a finished call for the same images has filled it."""
    digest = hashlib.sha256(np.ascontiguousarray(images_NHWC).data).hexdigest()
    name = f"{digest} {images_NHWC.shape}"
    seal = folder.with_name(f"{folder.name}.made")
    if not (folder.is_dir() and seal.exists() and seal.read_text(encoding="utf-8") == name):
        seal.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make(folder)
        seal.write_text(name, encoding="utf-8")
    return folder
