"""How many images per second does each way of running a network embed? PyTorch, and the files of `make export`.

A batch of 48 uint8 images, without flip, on all cores of the CPU: the product's own Embedder, as the recipe runs it,
compiled, and in bf16; and what `dns.export` writes, in onnxruntime and, in float32, in OpenVINO. OpenVINO takes the
int8 files too, but makes other embeddings of a trained network (benchmarks/exports.py), so its speed would say nothing.
ResNet-50 takes images of 288 x 144, the small network of `make train` every third pixel of these. The weights are
random, which changes no time. A processor without bf16 computes it many times more slowly: there an image, once, has to
do. Three rounds: ResNet-50 takes seconds a batch.

`likeness` is the lowest cosine between a case's embeddings and those of PyTorch in fp32. With random weights it tells
whether a case computes this network at all; benchmarks/exports.py shows what int8 and float16 lose.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cosine_similarity

from benchmarks.harness import CORES, drawn_set, interleaved, summarise, times
from benchmarks.ways import BF16, CPU, EAGER, Subject, Way, ways
from dns.engine import fastest_precision
from dns.export.precision import weight_bits
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import ConfigError
from ffcv_convert.common.world import World
from pipelines import data
from pipelines.subset import STYLES

SUBJECTS = {"ResNet-50": Subject("sysu", 1), "small network": Subject("synthetic", 3)}
BATCH, CALIBRATED = 48, 16  # images; quantising 256, as the product does, takes longer and gives no faster network
ROUNDS = 3
SLOW_IMAGES = 1
ROUND_S = 0.5  # for so long at least, a round repeats its batch


def measure() -> dict[str, Any]:
    """Return images/s. likeness: see above, by case; left_out: why, by case; speedups: by network and case, over
    PyTorch in fp32; bf16: whether the processor has it; weight_bits: of int8."""
    drawn = _drawn_images()
    likeness: dict[str, float] = {}
    left_out: dict[str, str] = {}
    cases: dict[str, Callable[[], float]] = {}
    slow: dict[str, Callable[[], float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, subject in SUBJECTS.items():
            pixels = np.ascontiguousarray(drawn[:, :: subject.every, :: subject.every])
            batch, calibration = pixels[:BATCH], pixels[BATCH:]
            wanted: np.ndarray | None = None
            for case, make in ways(subject, calibration, Path(folder)):
                print(f"preparing {name}: {case}", file=sys.stderr)
                try:
                    way = make()
                except ConfigError as error:
                    left_out[f"{name}: {case}"] = str(error)
                    continue
                few = case == BF16 and fastest_precision(CPU) != "bf16"
                images = batch[:SLOW_IMAGES] if few else batch
                given = way(images)  # the first call compiles
                wanted = given if wanted is None else wanted
                likeness[f"{name}: {case}"] = _likeness(given, wanted)
                (slow if few else cases)[f"{name}: {case}"] = partial(_images_per_s, way, images)
        figures = summarise({**interleaved(cases, ROUNDS), **interleaved(slow, rounds=1)})
    return {
        "unit": "images/s",
        "cases": figures,
        "likeness": likeness,
        "left_out": left_out,
        "speedups": _speedups(figures),
        "images": BATCH,
        "threads": torch.get_num_threads(),
        "bf16": fastest_precision(CPU) == "bf16",
        "weight_bits": weight_bits(),
    }


def words(content: dict[str, Any]) -> list[str]:
    """Say which way is fastest for each network, what the coarse ones compute, and what was left out."""
    found = []
    for name, of_name in content["speedups"].items():
        best = max(of_name, key=of_name.__getitem__)
        found.append(f"{name}: {best} is the fastest, {times(of_name[best])} as {EAGER}.")
    alike: dict[str, float] = {}
    for case, cosine in content["likeness"].items():
        way = case.partition(": ")[2]
        alike[way] = min(cosine, alike.get(way, 1.0))
    found.append(
        f"{content['threads']} threads each, batches of {content['images']} images, int8 with weights of "
        f"{content['weight_bits']} bits. Lowest cosine with {EAGER}: "
        + ", ".join(f"{way} {cosine:.5f}" for way, cosine in alike.items() if way != EAGER)
        + "."
    )
    if not content["bf16"]:
        found.append(f"The processor lacks bf16: that case embeds batches of {SLOW_IMAGES} in a single round.")
    found += [f"Left out: {case}: {why}." for case, why in content["left_out"].items()]
    return found


def _drawn_images() -> np.ndarray:
    """Return the first visible training images of the drawn set, uint8 (BATCH + CALIBRATED, H, W, 3)."""
    images = data.open_test(
        drawn_set()[1],
        World(CPU),
        split="train",
        trial=0,
        styles=STYLES,
        source="stream",
        batch_size=BATCH,
        workers=CORES,
    )
    return np.stack(images.pixels(np.flatnonzero(images.modality_N == Modality.VISIBLE)[: BATCH + CALIBRATED]))


def _images_per_s(way: Way, pixels_BHWC: np.ndarray) -> float:
    begin, seconds, images = time.perf_counter(), 0.0, 0
    while not images or seconds < ROUND_S:
        way(pixels_BHWC)
        images += len(pixels_BHWC)
        seconds = time.perf_counter() - begin
    return images / seconds


def _likeness(given_BD: np.ndarray, wanted_BD: np.ndarray) -> float:
    """Return the lowest cosine between rows; wanted may have more of them."""
    given, wanted = (torch.from_numpy(np.array(one)) for one in (given_BD, wanted_BD[: len(given_BD)]))
    return float(cosine_similarity(given, wanted).min())


def _speedups(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return each case's speedup over PyTorch in fp32, by network. figures: by "network: case"."""
    found: dict[str, dict[str, float]] = {}
    for name, figure in figures.items():
        network, _, case = name.partition(": ")
        found.setdefault(network, {})[case] = figure["median"] / figures[f"{network}: {EAGER}"]["median"]
    return found
