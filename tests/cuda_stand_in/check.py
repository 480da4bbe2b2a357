"""Runs everything on the stand-in, prints what it found, and writes benchmarks/results/cuda-check.json.

    python -m tests.cuda_stand_in.check          make check-cuda

Exit code 1 where a rule of capture was broken, the host waited, or a control was missed.
"""

import json
import subprocess
import sys
import tempfile
from typing import Any

from benchmarks.harness import RESULTS, drawn_set, write_json
from dns.training.environment import environment
from tests.cuda_stand_in import run

EXIT_CODES = {"stopped": 143, "resumed": 0, "tested": 0, "tested with re-ranking": 0}  # of capture.py's training


def child(module: str, *arguments: object) -> dict[str, Any]:
    """What a module of this folder prints when it runs on the stand-in."""
    command = [sys.executable, "-m", f"tests.cuda_stand_in.{module}", *map(str, arguments)]
    done = subprocess.run(command, env=run.environment(), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def summary(capture: dict[str, Any], compiled: dict[str, Any]) -> dict[str, Any]:
    """The figures by name; the rest of what was found below `capture` and `compiled`."""
    steps, loops = [*capture["combinations"], *capture["several"].values()], capture["loop"].values()
    return {
        "violations": sum(len(step["violations"]) for step in steps),
        "syncs": sum(one["syncs"] for one in (*steps, *loops)),
        "launches_a_step": max(step["launches"] for step in steps),
        "launches_an_iteration": max(loop["launches"] for loop in loops),
        "host_ms": max(round(loop["host_ms"], 3) for loop in loops),
        **{name: value for name, value in compiled.items() if name not in ("classes", "mixed")},
        "classes": compiled["classes"],
        "controls_caught": all(capture["controls"].values()),
        "exit_codes": capture["training"],
    }


def main() -> int:
    import torch

    beton_root = drawn_set()[1].parent
    with tempfile.TemporaryDirectory() as folder:
        capture = child("capture", beton_root, folder, "every")
    found = summary(capture, child("compiled", beton_root))
    host = environment(torch.device("cpu"))
    found |= {"torch": host["torch"], "commit": host["commit"], "host": host["device"]}
    for name, value in found.items():
        print(f"{name:28}{value}")
    print(f"written: {write_json(RESULTS / 'cuda-check.json', found)}")
    good = found["violations"] == found["syncs"] == 0 and found["controls_caught"] and capture["training"] == EXIT_CODES
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
