"""How fast do uint8 batches reach the host's memory? TrainLoader's own, beside a copy of as many bytes."""

import time
from typing import Any

import numpy as np
import torch

from benchmarks.harness import drawn_set, interleaved, summarise
from pipelines.augment import RECIPES
from pipelines.index import open_part
from pipelines.loaders import TrainLoader

EPOCHS = 3


def measure() -> dict[str, Any]:
    """images/s; ratio: how many times as long as the copy the loader takes."""
    part = open_part(drawn_set()[1], "train")
    loader = TrainLoader(
        part, persons=6, pictures=4, recipe=RECIPES["sysu"], seed=0, device=torch.device("cpu"), extra_iteration=True
    )
    images = loader.iterations * loader.batch_size * EPOCHS
    source = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (512, *loader.size_px, 3), dtype=np.uint8))
    target = torch.empty(loader.batch_size, *loader.size_px, 3, dtype=torch.uint8)

    def ours() -> float:
        begin = time.perf_counter()
        for epoch in range(EPOCHS):
            with loader.epoch(epoch) as batches:
                for _ in batches:
                    pass
        return images / (time.perf_counter() - begin)

    def memcpy() -> float:
        """Batches of consecutive pictures into one buffer: as many bytes, without looking for them."""
        begin = time.perf_counter()
        for number in range(images // len(target)):
            start = number * len(target) % (len(source) - len(target))
            target.copy_(source[start : start + len(target)])
        return images / (time.perf_counter() - begin)

    ours()
    figures = summarise(interleaved({"ours": ours, "memcpy": memcpy}))
    return {"unit": "images/s", "cases": figures, "ratio": figures["memcpy"]["median"] / figures["ours"]["median"]}
