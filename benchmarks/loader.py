"""How fast do uint8 batches reach the host's memory? StreamedLoader's, beside memcpy of the same images in memory.

And what does a image cost more when it is read for the first time, and how much of that is its checksum?
"""

import time
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.harness import ROUNDS, drawn_set, interleaved, summarise
from benchmarks.peers import stored_pixels
from ffcv_convert.common.world import World
from pipelines.augment.recipes import RECIPES
from pipelines.prefetch import SLOTS, Prefetcher
from pipelines.streamed import StreamedLoader, StreamedTestLoader
from pipelines.subset import Subset, open_subset

EPOCHS = 8


def measure() -> dict[str, Any]:
    """images/s; ratio_memcpy: how many times as long as the copy the loader takes.

    first_use_us: what a image takes more in a new reader's first pass than in a later one: its checksum, the page
    faults of a new mapping of the file, and those of new buffers. checksum_us: the checksum alone. Both once a image.
    """
    subset = open_subset(drawn_set()[1], "train")
    loader = StreamedLoader(
        subset,
        persons=6,
        pictures=4,
        recipe=RECIPES["sysu"],
        seed=0,
        world=World(torch.device("cpu")),
        extra_iteration=True,
    )
    images = loader.iterations * loader.batch_size * EPOCHS
    stored = stored_pixels(subset)
    targets = [np.empty((loader.batch_size, *stored.shape[1:]), dtype=np.uint8) for _ in range(SLOTS)]

    def ours() -> float:
        begin = time.perf_counter()
        for epoch in range(EPOCHS):
            with loader.epoch(epoch) as batches:
                for _ in batches:
                    pass
        return images / (time.perf_counter() - begin)

    def memcpy() -> float:
        """The same images in the same order into as many buffers, one memcpy a image."""
        begin = time.perf_counter()
        for epoch in range(EPOCHS):
            for number, samples in enumerate(loader.plan(epoch)):
                target = targets[number % SLOTS]
                for place, sample in enumerate(samples):
                    np.copyto(target[place], stored[sample])
        return images / (time.perf_counter() - begin)

    def new_reader() -> StreamedTestLoader:
        return StreamedTestLoader(subset.converted, batch_size=loader.batch_size, device=torch.device("cpu"))

    known = new_reader()
    _every_image(known, subset)
    ours()
    cases = {
        "ours": ours,
        "memcpy": memcpy,
        "ours, every image for the first time": lambda: _every_image(new_reader(), subset),
        "ours, every image again": lambda: _every_image(known, subset),
    }
    figures = summarise(interleaved(cases))
    speed = {name: figures[name]["median"] for name in cases}
    first, again = (speed[f"ours, every image {when}"] for when in ("for the first time", "again"))
    return {
        "unit": "images/s",
        "cases": figures,
        "ratio_memcpy": speed["memcpy"] / speed["ours"],
        "first_use_us": 1e6 * (1 / first - 1 / again),
        "checksum_us": median(_checksum_us(subset) for _ in range(ROUNDS)),
    }


def _every_image(reader: StreamedTestLoader, subset: Subset) -> float:
    """images/s of one pass over all of them."""
    begin = time.perf_counter()
    with reader.samples(subset.sample_N) as batches:
        for _ in batches:
            pass
    return len(subset.sample_N) / (time.perf_counter() - begin)


def _checksum_us(subset: Subset) -> float:
    """Of a image: a new stream's first verification, its pages touched before, less the second, which only looks up
    that all are verified."""
    stream = Prefetcher(subset.converted, batch_size=1)
    for sample in subset.sample_N:
        stream.decoder.stored(int(sample)).sum()
    seconds = []
    for _ in range(2):
        begin = time.perf_counter()
        stream.verify(subset.sample_N)
        seconds.append(time.perf_counter() - begin)
    return 1e6 * (seconds[0] - seconds[1]) / len(subset.sample_N)
