"""How many batches a second does the loader draw by tracklet from 100,000 frames, raw and as JPEG, and does its memory
stay the same?

    python -m benchmarks.video FOLDER

Draws 100,000 training frames in HITSZ-VCM's layout into FOLDER (2 GB, takes minutes; kept for the next time), converts
them raw and as JPEG (14 GB), and loads EPOCHS epochs of each in a process of its own: uint8 batches in the host's
memory, two frames of each of two tracklets. An epoch counts tracklets, so EPOCHS of them draw about as many frames as
there are.
Memory is what the process owns (RssAnon); pages of the mapped file come and go with the page cache and are not counted.
Writes benchmarks/results/video-*.json.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.harness import CORES, write_result
from benchmarks.sysu_size import measure
from dns.training.environment import environment
from ffcv_convert.common.world import World
from ffcv_convert.convert import convert
from ffcv_convert.datasets import DATASETS
from ffcv_convert.images import ImageFormat
from ffcv_convert.synthetic import Options, synthesise
from pipelines.augment.recipes import RECIPES
from pipelines.epoch_plan import PlanOptions
from pipelines.streamed import StreamedLoader
from pipelines.subset import open_subset

SET = Options(train_identities=100, test_identities=1, train_images=500, test_images=1, layout="hitsz_vcm")
EPOCHS = 12
MB = 1e6


def make_sets(folder: Path, drawn: Options, size_px: tuple[int, int]) -> dict[str, Path]:
    """Draw the set, unless it is there, and convert it both ways. Returns encoding -> folder of its .beton files."""
    data = folder / "Dataset"
    synthesise(data / DATASETS["hitsz_vcm"].folders[0], drawn, workers=CORES)
    made = {}
    for encoding in ("raw", "jpeg"):
        beton = folder / encoding
        convert(DATASETS["hitsz_vcm"], data, beton, ImageFormat(*size_px, encoding), workers=CORES)
        made[encoding] = beton / "hitsz_vcm"
    return made


def load(beton: Path, epochs: int) -> dict[str, Any]:
    """Load epochs of the training frames. Returns batches/s and the memory in use after each of them."""
    subset = open_subset(beton, "train")
    options = PlanOptions(
        persons=6, pictures=4, recipe=RECIPES["llcm"], seed=0, replacement="needed", tracklet_frames=2
    )  # fmt: skip
    loader = StreamedLoader(subset, options, world=World(torch.device("cpu")))
    rates, memory = [], []
    for epoch in range(epochs):
        begin = time.perf_counter()
        with loader.epoch(epoch) as batches:
            count = sum(1 for _ in batches)
        rates.append(count / (time.perf_counter() - begin))
        memory.append(anonymous_bytes() / MB)
    return {
        "frames": len(subset.sample_N),
        "file_bytes": subset.converted.path.stat().st_size,
        "batches_an_epoch": loader.iterations,
        "images_a_batch": loader.batch_size,
        "batches_per_s": rates,
        "memory_mb": memory,
    }


def anonymous_bytes() -> int:
    """Return the memory that this process owns, without pages of files."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.partition("RssAnon:")[2].split()[0])


def table(content: Mapping[str, Any]) -> str:
    """Return Markdown. The first epoch fills caches and buffers, and is not in the median."""
    rows = [
        ["frames stored as", "GB", "batches/s, median", "lowest", "images/s", "memory after epoch 2, MB",
         f"after epoch {len(content['raw']['memory_mb'])}"],
        ["---"] * 7,
    ]  # fmt: skip
    for encoding in ("raw", "jpeg"):
        one = content[encoding]
        rates, memory = one["batches_per_s"][1:], one["memory_mb"]
        rows.append([
            f"{encoding}, {one['frames']:,} frames", f"{one['file_bytes'] / 1e9:.1f}", f"{median(rates):,.0f}",
            f"{min(rates):,.0f}", f"{median(rates) * one['images_a_batch']:,.0f}", f"{memory[1]:.0f}",
            f"{memory[-1]:.0f}",
        ])  # fmt: skip
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows) + "\n"


def main(arguments: Sequence[str]) -> int:
    if len(arguments) == 2 and arguments[0] == "load":  # the process that main starts for each encoding
        print(json.dumps(load(Path(arguments[1]), EPOCHS)))
        return 0
    if len(arguments) != 1:
        print(__doc__)
        return 2
    content: dict[str, Any] = {}
    for encoding, beton in make_sets(Path(arguments[0]), SET, (288, 144)).items():
        usage, output = measure("-m", "benchmarks.video", "load", str(beton))
        content[encoding] = {**json.loads(output.splitlines()[-1]), "process": usage}
    content["environment"] = environment(torch.device("cpu"))
    print(table(content))
    print(f"written: {write_result('video', content, content['environment'])}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
