"""Holds what the benchmarks share: interleaved rounds, a data set to measure on, and the writing of results."""

import json
import os
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ffcv_convert.common.atomic import replacing
from ffcv_convert.convert import convert
from ffcv_convert.datasets import DATASETS
from ffcv_convert.images import ImageFormat
from ffcv_convert.synthetic import FOLDERS, Options, synthesise

RESULTS = Path(__file__).parent / "results"
WORK = Path(__file__).parent.parent / "build" / "benchmarks"
ROUNDS = 5
CORES = len(os.sched_getaffinity(0))
SET = Options(train_identities=48, test_identities=6, train_images=12, test_images=2, layout="sysu")
OFFICIAL = Options(layout="sysu", official_size=True)


def interleaved(cases: Mapping[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Call every case once per round, in turn, so that a busy moment of the machine slows them all. A case returns its
    own figure (seconds, images/s)."""
    figures: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            figures[name].append(case())
    return figures


def summarise(figures: Mapping[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Return median, lowest, highest and every round of each case."""
    return {
        name: {"median": median(values), "least": min(values), "most": max(values), "rounds": values}
        for name, values in figures.items()
    }


def drawn_set() -> tuple[Path, Path]:
    """Return the raw folder and the .beton folder of a drawn set in SYSU-MM01's layout: 1,152 training images of 288 x
    144. It is made once, below build/."""
    return _made(WORK, SET)


def official_set() -> tuple[Path, Path]:
    """Return the raw folder and the .beton folder of a set of SYSU-MM01's own size: 45,863 images, 10 GB."""
    return _made(WORK / "official", OFFICIAL)


def _made(folder: Path, size: Options) -> tuple[Path, Path]:
    data, beton = folder / "Dataset", folder / "Beton"
    raw = data / FOLDERS["sysu"]
    synthesise(raw, size, workers=CORES)
    convert(DATASETS["sysu"], data, beton, ImageFormat(), workers=CORES)
    return raw, beton / "sysu"


def importable(module: str) -> bool:
    """Whether the module is installed, without importing it."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package is missing
        return False


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def waiting_share(alone_s: float, fed_s: float) -> float:
    """Return the share of fed_s that steps fed by a loader spend waiting: alone_s is the time of as many steps on one
    batch in memory. A negative share is noise, and so is a positive one of that size."""
    return 1 - alone_s / fed_s


def hardware(environment: Mapping[str, Any]) -> str:
    return re.sub(r"[^a-z0-9]+", "-", f"{environment['device']} {environment['cores']} cores".lower())


def digits(value: float) -> str:
    """Return four significant digits, or all digits before the point."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def times(speedup: float) -> str:
    """Return a speedup in words, such as "2.0 times as fast"; above 1, ours is faster."""
    return f"{speedup:.{0 if speedup >= 10 else 1 if speedup >= 2 else 2}f} times as fast"


def result_path(question: str, environment: Mapping[str, Any]) -> Path:
    """Return benchmarks/results/<question>-<hardware>-<date>.json."""
    date = datetime.now(timezone.utc).date().isoformat()
    return RESULTS / f"{question}-{hardware(environment)}-{date}.json"


def write_result(question: str, content: Mapping[str, Any], environment: Mapping[str, Any]) -> Path:
    return write_json(result_path(question, environment), content)


def write_json(target: Path, content: Mapping[str, Any]) -> Path:
    """Write JSON atomically: after an interruption the file is the old one or the new one."""
    target.parent.mkdir(exist_ok=True)
    with replacing(target) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())
    return target
