"""Says with what a figure was measured: hardware, versions, commit, sources."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

PROJECT = Path(__file__).resolve().parents[2]
SOURCES = ("dns", "pipelines", "ffcv_convert", "train_ffcv.py", "eval.py")  # what computes a result


def environment(device: torch.device) -> dict[str, Any]:
    """Return the hardware, versions and commit that a figure was measured with."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "numpy", "numba", "ffcv")},
        **this_code(),
    }


@cache
def this_code() -> dict[str, Any]:
    """Return what tells the code that runs from other code. sources: SHA-256 of the sources, however they got here;
    commit: git's, "unknown" where the project has no repository of its own; modified: whether the sources differ from
    it, None where it is unknown. They are read once: a later edit does not change what has been imported."""
    digest = hashlib.sha256()
    for path in sorted(file for name in SOURCES for file in [PROJECT / name, *(PROJECT / name).rglob("*.py")]):
        if path.is_file():
            digest.update(f"{path.relative_to(PROJECT)}\0".encode() + path.read_bytes())
    top, _, commit = (_git("rev-parse", "--show-toplevel", "HEAD") or "").partition("\n")
    own = bool(commit) and Path(top).resolve() == PROJECT
    changes = _git("status", "--porcelain", "--", *SOURCES) if own else None
    return {
        "commit": commit if own else "unknown",
        "modified": None if changes is None else bool(changes),
        "sources": digest.hexdigest(),
    }


def named(code: Mapping[str, Any]) -> str:
    """Return a name for some code in a message."""
    if code["commit"] == "unknown":
        return f"sources {code['sources'][:8]}"
    return f"commit {code['commit'][:8]}" + f", modified (sources {code['sources'][:8]})" * bool(code["modified"])


def _git(*arguments: str) -> str | None:
    """Return what git prints in the project; None where it fails, or is not installed."""
    elsewhere = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # as hooks have
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=PROJECT, env=elsewhere)
    except OSError:
        return None
    return None if done.returncode else done.stdout.strip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
