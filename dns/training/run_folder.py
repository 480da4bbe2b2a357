"""Keeps a run's folder: configuration, log, checkpoints, result; lets a stopped run go on.

runs/<name>/config.yaml   the resolved configuration; locked while a training runs in the folder
            log.jsonl     one JSON object a line: train (losses), speed, epoch (seconds), eval (rank-1)
            last.pt       after every epoch, every run.save_minutes inside one, and where a run was stopped
            best.pt       highest rank-1 of the evaluations while training
            result.json   the final evaluation;  result.md  the same as a table
            report.html   figures and ranked images;  report/  its figures as SVG and PDF, its numbers as CSV
            tensorboard/  the log for TensorBoard, with run.tensorboard
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import MISSING
from pathlib import Path
from typing import Any, NamedTuple

from dns import ranks
from dns.evaluation.results import read_json, results_lock, write_json, writing
from dns.training import checkpoint
from dns.training.config import Stored, to_yaml
from dns.training.log import JsonLines, MetricsLog
from dns.training.options import DEFAULT_METHOD, Config, declared, plain
from dns.training.tensorboard import FOLDER, TensorBoard
from ffcv_convert.common.errors import CheckpointError, ConfigError, TrainingError
from ffcv_convert.common.locks import lock
from ffcv_convert.common.world import World

CONFIG = "config.yaml"


class RunFolder:
    """The folder of the run that the resolved configuration means; nothing is written before `training`.

    Raises ConfigError if it holds a run with another configuration, CheckpointError if that run cannot be read.
    """

    def __init__(self, config: Config, world: World):
        self.path, self.config, self.world = folder_of(config), config, world
        self.lines = JsonLines(self.path / "log.jsonl")
        board = [TensorBoard(self.path / FOLDER)] if config.run.tensorboard else []
        self.log = MetricsLog([self.lines, *board], world)
        self._read: tuple[tuple[int, int], checkpoint.Checkpoint] | None = None  # last.pt, see read_last
        self.resumed = ranks.on_main(world, self._look)

    def _look(self) -> bool:
        """Whether there is a run to go on with. A process that torchrun restarts goes on with its own."""
        wanted = self.config.run.resume == "auto" or ranks.restarted()
        return wanted and self.last.exists() and self._continues()

    @contextmanager
    def training(self) -> Iterator[None]:
        """Lock the folder, creating it for a new run. With resume=never, or without last.pt, rename the old one first.

        Among several ranks, rank 0 does it. Raises ConfigError while another process trains in it.
        """
        with ExitStack() as locks:
            self.resumed = ranks.on_main(self.world, lambda: self._take(locks))
            yield

    def _take(self, locks: ExitStack) -> bool:
        """Lock the folder. Returns whether there is a run to go on with: where there was none, it looks again, as no
        other process can write here now."""
        old = self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        locks.enter_context(exclusive_lock(self.path))
        resumed = self.resumed or self._look()
        kept = self.best.exists() or self.result.exists() or self.config.run.resume == "never"
        if not resumed and old and kept:
            print(f"{self.path}: the run that was there is now in {set_aside(self.path)}")
            self.path.mkdir()
            locks.enter_context(exclusive_lock(self.path))
        with results_lock(self.path):
            for partial in self.path.glob("*.partial"):  # a killed run left it
                partial.unlink()
        if not resumed:
            self.forget()
            self.lines.path.unlink(missing_ok=True)
            text = to_yaml(self.config, f"Resolved configuration of {self.path.name}")
            with writing(self.path / CONFIG):  # in place: it is locked
                (self.path / CONFIG).write_text(text, encoding="utf-8", errors="backslashreplace")
        return resumed

    @property
    def last(self) -> Path:
        return self.path / "last.pt"

    @property
    def best(self) -> Path:
        return self.path / "best.pt"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    def read_last(self) -> checkpoint.Checkpoint:
        """Return last.pt's content, read once unless another process has written it since. Raises CheckpointError."""
        now = self.last.stat() if self.last.exists() else None
        stamp = (now.st_mtime_ns, now.st_size) if now else (0, 0)
        if self._read is None or self._read[0] != stamp:
            self._read = (stamp, checkpoint.load(self.last))
        return self._read[1]

    def forget(self) -> None:
        """Let go of the memory of last.pt."""
        self._read = None

    def take_last(self) -> checkpoint.Checkpoint:
        """Return what read_last does, and forget it."""
        content = self.read_last()
        self.forget()
        return content

    def finished(self) -> bool:
        return finished(self.path)

    def nonfinite(self, step: int, losses: Mapping[str, float], **batch: Any) -> TrainingError:
        """Write down the batch that repeats a loss that is not finite. Returns the error to raise."""
        path, text = self.path / "nonfinite.json", {name: str(value) for name, value in losses.items()}
        if self.world.is_main:
            write_json(path, {**batch, "losses": text, "seed": self.config.run.seed, "config": self.config.stored()})
        return TrainingError(
            f"{self.path}: the loss is not finite at step {step} ({text}). Its batch is in {path}; {self.last} stands. "
            "Start again with a lower --optim.lr and --run.resume=never"
        )

    def _continues(self) -> bool:
        """Whether last.pt has the same configuration; False if it has another one, but holds no step yet.

        Raises ConfigError for another configuration, CheckpointError if last.pt cannot be read.
        """
        try:
            content = self.read_last()
        except CheckpointError as error:
            best = f"To go on from the best epoch: cp {self.best} {self.last}. " if self.best.exists() else ""
            raise CheckpointError(
                f"{error}. {best}To rename the old run and start again: --run.resume=never, make RESUME=never"
            ) from None
        changed = first_change(content["config"], self.config)
        if changed is None:
            return True
        if content["epoch"] == content["iteration"] == 0:  # nothing is lost, such as after a mistyped option
            return False
        raise changed.error(self.path)


class Change(NamedTuple):
    """An option, section.key, that decides numbers and has another value than in the run that a folder holds."""

    key: str
    before: Any
    now: Any

    def error(self, folder: Path) -> ConfigError:
        shown = str(self.before).lower() if isinstance(self.before, bool) else self.before
        return ConfigError(
            f"{folder}: holds a run with {self.key} = {self.before!r}, not {self.now!r}. Go on with it "
            f"(--{self.key}={shown}), choose another --run.name, or rename the old run: --run.resume=never, make "
            "RESUME=never"
        )


def first_change(stored: Stored, config: Config) -> Change | None:
    """Return the first option that decides numbers and is not as in `stored`, a run's configuration; None if all are.
    An option that is still auto is as it was."""
    for section, options in config.stored().items():
        for key, value in options.items():
            option, _, default = declared(section, config.model.method)[key]
            # A run from before the option trained with its default; `auto` was resolved, to what it is now.
            former = option.former or (value if default in (MISSING, "auto") else plain(default))
            before, kept = stored.get(section, {}).get(key, former), option.resumed
            if value != "auto" and kept(before) != kept(value):
                return Change(f"{section}.{key}", before, value)
    return None


def finished(folder: Path) -> bool:
    """Whether training wrote its result; eval.py may have written one of its own before the end. Raises ReportError."""
    content = read_json(folder / "result.json")
    return "complete" in content or "steps" in content  # steps: older runs have this key instead


def folder_of(config: Config) -> Path:
    run, data = config.run, config.data
    return run_path(run.root, run.name, data.set, config.model.method, run.seed, data.trial)


def run_path(root: str, name: str, dataset: str, method: str, seed: int | str, trial: int | str) -> Path:
    """Return the folder of a run. trial: 0 for a set with one split."""
    path = Path(root) / (f"{set_and_method(dataset, method)}-seed{seed}" if name == "auto" else name)
    return path / f"trial-{trial}" if trial else path


def set_and_method(dataset: str, method: str) -> str:
    """Return what the folders of runs are named after: the set, and the method where it is not the usual one."""
    return dataset if method == DEFAULT_METHOD else f"{dataset}-{method}"


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold a lock in a run's folder; it ends with the process. Raises ConfigError while another process has it."""
    with open(path / CONFIG, "a") as file:
        try:
            lock(file.fileno(), path / CONFIG)
        except BlockingIOError:
            raise ConfigError(
                f"{path}: another training is running in this folder. Wait for it to end, or choose another --run.name"
            ) from None
        yield


def set_aside(path: Path) -> Path:
    """Rename a folder to its name with the first free number behind it; nothing is deleted."""
    number = 1
    while (target := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    return path.rename(target)
