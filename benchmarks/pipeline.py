"""How fast are float batches made on the CPU, ready for the network and augmented by SYSU-MM01's published recipe?

ours: `.beton`, FFCV, the one-pass augmentation. published: pixels in memory, Pillow and torchvision in DataLoader's
workers. The peers (benchmarks/peers) deliver uint8 batches, which our one-pass augmentation then augments; each peer
runs as its documentation shows and by hand, if it is installed (pip install '.[bench]'). With CUDA, ours is also timed
with the augmentation on the GPU.
"""

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np
import torch

from benchmarks.harness import WORK, drawn_set, interleaved, summarise, synchronise, times
from benchmarks.peers import PEERS, Batches, open_peers, stored_pixels
from benchmarks.published_path import reference_batches
from ffcv_convert.common.world import World
from pipelines.augment.cpu import Augmenter
from pipelines.augment.recipes import RECIPES
from pipelines.streamed import StreamedLoader
from pipelines.subset import Subset, open_subset

RECIPE = RECIPES["sysu"]
CORES = len(os.sched_getaffinity(0))
EPOCHS = 8  # per round, for ours and the peers; the slow published path gets fewer batches
PUBLISHED_BATCHES, PUBLISHED_WARM_UP = 60, 8


def measure() -> dict[str, Any]:
    """images/s of each. speedup_*: median of ours over that of the published path, of the fastest peer as documented,
    and of the fastest by hand."""
    _, beton = drawn_set()
    subset = open_subset(beton, "train")
    loader = StreamedLoader(
        subset, persons=6, pictures=4, recipe=RECIPE, seed=0, world=World(torch.device("cpu")), augment_on="host",
        extra_iteration=True,
    )  # fmt: skip
    ours = {"ours": loader}
    if torch.cuda.is_available():
        ours["ours, on the GPU"] = StreamedLoader(
            subset, persons=6, pictures=4, recipe=RECIPE, seed=0, world=World(torch.device("cuda")),
            extra_iteration=True,
        )  # fmt: skip
    with open_peers(stored_pixels(subset), WORK / "peers") as peers:
        cases: dict[str, Callable[[], float]] = {
            **{name: partial(_ours, one) for name, one in ours.items()},
            "published": partial(_published, subset, loader),
            **{name: partial(_peer, peer, loader) for name, peer in peers.items()},
        }
        for case in cases.values():
            case()
        figures = summarise(interleaved(cases))
    best_peer, speedup_best_peer = _best(figures, [name for name in peers if PEERS[name].form == "documented"])
    best_by_hand, speedup_by_hand = _best(figures, [name for name in peers if PEERS[name].form == "by hand"])
    return {
        "unit": "images/s",
        "cases": figures,
        "speedup_published": figures["ours"]["median"] / figures["published"]["median"],
        "best_peer": best_peer,
        "speedup_best_peer": speedup_best_peer,
        "best_by_hand": best_by_hand,
        "speedup_by_hand": speedup_by_hand,
    }


def words(content: dict[str, Any]) -> list[str]:
    found = [f"Ours is {times(content['speedup_published'])} as the published data path."]
    if content["best_peer"] is None:
        return [*found, "No other loader is installed to compare with."]
    return [
        *found,
        f"It is {times(content['speedup_best_peer'])} as {content['best_peer']}, the fastest other loader in the form "
        "that its documentation shows.",
        f"It is {times(content['speedup_by_hand'])} as {content['best_by_hand'].removesuffix(', by hand')} by hand, "
        "the fastest when only the tool's storage is used, with our threads and buffers.",
    ]


def _best(figures: dict[str, dict[str, Any]], names: list[str]) -> tuple[str, float] | tuple[None, None]:
    """The fastest of the named cases, and how many times as fast ours is; None without any."""
    if not names:
        return None, None
    best = max(names, key=lambda name: figures[name]["median"])
    return best, figures["ours"]["median"] / figures[best]["median"]


def _ours(loader: StreamedLoader) -> float:
    begin, images, device = time.perf_counter(), 0, torch.device("cpu")
    for epoch in range(EPOCHS):
        with loader.epoch(epoch) as batches:
            for batch in batches:
                images += sum(map(len, loader.augment(batch.images, batch.augmentation)))
                device = batch.images.device
    synchronise(device)
    return images / (time.perf_counter() - begin)


def _published(subset: Subset, loader: StreamedLoader) -> float:
    """images/s without the start of the workers: the clock starts after the first batches."""
    rows = np.concatenate([loader.plan(epoch) for epoch in range(EPOCHS)])[: PUBLISHED_BATCHES + PUBLISHED_WARM_UP]
    images, begin = 0, 0.0
    for number, batch in enumerate(reference_batches(stored_pixels(subset), rows, RECIPE, workers=CORES), start=1):
        if number > PUBLISHED_WARM_UP:
            images += len(batch)
        if number == PUBLISHED_WARM_UP:
            begin = time.perf_counter()
    return images / (time.perf_counter() - begin)


def _peer(batches: Batches, loader: StreamedLoader) -> float:
    """images/s of the peer's uint8 batches, as many as ours has, followed by our augmentation."""
    augmenter = Augmenter(pad_px=RECIPE.pad_px, workers=CORES)
    out = augmenter.buffer(loader.batch_size, *loader.size_px)
    numba.set_num_threads(CORES)
    begin, images = time.perf_counter(), 0
    for epoch in range(EPOCHS):
        for number, batch in enumerate(batches(loader.plan(epoch))):
            images += len(augmenter.apply(batch, loader.parameters(epoch, number), out))
    return images / (time.perf_counter() - begin)
