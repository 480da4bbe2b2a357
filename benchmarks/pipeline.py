"""How fast are float batches made on the CPU, ready for the network and augmented by SYSU-MM01's published recipe?

ours: `.beton`, FFCV, the one-pass augmentation. memcpy: as many float32 bytes, copied in memory. published: pixels in
memory, Pillow and torchvision in DataLoader's workers. Tools with their own operators (benchmarks/own_operators): what
a user would build with each today, as near to the recipe as it comes. tensordict by hand (benchmarks/peers.py): uint8
batches from its memory map, which our one-pass augmentation then augments; of many loaders, it came nearest to ours.
What is not installed is left out (make benchmark installs it). With CUDA, ours is also timed with the augmentation on
the GPU.
"""

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import numba
import numpy as np
import torch

from benchmarks import peers
from benchmarks.harness import CORES, WORK, drawn_set, importable, interleaved, summarise, synchronise, times
from benchmarks.own_operators import TOOLS, open_tools
from benchmarks.own_operators.pool import Ready
from benchmarks.peers import Batches, stored_pixels
from benchmarks.published_path import reference_batches
from ffcv_convert.common.world import World
from pipelines.augment.cpu import augment
from pipelines.augment.recipes import RECIPES
from pipelines.epoch_plan import PlanOptions
from pipelines.prefetch import SLOTS
from pipelines.streamed import StreamedLoader
from pipelines.subset import Subset, open_subset

RECIPE = RECIPES["sysu"]
EPOCHS, SLOW_EPOCHS = 8, 2  # per round; the slow ones get fewer
PUBLISHED_BATCHES, PUBLISHED_WARM_UP = 60, 8


def measure() -> dict[str, Any]:
    """Return images/s of each. speedup_*: median of ours over that of the published path, of memcpy, of the fastest
    tool with its own operators (best_peer), and of tensordict by hand; None for what is not installed."""
    subset = open_subset(drawn_set()[1], "train")
    ours = _our_loaders(subset)
    loader, images_NHWC = ours["ours"], stored_pixels(subset)
    with ExitStack() as stack:
        tools = stack.enter_context(open_tools(images_NHWC, loader.recipe))
        threads = stack.enter_context(ThreadPoolExecutor(CORES))
        cases: dict[str, Callable[[], float]] = {
            **{name: partial(_ours, one) for name, one in ours.items()},
            "memcpy of the same bytes": partial(_memcpy, threads, loader),
            "published": partial(_published, subset, loader),
            **{name: partial(_tool, ready, loader, slow=TOOLS[name].slow) for name, ready in tools.items()},
        }
        if importable("tensordict"):
            batches = stack.enter_context(peers.opened(images_NHWC, loader.batch_size, WORK / "tensordict"))
            cases[peers.NAME] = partial(_peer, batches, loader)
        for name in sorted(TOOLS.keys() - tools.keys()):
            print(f"note: {name}: not installed, left out", file=sys.stderr)
        for case in cases.values():
            case()
        figures = summarise(interleaved(cases))
    median = {name: case["median"] for name, case in figures.items()}
    best_peer = max(tools, key=lambda name: median[name], default=None)
    return {
        "unit": "images/s",
        "cases": figures,
        "speedup_published": median["ours"] / median["published"],
        "speedup_memcpy": median["ours"] / median["memcpy of the same bytes"],
        "best_peer": best_peer,
        "speedup_best_peer": median["ours"] / median[best_peer] if best_peer else None,
        "speedup_by_hand": median["ours"] / median[peers.NAME] if peers.NAME in median else None,
    }


def words(content: dict[str, Any]) -> list[str]:
    found = [
        f"Ours is {times(content['speedup_published'])} as the published data path, and "
        f"{times(content['speedup_memcpy'])} as copying as many float32 bytes in memory with as many threads.",
    ]
    if content["best_peer"] is None:
        found.append("No tool with operators of its own is installed to compare with.")
    else:
        found.append(
            f"It is {times(content['speedup_best_peer'])} as the fastest tool that augments with operators of its own: "
            f"{content['best_peer'].partition(',')[0]}."
        )
    if content["speedup_by_hand"] is None:
        return [*found, "tensordict is not installed to compare with."]
    return [
        *found,
        f"It is {times(content['speedup_by_hand'])} as tensordict's memory map with our threads, buffers and "
        "augmentation.",
    ]


def _our_loaders(subset: Subset) -> dict[str, StreamedLoader]:
    """Open our loaders by name. bf16: what a step in bf16 takes, half as many bytes."""

    def opened(device: str, **options: Any) -> StreamedLoader:
        return StreamedLoader(
            subset, PlanOptions(persons=6, pictures=4, recipe=RECIPE, seed=0, extra_iteration=True),
            world=World(torch.device(device)), **options,
        )  # fmt: skip

    ours = {
        "ours": opened("cpu", augment_on="host"),
        "ours, bf16": opened("cpu", augment_on="host", dtype=torch.bfloat16),
    }
    if torch.cuda.is_available():
        ours["ours, on the GPU"] = opened("cuda")
    return ours


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
    """Return images/s without the start of the workers: the clock starts after the first batches."""
    rows = np.concatenate([loader.plan(epoch) for epoch in range(EPOCHS)])[: PUBLISHED_BATCHES + PUBLISHED_WARM_UP]
    images, begin = 0, 0.0
    for number, batch in enumerate(reference_batches(stored_pixels(subset), rows, RECIPE, workers=CORES), start=1):
        if number > PUBLISHED_WARM_UP:
            images += len(batch)
        if number == PUBLISHED_WARM_UP:
            begin = time.perf_counter()
    return images / (time.perf_counter() - begin)


def _peer(batches: Batches, loader: StreamedLoader) -> float:
    """Return images/s of the peer's uint8 batches, as many as ours has, followed by our augmentation."""
    out = torch.empty(loader.batch_size, 3, *loader.size_px)
    numba.set_num_threads(CORES)
    begin, images = time.perf_counter(), 0
    for epoch in range(EPOCHS):
        for number, batch in enumerate(batches(loader.plan(epoch))):
            images += len(augment(batch, loader.parameters(epoch, number), RECIPE, out, workers=CORES))
    return images / (time.perf_counter() - begin)


def _tool(ready: Ready, loader: StreamedLoader, *, slow: bool) -> float:
    """Return images/s of batches that the tool augments itself. All epochs are one plan: worker processes that make
    whole batches would wait for each other at every epoch's end."""
    plan = np.concatenate([loader.plan(epoch) for epoch in range(SLOW_EPOCHS if slow else EPOCHS)])
    begin, images = time.perf_counter(), 0
    for batch in ready(plan):
        images += len(batch)
    return images / (time.perf_counter() - begin)


def _memcpy(threads: ThreadPoolExecutor, loader: StreamedLoader) -> float:
    """Return images/s of copying a batch from memory into as many buffers as ours has, a share for each thread.

    On an AMD EPYC (November 27, 2026), augmenting a batch takes 1.6 ms in float32 and 1.2 ms in bf16, and drawing its
    parameters 0.17 ms. None of these came nearer to memcpy: writing bf16 past the caches, as float32 is written (1.5
    ms); eight rows at a time; erasing in the row before it is written; drawing in a separate thread.
    """
    source = np.ones((loader.batch_size, 3, *loader.size_px), np.float32)
    targets = [np.ones_like(source) for _ in range(SLOTS)]
    shares = [
        list(zip(np.array_split(target, CORES), np.array_split(source, CORES), strict=True)) for target in targets
    ]
    begin, batches = time.perf_counter(), EPOCHS * loader.iterations
    for number in range(batches):
        list(threads.map(lambda share: np.copyto(*share), shares[number % SLOTS]))
    return batches * loader.batch_size / (time.perf_counter() - begin)
