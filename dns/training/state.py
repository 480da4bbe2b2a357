"""Holds all that a stopped run needs to go on as if it had not stopped."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from dns import exchange, ranks
from dns.network import Network
from dns.training import checkpoint
from dns.training.fine_tuning import INITIAL
from dns.training.options import Config
from dns.training.writer import CheckpointWriter
from ffcv_convert.common.errors import CheckpointError, TrainingError
from ffcv_convert.common.world import World


@dataclass
class Progress:
    """How far a run has come. epoch, iteration: how many epochs are complete, and iterations of the one after them.
    evaluation_due: the evaluation of the last complete epoch is still to be done. The others: what evaluations gave."""

    epoch: int = 0
    iteration: int = 0
    evaluation_due: bool = False
    rank1_untrained: float | None = None
    best_rank1: float | None = None
    best_epoch: int | None = None

    def stored(self) -> dict[str, int | float]:
        """Return the results among it, as a checkpoint holds them."""
        results = {key: value for key, value in vars(self).items() if key not in ("epoch", "iteration")}
        return {key: value for key, value in results.items() if value is not None}

    @classmethod
    def restored(cls, epoch: int, iteration: int, results: Mapping[str, Any]) -> "Progress":
        """Return the progress that a checkpoint holds. Older ones say `untested` where an evaluation is due."""
        known = {field.name for field in fields(cls)}
        due = bool(results.get("evaluation_due", "untested" in results))
        kept = {key: value for key, value in results.items() if key in known}
        return cls(**{**kept, "epoch": epoch, "iteration": iteration, "evaluation_due": due})


@dataclass
class TrainingState:
    """All that a stopped run needs. size_px: height, width of the images; data_sha256: that of the training `.beton`;
    data_digests: those of what the run trains and tests on, by name. Batches, augmentation and dropout need no state:
    they are functions of (seed, epoch, iteration, rank). code: what has trained it, see environment.this_code, with the
    epoch and iteration from which it did. saved_at: when `save` was last called, in seconds of time.monotonic()."""

    world: World
    model: Network
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    config: Config
    size_px: tuple[int, int]
    data_sha256: str
    data_digests: Mapping[str, str] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    code: list[dict[str, Any]] = field(default_factory=list)
    saved_at: float = field(default_factory=time.monotonic)
    writer: CheckpointWriter = field(default_factory=CheckpointWriter)

    @property
    def where(self) -> str:
        epochs, iterations = self.progress.epoch, self.progress.iteration
        return f"after {epochs} epoch{'s' * (epochs != 1)} and {iterations} iteration{'s' * (iterations != 1)}"

    def save(self, *paths: Path) -> None:
        """Copy the state, and let the writer write it to one path after another. Every rank calls it, rank 0 writes.

        Raises TrainingError, and leaves the paths alone, where weights are not finite: nothing can go on from them.
        Raises CheckpointError where the write before this one failed.
        """
        self.saved_at = time.monotonic()
        with exchange.averaged_statistics(self.world, self.model) as every:
            statistics = {"statistics": every.cpu()} if self.world.size > 1 else {}
            ranks.on_main(self.world, lambda: self._save(paths, statistics))

    def _save(self, paths: Sequence[Path], statistics: dict[str, torch.Tensor]) -> None:
        floats = [tensor for tensor in self.model.state_dict().values() if tensor.is_floating_point()]
        if not torch.isfinite(torch.nn.utils.get_total_norm(floats, math.inf)):
            raise TrainingError(
                f"{paths[0]}: not saved {self.where}, for weights are not finite; the "
                "one before it stands. Start again with a lower --optim.lr and --run.resume=never"
            )
        self.writer.write(
            paths,
            {
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "scaler": self.scaler.state_dict(),
                "epoch": self.progress.epoch,
                "iteration": self.progress.iteration,
                "results": self.progress.stored(),
                "config": self.config.stored(),
                "ranks": statistics,
                "size_px": list(self.size_px),
                "data_sha256": self.data_sha256,
                "lists": dict(self.data_digests),
                "code": self.code,
            },
        )

    @contextmanager
    def saving_on(self, error: type[Exception], path: Path) -> Iterator[None]:
        """Save to `path` where the block ends by `error` between two steps: the steps before it stay valid. With
        several ranks it saves nothing: the others may be at another step."""
        try:
            yield
        except error:
            if self.world.size == 1:
                self.save(path)
            raise

    def restore(self, path: Path, content: checkpoint.Checkpoint) -> int:
        """Restore the content of the checkpoint at `path`. Returns how many ranks wrote it. Raises CheckpointError
        where it does not fit the network or the data, or was written inside an epoch of another number of ranks."""
        checkpoint.load_model(self.model, content["model"], path)
        unread = sorted(content["model"].keys() - self.model.state_dict().keys())
        if unread:
            raise CheckpointError(
                f"{path}: begun by an earlier version, which kept tensors that no loss of this run reads ({unread[0]} "
                f"and {len(unread) - 1} others), and moments of them. eval.py can test it. To train: --run.resume=never"
            )
        if content["data_sha256"] != self.data_sha256:
            raise CheckpointError(
                f"{path}: its run began on other images than the training set now holds. "
                "Convert the former ones again, or start again with --run.resume=never"
            )
        now = self.data_digests
        changed = sorted(name for name, digest in content["lists"].items() if now.get(name, digest) != digest)
        if changed:
            raise CheckpointError(
                f"{path}: its run began with another {' and '.join(changed)}. Convert the former data set again, or "
                "start again with --run.resume=never"
            )
        try:
            self._restore_optimiser(content["optimiser"])
            self.scaler.load_state_dict(content["scaler"])
        except Exception as error:  # torch checks little, and raises errors of any kind
            raise CheckpointError(
                f"{path}: damaged, or of another optimiser ({type(error).__name__}: {error}). "
                f"{checkpoint.FETCH_AGAIN}, or start again with --run.resume=never"
            ) from None
        if INITIAL in content["lists"]:  # the file that it began from is not needed again
            self.data_digests = {**now, INITIAL: content["lists"][INITIAL]}
        self.progress = Progress.restored(content["epoch"], content["iteration"], content["results"])
        self.code = content["code"]
        return self._restore_ranks(content["ranks"], path)

    def _restore_ranks(self, stored: Mapping[str, torch.Tensor], path: Path) -> int:
        """Give this rank the running statistics that it had, if there are as many ranks as before; otherwise an epoch
        begins from their mean, which the model has. Returns how many there were."""
        every = stored.get("statistics")
        former = 1 if every is None else len(every)
        if former == self.world.size:
            if every is not None:
                self._check_statistics(every, path)
                exchange.set_statistics(self.model, every[self.world.rank])
        elif self.progress.iteration:
            raise CheckpointError(
                f"{path}: stopped inside an epoch that {former} process{'es' * (former != 1)} began, and cannot go on "
                f"there with {self.world.size}. Go on with as many to the epoch's end: make RANKS={former}"
            )
        return former

    def _check_statistics(self, every: torch.Tensor, path: Path) -> None:
        wanted = sum(buffer.numel() for buffer in exchange.running_statistics(self.model))
        if every.ndim != 2 or every.shape[1] != wanted or not every.is_floating_point():
            raise CheckpointError(
                f"{path}: damaged (statistics of shape {list(every.shape)}). {checkpoint.FETCH_AGAIN}"
            )

    def _restore_optimiser(self, stored: Mapping[str, Any]) -> None:
        """Restore its momentum and step counts; its options are those of the configuration. Raises errors of any kind,
        because a damaged file may hold anything."""
        own, groups = self.optimiser.state_dict()["param_groups"], stored["param_groups"]
        if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
            raise TypeError("groups of another kind")
        if [group["params"] for group in groups] != [group["params"] for group in own]:
            raise ValueError("other groups of parameters")
        parameters = [parameter for group in self.optimiser.param_groups for parameter in group["params"]]
        for number, gathered in stored["state"].items():
            for name, value in gathered.items():
                shape = torch.Size() if name == "step" else parameters[number].shape
                if value is not None and (value.shape != shape or not value.is_floating_point()):
                    raise ValueError(f"{name} of shape {list(value.shape)} and {value.dtype}, not {list(shape)}")
        self.optimiser.load_state_dict({"state": stored["state"], "param_groups": own})
        for group, before in zip(self.optimiser.param_groups, groups, strict=True):
            rate = float(before["lr"])
            if not math.isfinite(rate):
                raise ValueError("a learning rate that is no number")
            group["lr"] = group["lr"].fill_(rate) if isinstance(group["lr"], torch.Tensor) else rate

    def note_code(self, code: Mapping[str, Any]) -> bool:
        """Record that `code` trains from here on. Returns whether the last code was other code, or is not known."""
        epoch, iteration = self.progress.epoch, self.progress.iteration
        if self.code and self.code[-1]["sources"] == code["sources"]:
            return False
        if epoch < self.config.optim.epochs:  # else nothing is left to train
            here = {"epoch": epoch, "iteration": iteration}
            # Code that trained no step does not matter.
            trained = [one for one in self.code if {"epoch": one["epoch"], "iteration": one["iteration"]} != here]
            self.code = [*trained, {**code, **here}]
        return True

    def note_rank1(self, rank1: float) -> bool:
        """Record the evaluation that was due. Returns whether its rank-1 is the highest so far; of equal ones, the
        first is."""
        progress = self.progress
        progress.evaluation_due = False
        best = progress.best_rank1 is None or rank1 > progress.best_rank1
        if best:
            progress.best_rank1, progress.best_epoch = rank1, progress.epoch
        return best
