"""tensordict: the pictures as a memory-mapped tensor, their rows gathered by threads a batch at a time.

NumPy gathers from the mapped memory into a reused batch. torch.index_select with out= was slower in threads (each
brings OpenMP threads of its own), and indexing the TensorDict, which makes a new batch each time, half as fast.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.peers.ahead import Batches, made_ahead, made_once, take_rows


@contextmanager
def batches(images_NHWC: np.ndarray, folder: Path) -> Iterator[Batches]:
    """The planned pictures."""
    from tensordict import TensorDict

    def make(target: Path) -> None:
        images = torch.from_numpy(images_NHWC.copy())
        TensorDict({"image": images}, batch_size=[len(images)]).memmap_(str(target))

    mapped = TensorDict.load_memmap(str(made_once(folder, images_NHWC, make)))["image"].numpy()
    with made_ahead(partial(take_rows, mapped), images_NHWC.shape[1:]) as ready:
        yield ready
