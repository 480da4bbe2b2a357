"""Compares what the CUDA path computes on the stand-in, prints it, and writes benchmarks/results/cuda-numbers.json.

    python -m tests.cuda_stand_in.check_numbers          a part of make check-cuda

Exit code 1 where two numbers that should be equal are not, or a fault or a race was not seen.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS, WORK, write_json
from dns.training.environment import environment
from ffcv_convert.convert import convert
from ffcv_convert.datasets import DATASETS
from ffcv_convert.images import ImageFormat
from ffcv_convert.synthetic import FOLDERS, Options, synthesise
from tests.cuda_stand_in.check import EXIT_CODES, child
from tests.cuda_stand_in.race_faults import FAULTS

SAME = 1e-11  # of float64, relative
ROUNDED = {"fp32": 3e-6, "bf16": 1e-2, "fp16": 2e-3}  # as tests/dns/test_step.py has them, for one step
SET = Options(train_identities=8, test_identities=5, train_images=4, test_images=1, height_px=64, layout="sysu")
COMPILED = {
    "fp32": "one compiled step, Inductor's kernels",
    "bf16": "one compiled step, Inductor's kernels",
    "fp32 --combo": "one compiled step, combo kernels",
    "bf16 --combo --graph": "one compiled step, combo kernels",
}
Row = tuple[str, str, str, bool | float]  # case, precision, what it is compared with, equal or the largest difference


def small_set() -> Path:
    """A BETON_ROOT with a drawn set `sysu` of 64 x 32 px, made once below build/."""
    data, beton = WORK / "numbers" / "Dataset", WORK / "numbers" / "Beton"
    synthesise(data / FOLDERS["sysu"], SET, workers=1)
    convert(DATASETS["sysu"], data, beton, ImageFormat(64, 32), workers=1)
    return beton


def step_rows(found: dict[str, Any]) -> Iterator[Row]:
    """Of equal.py."""
    for name, same in found["captured_bits_equal"].items():
        precision, _, case = name.partition(", ")
        yield f"captured step, {case}", precision, "uncaptured, same device", same
    for name, apart in found["equal_fp64"].items():
        precision, _, case = name.partition(", ")
        yield f"losses of the captured step, {case}", precision, "the CPU's engine", apart["losses"]
    for precision, apart in found["rounded"].items():
        yield "one step", precision, "the CPU's engine, fp64", apart
    yield "loss scales, with overflows and without", "fp16", "the CPU's engine", all(found["scales_equal"].values())


def training_rows(found: dict[str, Any]) -> Iterator[Row]:
    """Of whole.py."""
    names = {
        "sources": ("training, images streamed", "fp32", "images on the device"),
        "captured and not, fp32": ("training, captured", "fp32", "uncaptured"),
        "stopped in its first epoch": ("training, stopped and resumed", "bf16", "unbroken"),
        "accumulated, captured and not": ("training, accumulated, captured", "bf16", "uncaptured"),
    }
    for name, same in found["bits"].items():
        yield *names[name], same
    for name, apart in found["float64"].items():
        yield f"training, {name}", "fp64", "the CPU's engine", apart["losses"]
        yield f"its rank-1 after each epoch, {name}", "fp64", "the CPU's engine", apart["rank1"]
    yield "test with re-ranking", "fp32", "the CPU's engine", all(found["re-ranked"].values())


def races(beton_root: Path) -> tuple[list[Row], dict[str, bool]]:
    """Lazy streams against work that is done at once, and which faults they show."""

    def run(*arguments: str) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            return child("races", beton_root, folder, *arguments)

    at_once = {source: run(source, "eager") for source in ("stream", "resident")}
    rows = [
        (f"training, lazy streams, {source}", "bf16", "work done at once", run(source, "lazy") == expected)
        for source, expected in at_once.items()
    ]
    return rows, {fault: run("stream", "lazy", fault) != at_once["stream"] for fault in FAULTS}


def compiled_rows(found: dict[str, Any]) -> Iterator[Row]:
    for how, name in COMPILED.items():
        precision, _, more = how.partition(" ")
        exact = "the CPU's engine" if precision == "fp32" else "the CPU's engine, fp64"
        yield name, precision, exact, found[how]["losses"]
        if "--graph" in more:
            yield f"{name}, captured, 6 steps", precision, "uncaptured, same device", found[how]["captured_bits_equal"]


def is_good(row: Row) -> bool:
    _, precision, _, value = row
    return value if isinstance(value, bool) else value < ROUNDED.get(precision, SAME)


def main() -> int:
    import torch

    beton_root = small_set()
    step, faults = child("equal", "whole"), child("planted")
    with tempfile.TemporaryDirectory() as folder:
        training = child("whole", beton_root, folder, "whole")
    lazy, races_seen = races(beton_root)
    compiled = {how: child("compiled_numbers", *how.split()) for how in COMPILED}
    rows = [*step_rows(step), *training_rows(training), *lazy, *compiled_rows(compiled)]
    host = environment(torch.device("cpu"))
    found = {
        "captured_bits_equal": all(step["captured_bits_equal"].values()),
        "sources_bits_equal": training["bits"]["sources"],
        "scales_equal": all(step["scales_equal"].values()),
        "equal_fp64": max(row[3] for row in rows if row[1] == "fp64" and not isinstance(row[3], bool)),
        "compiled_fp32": compiled["fp32"]["losses"],
        "compiled_bf16": compiled["bf16"]["losses"],
        "faults_caught": sum(first is not None for first in faults["faults"].values()),
        "races_caught": sum(races_seen.values()),
        "faults": faults["faults"], "right": faults["right"], "races": races_seen, "compiled": compiled, "cases": rows,
        "torch": host["torch"], "commit": host["commit"], "host": host["device"],
    }  # fmt: skip
    for name, value in found.items():
        print(f"{name:24}{json.dumps(value)}")
    print(f"written: {write_json(RESULTS / 'cuda-numbers.json', found)}")
    caught = all(first is not None for first in faults["faults"].values()) and all(races_seen.values())
    right = all(first is None for first in faults["right"].values()) and training["exit_codes"] == EXIT_CODES
    return 0 if caught and right and all(map(is_good, rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
