"""How fast do ready float batches come, augmented by SYSU-MM01's published recipe, on the CPU?

ours: `.beton`, FFCV, the one-pass augmentation. published: pixels in memory, Pillow and torchvision in DataLoader's
workers. The peers (benchmarks/peers) deliver uint8 in their own fastest way and get our one-pass augmentation behind
it, each where it is installed (pip install '.[bench]').
"""

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np
import torch

from benchmarks.harness import WORK, drawn_set, interleaved, summarise
from benchmarks.peers import Batches, open_peers, stored_pixels
from pipelines import augment
from pipelines.augment_jit import Augmenter
from pipelines.index import Part, open_part
from pipelines.loaders import TrainLoader
from pipelines.reference import reference_batches

RECIPE = augment.RECIPES["sysu"]
CORES = len(os.sched_getaffinity(0))
EPOCHS = 8  # of ours and the peers in a round; the published path gets a shorter list of batches
PUBLISHED_BATCHES, PUBLISHED_WARM_UP = 60, 8


def measure() -> dict[str, Any]:
    """images/s of each; ratio_published and ratio_best_peer: ours over theirs, of the medians."""
    _, beton = drawn_set()
    part = open_part(beton, "train")
    loader = TrainLoader(
        part, persons=6, pictures=4, recipe=RECIPE, seed=0, device=torch.device("cpu"), augment_on="host",
        extra_iteration=True,
    )  # fmt: skip
    with open_peers(stored_pixels(part), WORK / "peers") as peers:
        cases: dict[str, Callable[[], float]] = {
            "ours": partial(_ours, loader),
            "published": partial(_published, part, loader),
            **{name: partial(_peer, peer, loader) for name, peer in peers.items()},
        }
        for case in cases.values():
            case()
        figures = summarise(interleaved(cases))
    ours, best = figures["ours"]["median"], max(peers, key=lambda name: figures[name]["median"], default=None)
    return {
        "unit": "images/s",
        "cases": figures,
        "ratio_published": ours / figures["published"]["median"],
        "best_peer": best,
        "ratio_best_peer": ours / figures[best]["median"] if best else None,
    }


def _ours(loader: TrainLoader) -> float:
    begin, images = time.perf_counter(), 0
    for epoch in range(EPOCHS):
        with loader.epoch(epoch) as batches:
            for batch in batches:
                images += len(batch.images)
    return images / (time.perf_counter() - begin)


def _published(part: Part, loader: TrainLoader) -> float:
    """Starting the workers is not counted: the clock starts behind the first batches."""
    rows = np.concatenate([loader.plan(epoch) for epoch in range(EPOCHS)])[: PUBLISHED_BATCHES + PUBLISHED_WARM_UP]
    images, begin = 0, 0.0
    for number, batch in enumerate(reference_batches(stored_pixels(part), rows, RECIPE, workers=CORES), start=1):
        if number > PUBLISHED_WARM_UP:
            images += len(batch)
        if number == PUBLISHED_WARM_UP:
            begin = time.perf_counter()
    return images / (time.perf_counter() - begin)


def _peer(batches: Batches, loader: TrainLoader) -> float:
    """The peer's uint8 batches of as many pictures, and our augmentation behind them."""
    augmenter = Augmenter(pad_px=RECIPE.pad_px, workers=CORES)
    out = augmenter.buffer(loader.batch_size, *loader.size_px)
    numba.set_num_threads(CORES)
    begin, images = time.perf_counter(), 0
    for epoch in range(EPOCHS):
        for number, batch in enumerate(batches(loader.plan(epoch))):
            images += len(augmenter.apply(batch, loader.table(epoch, number), out))
    return images / (time.perf_counter() - begin)
