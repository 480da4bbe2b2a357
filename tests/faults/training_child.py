"""train_ffcv.py in children of a process that has imported it: they start in no time, to be killed and starved.

A child does what the command line does, in one thread, with its output in a pipe.
"""

import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from tqdm import tqdm

import train_ffcv
from dns.training import throughput
from ffcv_convert.common.errors import user_errors
from tests.conftest import REPOSITORY

SERVER = get_context("forkserver")
LIMIT_S = 120
OPTIONS = [
    "--config-file", str(REPOSITORY / "configs" / "synthetic.yaml"), "--data.persons=4", "--data.pictures=3",
    "--optim.epochs=2", "--optim.peak_epoch=1", "--eval.every=1", "--eval.batch_size=16", "--run.log_every=1",
    "--optim.name=sgd", "--optim.lr=0.05", "--data.workers=1", "--engine.device=cpu", "--engine.precision=fp32",
    "--report.write=false",
]  # fmt: skip
TOLD_BY_CLOCKS = ("images_per_s", "tflops", "epoch_s", "environment")


@contextmanager
def server() -> Iterator[None]:
    """The process that children are forked from; the first child starts it."""
    SERVER.set_forkserver_preload(["tests.faults.training_child", "tests.faults.hang_cases"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        yield


class Child:
    """`work()` in a child. hurt: called there before, to put a fault where it is wanted."""

    def __init__(self, work: Callable[[], int], hurt: Callable[[], None] | None = None):
        self.output, self._began = "", time.monotonic()
        self._reading, writing = SERVER.Pipe(duplex=False)
        self.process = SERVER.Process(target=_work, args=(work, hurt, writing))
        self.process.start()
        writing.close()

    def read_until(self, text: str | None) -> str:
        """The output so far, once `text` is in it; to the child's end without one. Late children are killed."""
        while text is None or text not in self.output:
            left = self._began + LIMIT_S - time.monotonic()
            if not select.select([self._reading], [], [], max(left, 0))[0]:
                self.process.kill()
                raise TimeoutError(f"hung: {self.output[-2000:]}")
            more = os.read(self._reading.fileno(), 1 << 16)
            if not more:
                break
            self.output += more.decode()
        return self.output

    def end(self) -> tuple[int, str]:
        """Exit code (minus the signal that killed it) and output."""
        self.read_until(None)
        self._reading.close()
        self.process.join()
        code = self.process.exitcode
        self.process.close()
        return code, self.output


def training(beton_root: Path, run: Path, *options: str, hurt: Callable[[], None] | None = None) -> Child:
    arguments = [*OPTIONS, f"--data.beton_root={beton_root}", f"--run.root={run.parent}", f"--run.name={run.name}"]
    return Child(partial(train_ffcv.train, [*arguments, *options]), hurt)


def _work(work: Callable[[], int], hurt: Callable[[], None] | None, output: Connection) -> None:
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    sys.stdout = os.fdopen(1, "w", 1, closefd=False)  # the server's may have been a file
    output.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would be deaf to it
    torch.set_num_threads(1)
    throughput.count = lambda *_, **__: 1.0  # it would take as long as all steps; only TOLD_BY_CLOCKS depend on it
    tqdm.set_lock(threading.RLock())  # its own would be a semaphore, which a killed child leaves behind
    if hurt:
        hurt()
    with user_errors():
        sys.exit(work())


def differences(run: Path, whole: Path) -> list[str]:
    """What a run left that an unbroken one did not: losses, evaluations, result, weights, optimiser, files."""
    pairs: dict[str, Any] = {
        "files": [sorted(path.name for path in folder.iterdir()) for folder in (run, whole)],
        "log.jsonl": [_log(folder) for folder in (run, whole)],
        "result.json": [_result(folder) for folder in (run, whole)],
        "result.md": [(folder / "result.md").read_text().partition("\n")[2] for folder in (run, whole)],
    }
    found = [name for name, (one, other) in pairs.items() if one != other]
    for name in ("last.pt", "best.pt"):
        stored = [torch.load(folder / name, weights_only=True) for folder in (run, whole)]
        for content in stored:
            content["config"].pop("run")
        found += [name] if not same(*stored) else []
    return found


def same(one: Any, other: Any) -> bool:
    """Equal, bit by bit, through dicts and lists."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return one == other


def _log(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in line.items() if key != "seconds"}
        for line in lines
        if line["kind"] in ("train", "eval")
    ]


def _result(run: Path) -> dict:
    content = json.loads((run / "result.json").read_text())
    return {key: value for key, value in content.items() if key not in TOLD_BY_CLOCKS}
