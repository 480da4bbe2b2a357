"""Trains runs side by side: some processes, each on a GPU or a share of the cores, take one run after another.

Each process is train_ffcv.py with the options of a single run. So a run's folder, its checkpoints and its numbers are
those that it would have by itself with as many threads.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import IO, NamedTuple, TextIO

import torch
from tqdm import tqdm

from dns.training.options import Config
from ffcv_convert.common.errors import TrainingError
from ffcv_convert.common.signals import handled, unclaimed

POLL_S = 0.1


class Run(NamedTuple):
    """A single run. name: what stands before each line that it prints; arguments: the command line of train_ffcv.py."""

    name: str
    arguments: Sequence[str]


def single(arguments: Sequence[str], member: Config) -> Run:
    """Return one of the runs that a command line means, see repeats.members."""
    own = {
        "run.jobs": 1, "run.repeats": 1, "run.seed": member.run.seed, "run.name": member.run.name,
        "data.trial": member.data.trial,
    }  # fmt: skip
    name = f"seed {member.run.seed}" + f", trial {member.data.trial}" * bool(member.data.trial)
    return Run(name, [*arguments, *(f"--{option}={value}" for option, value in own.items())])


def train_all(script: Path, runs: Sequence[Run], device: str, jobs: int) -> int:
    """Train every run, `jobs` at a time. Returns 0 when all are finished, or the code of the signal that stopped them.

    A run that ends otherwise does not stop the others; TrainingError names it in the end. script: train_ffcv.py;
    device: as the configuration has it, see share_out.
    """
    waiting, places, failed = list(runs), share_out(device, min(jobs, len(runs))), []
    with _Signals(places) as signals:
        while (waiting and not signals.code) or any(place.process for place in places):
            for place in places:
                if place.process is None and waiting and not signals.code:
                    place.start(script, waiting.pop(0))
                    signals.tell(place)
                elif place.process is not None and (code := place.process.poll()) is not None:
                    name = place.end()
                    if code and not signals.code:
                        failed.append(name)
                        how = f"ended with code {code}" if code > 0 else f"was killed by signal {-code}"
                        print(f"{name}: {how}; the others go on", file=sys.stderr, flush=True)
            time.sleep(POLL_S)
    if signals.code:
        print("stopped; the same command goes on with what is left")
    elif failed:
        raise TrainingError(
            f"{len(failed)} of {len(runs)} runs did not finish: {', '.join(failed)}. Their messages stand above. "
            "The same command goes on with them"
        )
    return signals.code


@dataclass
class _Place:
    """A device and cores where one run at a time is trained. cores: those that its process may use."""

    number: int
    device: str
    cores: set[int]
    process: "subprocess.Popen[str] | None" = None
    name: str = ""
    readers: list[Thread] = field(default_factory=list)

    def start(self, script: Path, run: Run) -> None:
        command = [sys.executable, str(script), *run.arguments, f"--engine.device={self.device}"]
        self.name = run.name
        print(f"{self.name}: begins on {self.device}, {len(self.cores)} core{'s' * (len(self.cores) != 1)}", flush=True)
        with _on_cores(self.cores):
            # In a session of its own: a terminal's Ctrl-C reaches only this process, which passes it on once.
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="backslashreplace",
                env={**os.environ, "PYTHONUNBUFFERED": "1"}, start_new_session=True,
            )  # fmt: skip
        pipes = ((self.process.stdout, sys.stdout), (self.process.stderr, sys.stderr))
        self.readers = [Thread(target=self._relay, args=pair, daemon=True) for pair in pipes]
        for reader in self.readers:
            reader.start()

    def end(self) -> str:
        """Wait until all output of a process that has ended is printed. Returns the run's name."""
        for reader in self.readers:
            reader.join()
        self.process = None
        return self.name

    def _relay(self, pipe: IO[str], screen: TextIO) -> None:
        """Print each line with the run's name before it. Progress bars overwrite their line: on a terminal each run
        keeps a line at the bottom, elsewhere only a bar's last state is printed."""
        pipe.reconfigure(newline="")  # type: ignore[attr-defined]
        line = tqdm(total=0, bar_format="{desc}", position=self.number, leave=False, disable=None)
        with pipe:
            for text in pipe:
                if text.endswith("\r"):
                    line.set_description_str(f"{self.name}: {text.strip()}")
                elif text.strip():
                    tqdm.write(f"{self.name}: {text.rstrip()}", file=screen)
                    screen.flush()
        line.close()


class _Signals:
    """A handler that passes the signals which stop a training on to every run. code: 128 + the first of them, or 0."""

    def __init__(self, places: Sequence[_Place]):
        self.code, self._places, self._handlers = 0, places, ExitStack()

    def __enter__(self) -> "_Signals":
        self._handlers.enter_context(handled(unclaimed(), self._note))
        return self

    def __exit__(self, *_: object) -> None:
        self._handlers.close()

    def tell(self, place: _Place) -> None:
        """Pass on a signal that came while this run was starting."""
        if self.code and place.process:
            place.process.send_signal(self.code - 128)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.code = self.code or 128 + number
        for place in self._places:
            if place.process is not None:
                place.process.send_signal(number)


def share_out(device: str, jobs: int) -> list[_Place]:
    """Return `jobs` places: GPUs in turn, unless the configuration names one or the CPU; and as equal shares of the
    cores as there can be."""
    cores, gpus = sorted(os.sched_getaffinity(0)), torch.cuda.device_count()
    everywhere = device in ("auto", "cuda") and gpus > 0
    return [
        _Place(
            number,
            f"cuda:{number % gpus}" if everywhere else device,
            set(cores[number * len(cores) // jobs : (number + 1) * len(cores) // jobs] or [cores[number % len(cores)]]),
        )
        for number in range(jobs)
    ]


@contextmanager
def _on_cores(cores: set[int]) -> Iterator[None]:
    """Let a process that is started in the block use these cores only, and its libraries take as many threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
