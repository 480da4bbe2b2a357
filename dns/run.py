"""A run's folder: configuration, log, checkpoints, result; going on after a stop.

runs/<name>/config.yaml   the resolved configuration; locked while a training runs in the folder
            log.jsonl     one JSON object a line: train (losses), epoch (seconds), eval (rank-1)
            last.pt       after every epoch, every run.save_minutes inside one, and where a run was stopped
            best.pt       highest rank-1 of the evaluations while training
            result.json   the final evaluation;  result.md  the same as a table
"""

import fcntl
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch

from dns import checkpoint
from dns.config import ConfigError, to_yaml
from dns.evaluation.report import ReportError, in_turn, read_json, write_json, write_text, writing

# Options that may differ between the parts of one run: they change no number that training computes.
FREE = {
    *(("run", key) for key in ("root", "name", "resume", "repeats", "save_minutes", "log_every")),
    *(("data", key) for key in ("beton_root", "source", "workers")),
    *(("eval", key) for key in ("checkpoint", "protocols", "features", "re_ranking", "export")),
}


CONFIG = "config.yaml"


class TrainingError(Exception):
    """Training cannot go on; the message says what was written where."""


class RunFolder:
    """The folder of the run that `values`, the resolved configuration, means; nothing is written before `training`.

    Raises ConfigError if it holds a run with another configuration, CheckpointError if that run cannot be read.
    """

    def __init__(self, values: Mapping[str, Mapping[str, Any]]):
        run, data = values["run"], values["data"]
        self.path = run_path(run["root"], run["name"], data["set"], run["seed"], data["trial"])
        self.values = values
        self.resumed = False
        self._look()

    def _look(self) -> None:
        """Whether there is a run to go on with. Once more when no other process can write here."""
        if not self.resumed and self.last.exists() and self.values["run"]["resume"] == "auto":
            self._check_same()
            self.resumed = True

    @contextmanager
    def training(self) -> Iterator[None]:
        """Keep the folder to this process, and make it if the run is new; an old one under resume=never, or one without
        last.pt, is set aside.

        Raises ConfigError while another process trains in it.
        """
        with ExitStack() as locks:
            old = self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
            locks.enter_context(alone_in(self.path))
            self._look()
            kept = self.best.exists() or self.result.exists() or self.values["run"]["resume"] == "never"
            if not self.resumed and old and kept:
                print(f"{self.path}: the run that was there is now in {set_aside(self.path)}")
                self.path.mkdir()
                locks.enter_context(alone_in(self.path))
            with in_turn(self.path):
                for partial in self.path.glob("*.partial"):  # of a killed run
                    partial.unlink()
            if not self.resumed:
                self.log.unlink(missing_ok=True)
                text = to_yaml(self.values, f"Resolved configuration of {self.path.name}")
                with writing(self.path / CONFIG):  # in place: it is locked
                    (self.path / CONFIG).write_text(text, encoding="utf-8", errors="backslashreplace")
            yield

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
        with writing(self.log), open(self.log, "a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **values}) + "\n")

    def nonfinite(self, step: int, losses: Mapping[str, float], **batch: Any) -> TrainingError:
        """Write down what repeats a step whose loss is not finite. Returns the error to raise."""
        path, text = self.path / "nonfinite.json", {name: str(value) for name, value in losses.items()}
        write_json(path, {**batch, "losses": text, "seed": self.values["run"]["seed"], "config": self.values})
        return TrainingError(
            f"{self.path}: the loss is not finite at step {step} ({text}). Its batch is in {path}; {self.last} stands. "
            "Start anew with a lower --optim.lr and --run.resume=never"
        )

    def read_log(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self._lines() if line["kind"] == kind]

    def speed(self, images: int) -> dict[str, float | None]:
        """Images per second over all epochs, and the median seconds of those that went through in one, with `images`
        each; None if there is none."""
        epochs = self.read_log("epoch")
        whole = [epoch["seconds"] for epoch in epochs if epoch["images"] == images]
        seconds = max(sum(epoch["seconds"] for epoch in epochs), 1e-9)  # a log may be gone
        return {
            "images_per_s": sum(epoch["images"] for epoch in epochs) / seconds,
            "epoch_s": median(whole) if whole else None,
        }

    def _lines(self) -> list[dict[str, Any]]:
        """The log, without the half line that a killed run may have left at its end. Raises ReportError."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        lines, read = text.splitlines(), []
        for number, line in enumerate(lines, start=1):
            try:
                read.append(json.loads(line))
            except ValueError:
                if number < len(lines):
                    raise ReportError(
                        f"{self.log}: line {number} is damaged. Remove it, then give the same command again"
                    ) from None
        return read

    def forget_after(self, step: int, *, tested: bool) -> None:
        """Drop the log's lines beyond `step`, and its evaluation unless `tested`: a killed run may have logged more
        than its checkpoint holds."""

        def known(line: Mapping[str, Any]) -> bool:
            return (line["step"], line["kind"] == "eval") <= (step, tested)

        if self.log.exists():
            write_text(self.log, "".join(json.dumps(line) + "\n" for line in self._lines() if known(line)))

    def _check_same(self) -> None:
        try:
            stored = checkpoint.load(self.last)["config"]
        except checkpoint.CheckpointError as error:
            best = f"To go on from the best epoch: cp {self.best} {self.last}. " if self.best.exists() else ""
            raise checkpoint.CheckpointError(
                f"{error}. {best}To set the run aside and start anew: --run.resume=never, make RESUME=never"
            ) from None
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


@contextmanager
def alone_in(path: Path) -> Iterator[None]:
    """Hold a lock in a run's folder; it dies with the process. Raises ConfigError while another process has it."""
    with open(path / CONFIG, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{path}: another training is running in this folder. Wait for it to end, or choose another --run.name"
            ) from None
        except OSError as error:
            print(f"note: {path}: no locks here ({error.strerror}); see to it that one training runs in this folder",
                  file=sys.stderr)  # fmt: skip
        yield


def set_aside(path: Path) -> Path:
    """Rename a folder to its name with the first free number behind it; nothing is deleted."""
    number = 1
    while (target := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    return path.rename(target)


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
