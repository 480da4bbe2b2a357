"""How fast do ready float batches come, augmented by SYSU-MM01's published recipe, on the CPU?

ours: `.beton`, FFCV, the one-pass augmentation. published: pixels in memory, Pillow and torchvision in DataLoader's
workers. The peers deliver uint8 in their own fastest way and get our one-pass augmentation behind it: a thread pool
over simplejpeg, a memory-mapped tensordict; each where it is installed (pip install '.[bench]').
"""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch

from benchmarks.harness import WORK, drawn_set, interleaved, summarise
from pipelines import augment
from pipelines.augment_jit import Augmenter
from pipelines.index import Part, open_part
from pipelines.loaders import TrainLoader
from pipelines.reference import reference_batches

RECIPE = augment.RECIPES["sysu"]
CORES = len(os.sched_getaffinity(0))
EPOCHS = 8  # of ours and the peers in a round; the published path gets one batch list of its own
PUBLISHED_BATCHES, PUBLISHED_WARM_UP = 24, 4
Batches = Callable[[np.ndarray], Iterator[np.ndarray]]


def measure() -> dict[str, Any]:
    """images/s of each; ratio_published and ratio_best_peer: ours over theirs, of the medians."""
    raw, beton = drawn_set()
    part = open_part(beton, "train")
    loader = TrainLoader(
        part, persons=6, pictures=4, recipe=RECIPE, seed=0, device=torch.device("cpu"), augment_on="host",
        extra_iteration=True,
    )  # fmt: skip
    peers = {name: make(raw, part) for name, make in PEERS.items() if find_spec(name.split()[0])}
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
    rows = np.concatenate([loader.plan(0), loader.plan(1)])[: PUBLISHED_BATCHES + PUBLISHED_WARM_UP]
    images, begin = 0, 0.0
    for number, batch in enumerate(reference_batches(_pixels(part), rows, RECIPE, workers=CORES), start=1):
        if number > PUBLISHED_WARM_UP:
            images += len(batch)
        if number == PUBLISHED_WARM_UP:
            begin = time.perf_counter()
    return images / (time.perf_counter() - begin)


def _pixels(part: Part) -> np.ndarray:
    """The training pictures as the published code holds them: uint8 (N, H, W, 3) in memory."""
    manifest = part.converted.manifest
    stored = [part.converted.structure.stored_bytes(int(sample)) for sample in part.sample_N]
    return np.frombuffer(b"".join(stored), np.uint8).reshape(-1, manifest.height_px, manifest.width_px, 3)


def _peer(batches: Batches, loader: TrainLoader) -> float:
    """The peer's uint8 batches of the same plan, one ahead in a thread, and our augmentation behind them."""
    augmenter = Augmenter(pad_px=RECIPE.pad_px, workers=CORES)
    out = augmenter.buffer(loader.batch_size, *loader.size_px)
    numba.set_num_threads(CORES)
    begin, images = time.perf_counter(), 0
    for epoch in range(EPOCHS):
        for number, batch in enumerate(batches(loader.plan(epoch))):
            images += len(augmenter.apply(batch, loader.table(epoch, number), out))
    return images / (time.perf_counter() - begin)


def _simplejpeg(raw: Path, part: Part) -> Batches:
    """JPEG files of the stored size, read and decoded by a pool of threads."""
    import simplejpeg

    folder = WORK / "jpeg"
    folder.mkdir(parents=True, exist_ok=True)
    for sample, pixels in zip(part.sample_N, _pixels(part), strict=True):
        path = folder / f"{sample}.jpg"
        if not path.exists():
            path.write_bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=95))
    pool = ThreadPoolExecutor(CORES)

    def decode(sample: int) -> np.ndarray:
        return simplejpeg.decode_jpeg((folder / f"{sample}.jpg").read_bytes(), fastdct=True, fastupsample=True)

    def batches(plan: np.ndarray) -> Iterator[np.ndarray]:
        waiting = [[pool.submit(decode, int(sample)) for sample in plan[0]]]
        for number in range(len(plan)):
            if number + 1 < len(plan):
                waiting.append([pool.submit(decode, int(sample)) for sample in plan[number + 1]])
            yield np.stack([future.result() for future in waiting.pop(0)])

    return batches


def _tensordict(raw: Path, part: Part) -> Batches:
    """The pictures as a memory-mapped tensor, indexed a batch at a time."""
    from tensordict import TensorDict

    pixels = torch.from_numpy(_pixels(part).copy())
    mapped = TensorDict({"image": pixels}, batch_size=[len(pixels)]).memmap_(str(WORK / "tensordict"))

    def batches(plan: np.ndarray) -> Iterator[np.ndarray]:
        for rows in plan:
            yield mapped[torch.from_numpy(rows)]["image"].numpy()

    return batches


PEERS: dict[str, Callable[[Path, Part], Batches]] = {
    "simplejpeg in a thread pool": _simplejpeg,
    "tensordict memory-mapped": _tensordict,
}
