"""Measures on a GPU, part by part: python -m benchmarks.gpu [PART ...]

The parts follow one another: `tests` that need a GPU; `step` with each option of the engine; `epoch` of SYSU-MM01's
size; `pipeline` of ready batches; `profile` of a step. Each is a process of its own, is stopped after ten minutes, and
can be run by itself. Then benchmarks/results/gpu-<hardware>.md sets the step beside what others reached on such cards.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import RESULTS, digits, hardware
from benchmarks.training import REPOSITORY
from dns.evaluation.results import write_text
from dns.training.environment import environment
from dns.training.throughput import PEAK_TFLOPS

LIMIT_S = 590.0
PARTS = {
    "tests": ["-m", "pytest", "-q", "-m", "gpu"],
    **{question: ["-m", "benchmarks", question] for question in ("step", "epoch", "pipeline")},
    "profile": ["-m", "benchmarks.profile"],
}
# Training of ResNet-50: whose, card (in CARDS), images/s, share of the peak, None where it was not found.
MAKERS = ("nvidia", "tesla", "quadro", "titan", "geforce")  # how the names of cards begin
CARDS = {"H100": "NVIDIA H100 80GB HBM3", "H200": "NVIDIA H200"}
ANCHORS: Sequence[tuple[str, str, float, float | None]] = [
    ("MLPerf Training v4.0, images of 224 x 224", "H100", 7159.0, 0.176),
    ("MLPerf Training v4.0, images of 224 x 224", "H200", 7960.0, 0.195),
    ("NVIDIA's PyTorch container, images of 224 x 224", "", 2780.0, None),
]


def main(arguments: Sequence[str]) -> int:
    """Run the parts. Exit code: 0 every part succeeded, 1 one failed or took too long, 2 there is no GPU or no such
    part."""
    unknown = [part for part in arguments if part not in PARTS]
    if unknown:
        print(f"error: unknown part {unknown[0]!r}. Choose from {', '.join(PARTS)}", file=sys.stderr)
        return 2
    if not torch.cuda.is_available():
        print("error: no CUDA device here. make benchmark measures on the CPU", file=sys.stderr)
        return 2
    failed = [part for part in arguments or PARTS if not run(part)]
    place = environment(torch.device("cuda"))
    target = RESULTS / f"gpu-{hardware(place)}.md"
    write_text(target, table(stored(hardware(place), RESULTS)))
    print(target.read_text(encoding="utf-8"))
    print(f"written: {target}")
    if failed:
        print(f"failed: {', '.join(failed)}. Repeat it alone: make benchmark-gpu PARTS={failed[0]}", file=sys.stderr)
    return 1 if failed else 0


def run(part: str) -> bool:
    """Run one part; return whether it succeeded."""
    print(f"== {part}", flush=True)
    begin = time.monotonic()
    process = subprocess.Popen([sys.executable, *PARTS[part]], cwd=REPOSITORY, start_new_session=True)
    try:
        done = process.wait(LIMIT_S) == 0
    except subprocess.TimeoutExpired:
        print(f"error: {part} was stopped after {LIMIT_S:.0f} s", file=sys.stderr)
        return False
    finally:  # its own children as well: they would go on computing on the card
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    print(f"== {part} {'took' if done else 'failed after'} {time.monotonic() - begin:.0f} s\n", flush=True)
    return done


def of_a_gpu(path: Path) -> bool:
    """Whether a stored result was measured on a GPU, by the file's name."""
    return any(f"-{maker}" in path.stem for maker in MAKERS)


def stored(machine: str, folder: Path = RESULTS) -> dict[str, Any] | None:
    """Return the newest result of the question `step` on a GPU whose name begins with `machine`, or None."""
    found = sorted(filter(of_a_gpu, folder.glob(f"step-{machine}*.json")), key=lambda path: path.stem[-10:])
    return json.loads(found[-1].read_text(encoding="utf-8")) if found else None


def table(step: dict[str, Any] | None, check: Path = RESULTS / "cuda-check.json") -> str:
    """Return Markdown: training of ResNet-50 by others, by this step as `make check-cuda` bounds it, and as measured.

    step: a result of the question `step` on CUDA. check: what `make check-cuda` stored.
    """
    rows = [["training of ResNet-50", "card", "images/s", "TFLOP/s", "share of the peak"], ["---"] * 5]
    for whose, card, rate, share in ANCHORS:
        known = ["", ""] if share is None else [digits(share * PEAK_TFLOPS[CARDS[card]]), f"{share:.1%}"]
        rows.append([whose, card, digits(rate), *known])
    modelled = json.loads(check.read_text(encoding="utf-8"))
    for card, limit_ms in modelled["roofline_ms"].items():
        tflops = modelled["convolution_tflop"] / limit_ms * 1000
        rows.append(
            ["this step at most, by its roofline (`make check-cuda`), 48 images of 288 x 144", card,
             digits(48 / limit_ms * 1000),
             digits(tflops), f"{tflops / PEAK_TFLOPS[CARDS[card]]:.1%}"]
        )  # fmt: skip
    if step is None or "tflops" not in step:  # results from before this table lack it
        rows.append(["this step, measured", "none yet", "", "", ""])
    else:
        (height, width), commit = step["size_px"], step["environment"]["commit"][:7]
        rows.append(
            [f"this step, measured at {commit}, {step['images']} images of {height} x {width}",
             step["environment"]["device"],
             digits(step["images_per_s"]), digits(step["tflops"]), f"{step['mfu']:.1%}" if "mfu" in step else ""]
        )  # fmt: skip
    return "".join("| " + " | ".join(cells) + " |\n" for cells in rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
