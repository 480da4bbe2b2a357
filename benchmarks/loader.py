"""How fast does StreamedLoader bring uint8 batches into the host's memory, compared with copying the images by memcpy?

And how much longer does an image take when it is read for the first time, and how much of that is its checksum?

Beside decoding (0.38 ms a batch on an AMD EPYC, November 27, 2026), drawing the augmentation's parameters takes the
most time (0.17 to 0.19 ms). A separate thread for the drawing gained nothing on two cores. An image's checksum took 32
us with Python's zlib and takes 7 us with zlib-ng.
"""

import time
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.harness import ROUNDS, drawn_set, interleaved, summarise, times
from benchmarks.peers import stored_pixels
from ffcv_convert.common.world import World
from pipelines.augment.recipes import RECIPES
from pipelines.epoch_plan import PlanOptions
from pipelines.prefetch import SLOTS, Prefetcher
from pipelines.streamed import StreamedLoader, StreamedTestLoader
from pipelines.subset import Subset, open_subset

EPOCHS = 8


def measure() -> dict[str, Any]:
    """Return images/s; speedup_memcpy: the loader's rate over memcpy's.

    first_use_us: extra time per image in a new reader's first pass: the checksum, and page faults of the newly mapped
    file and of new buffers. checksum_us: only the checksum, per image.
    """
    subset = open_subset(drawn_set()[1], "train")
    loader = StreamedLoader(
        subset, PlanOptions(persons=6, pictures=4, recipe=RECIPES["sysu"], seed=0, extra_iteration=True),
        world=World(torch.device("cpu")),
    )  # fmt: skip
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
        """Copy the same images in the same order into as many buffers, one memcpy per image."""
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
        "speedup_memcpy": speed["ours"] / speed["memcpy"],
        "first_use_us": 1e6 * (1 / first - 1 / again),
        "checksum_us": median(_checksum_us(subset) for _ in range(ROUNDS)),
    }


def words(content: dict[str, Any]) -> list[str]:
    return [
        f"The loader is {times(content['speedup_memcpy'])} as memcpy from an array in memory, which reads no file.",
        f"An image takes {content['first_use_us']:.0f} us longer when a new reader reads it for the first time; the "
        f"checksum alone takes {content['checksum_us']:.0f} us.",
    ]


def _every_image(reader: StreamedTestLoader, subset: Subset) -> float:
    """Return the images/s of one pass over all images of the subset."""
    begin = time.perf_counter()
    with reader.samples(subset.sample_N) as batches:
        for _ in batches:
            pass
    return len(subset.sample_N) / (time.perf_counter() - begin)


def _checksum_us(subset: Subset) -> float:
    """Return the microseconds per image of a first verification, minus those of a second one, which finds every image
    already verified. The pages are read before, so that page faults do not count."""
    prefetcher = Prefetcher(subset.converted, batch_size=1)
    for sample in subset.sample_N:
        prefetcher.decoder.stored(int(sample)).sum()
    seconds = []
    for _ in range(2):
        begin = time.perf_counter()
        prefetcher.verify(subset.sample_N)
        seconds.append(time.perf_counter() - begin)
    return 1e6 * (seconds[0] - seconds[1]) / len(subset.sample_N)
