"""A run's folder: configuration, log, checkpoints, result; going on after a stop; stopping in good order.

runs/<name>/config.yaml   the resolved configuration
            log.jsonl     one JSON object a line: train (losses), epoch (seconds), eval (rank-1)
            last.pt       after every epoch, and where a run was stopped
            best.pt       highest rank-1 of the evaluations while training
            result.json   the final evaluation;  result.md  the same as a table
"""

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from dns import checkpoint
from dns.config import ConfigError, to_yaml
from dns.evaluation.report import read_json

# Options that may differ between the parts of one run: they change no number that training computes.
FREE = {
    *(("run", key) for key in ("root", "name", "resume", "repeats", "log_every")),
    *(("data", key) for key in ("beton_root", "source", "workers")),
    *(("eval", key) for key in ("checkpoint", "protocols", "features", "re_ranking", "export")),
}


class TrainingError(Exception):
    """Training cannot go on; the message says what was written where."""


class RunFolder:
    """The folder of the run that `values`, the resolved configuration, means; nothing is written before `start`.

    Raises ConfigError if it holds a run with another configuration, CheckpointError if that run cannot be read.
    """

    def __init__(self, values: Mapping[str, Mapping[str, Any]]):
        run, data = values["run"], values["data"]
        self.path = run_path(run["root"], run["name"], data["set"], run["seed"], data["trial"])
        self.values = values
        self.resumed = self.last.exists() and run["resume"] == "auto"
        if self.resumed:
            self._check_same()

    def start(self) -> None:
        """Make the folder of a new run, with its configuration; an old one under resume=never, or without last.pt,
        is set aside."""
        if self.resumed:
            return
        if self.path.exists() and (self.values["run"]["resume"] == "never" or self.result.exists()):
            print(f"{self.path}: the run that was there is now in {set_aside(self.path)}")
        self.path.mkdir(parents=True, exist_ok=True)
        self.log.unlink(missing_ok=True)
        text = to_yaml(self.values, f"Resolved configuration of {self.path.name}")
        (self.path / "config.yaml").write_text(text, encoding="utf-8")

    @property
    def last(self) -> Path:
        return self.path / "last.pt"

    @property
    def best(self) -> Path:
        return self.path / "best.pt"

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    def finished(self) -> bool:
        """Whether training wrote its result; eval.py may have written one of its own before the end."""
        return "steps" in read_json(self.result)

    def write_log(self, kind: str, **values: Any) -> None:
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **values}) + "\n")

    def read_log(self, kind: str) -> list[dict[str, Any]]:
        if not self.log.exists():
            return []
        lines = [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        return [line for line in lines if line["kind"] == kind]

    def forget_after(self, step: int) -> None:
        """Drop the log's lines beyond `step`: a killed run may have logged more than its checkpoint holds."""
        if self.log.exists():
            whole = [line for line in self.log.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
            kept = [line for line in whole if json.loads(line)["step"] <= step]
            self.log.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def _check_same(self) -> None:
        stored = checkpoint.load(self.last)["config"]
        for section, options in self.values.items():
            for key, value in options.items():
                before = stored.get(section, {}).get(key, value)  # an option may be newer than the run
                if (section, key) not in FREE and before != value:
                    raise ConfigError(
                        f"{self.path}: holds a run with {section}.{key} = {before!r}, not {value!r}. "
                        "Choose another --run.name, or set it aside: --run.resume=never, make RESUME=never"
                    )


def run_path(root: str, name: str, dataset: str, seed: int | str, trial: int | str) -> Path:
    """Folder of a run. trial: 0 for a set with one split."""
    path = Path(root) / (f"{dataset}-seed{seed}" if name == "auto" else name)
    return path / f"trial-{trial}" if trial else path


def set_aside(path: Path) -> Path:
    """Rename a folder to its name with the first free number behind it; nothing is deleted."""
    number = 1
    while (target := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    return path.rename(target)


class Interruption:
    """Turns the first SIGINT or SIGTERM into a flag, for the loop to stop in good order; the second one acts at once.

    `code` is 128 + the signal, 0 while there was none.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __enter__(self) -> "Interruption":
        self.code = 0
        self._before = {int(number): signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.code = 128 + number
        print("\nstopping after this step, with a checkpoint; again to stop at once, without", file=sys.stderr)
        signal.signal(number, self._before[number])


def environment(device: torch.device) -> dict[str, Any]:
    """Hardware, versions and commit that a figure was seen with."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "numpy", "numba", "ffcv")},
        "commit": _commit(),
    }


def _commit() -> str:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent)
    except OSError:  # no git here
        return "unknown"
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
