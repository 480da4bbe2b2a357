"""Thirty epochs of a small set: no thread, descriptor, tensor or memory more than after the first ten."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Run

EPOCHS, SETTLED = 30, 10
GROWTH_MB = 5  # freed memory given back, it moves by less than 1

# The trainer itself, with the engine that is the default on the device: steps, losses on their way, log, embedding and
# ranking of the test set. Of each epoch the last step alone is run, every tenth is tested, and a checkpoint of
# every tenth is written: all of them would take too long.
SCRIPT = """
import ctypes, gc, json, os, sys, threading
from pathlib import Path
import torch
import train_ffcv
from dns.training.state import TrainingState

settled, epochs, arguments = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
train_epoch, found = train_ffcv.train_epoch, []

def seen():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text().split())  # shared: the system takes it back
    tasks, files = os.listdir("/proc/self/task"), os.listdir("/proc/self/fd")
    gpu = torch.cuda.memory_allocated() if torch.cuda.is_available() else 0
    tensors = sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())
    memory = (resident - shared) * os.sysconf("SC_PAGE_SIZE")
    return {"memory_mb": memory / 1e6, "threads": len(tasks), "files": len(files),
            "python_threads": threading.active_count(), "gpu_mb": gpu / 1e6, "tensors": tensors}

def last_step(training, run, state, interruption):
    if state.progress.epoch in (settled, epochs - 1):
        state.writer.wait()  # on a busy disk, a checkpoint is written for several of these short epochs
        found.append(seen())
    state.progress.iteration = training.loader.iterations - 1
    return train_epoch(training, run, state, interruption)

train_ffcv.train_epoch, train_ffcv.write_result = last_step, lambda *_: None
save = TrainingState.save
TrainingState.save = lambda state, *paths: save(state, *paths) if state.progress.epoch % 10 == 5 else None
train_ffcv.train([*arguments, f"--optim.epochs={epochs}"])
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_nothing_grows(program: Run, converted_layout: Callable[[str], Path], tmp_path: Path, device: str) -> None:
    done = program(
        "-c", SCRIPT, SETTLED, EPOCHS, "--config-file", REPOSITORY / "configs" / "sysu.yaml",
        f"--data.beton_root={converted_layout('sysu').parent}", f"--run.root={tmp_path}", f"--engine.device={device}",
        "--model.architecture=resnet10_half", "--model.pretrained=none", "--data.persons=3", "--data.pictures=2",
        "--optim.lr=1e-6", "--eval.every=10", "--eval.batch_size=32",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    settled, end = json.loads(done.stdout.splitlines()[-1])
    print(settled, end, file=sys.stderr)
    for what in ("threads", "files", "python_threads", "tensors", "gpu_mb"):
        assert end[what] == settled[what], what
    assert end["memory_mb"] < settled["memory_mb"] + GROWTH_MB
