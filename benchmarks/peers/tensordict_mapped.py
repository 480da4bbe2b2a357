"""tensordict: the images as a memory-mapped tensor, read batch by batch.

As documented: indexing the TensorDict with a batch's rows makes a new batch, without prefetching. The only loader in
its guide is torch's DataLoader around the same indexing, which was slower on two cores, without and with two workers.

By hand: our threads copy with NumPy from the mapped memory into reused batches. torch.index_select with out= was slower
in threads, because each of them starts its own OpenMP threads.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peers.prefetch import Batches, made_ahead, made_once, take_rows


@contextmanager
def documented(images_NHWC: np.ndarray, folder: Path) -> Iterator[Batches]:
    """The planned images, indexed on request."""
    stored = _stored(images_NHWC, folder)

    def ready(plan: np.ndarray) -> Iterator[np.ndarray]:
        for rows in plan:
            yield stored[torch.from_numpy(rows)]["image"].numpy()

    yield ready


@contextmanager
def by_hand(images_NHWC: np.ndarray, folder: Path) -> Iterator[Batches]:
    """The planned images, two batches ahead."""
    mapped = _stored(images_NHWC, folder)["image"].numpy()
    with made_ahead(partial(take_rows, mapped), images_NHWC.shape[1:]) as ready:
        yield ready


def _stored(images_NHWC: np.ndarray, folder: Path) -> Any:
    """The TensorDict of the images, mapped from a file in `folder`."""
    from tensordict import TensorDict

    def make(target: Path) -> None:
        images = torch.from_numpy(images_NHWC.copy())
        TensorDict({"image": images}, batch_size=[len(images)]).memmap_(str(target))

    return TensorDict.load_memmap(str(made_once(folder, images_NHWC, make)))
