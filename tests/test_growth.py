"""Two hundred epochs of a small set: no thread, descriptor or memory more than after the first forty."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Run

EPOCHS, SETTLED = 200, 40
GROWTH_MB = 30  # what a step takes moves by 15; one batch kept in an epoch would be 47

SCRIPT = """
import gc, json, os, sys, threading
from pathlib import Path
import numpy as np
import torch
from dns.model import DNS
from dns.optim import make_optimiser
from dns.step import make_engine, make_step
from pipelines.augment import RECIPES
from pipelines.index import open_part
from pipelines.loaders import TestLoader, TrainLoader

folder, device, epochs, settled = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
engine = make_engine(device, "auto", "auto", "false")
train, test = open_part(folder, "train"), open_part(folder, "test")
loader = TrainLoader(train, persons=3, pictures=2, recipe=RECIPES["sysu"], seed=0, device=engine.device,
                     augment_on=engine.augment, dtype=engine.input_dtype(), extra_iteration=True)
tester = TestLoader(test.converted, batch_size=8, device=engine.device)
model = engine.place(DNS(loader.identities, architecture="resnet18")).train()
multipliers = dict.fromkeys(("rest", "layer3", "layer4", "neck", "classifier", "distillation"), 1.0)
optimiser = make_optimiser(model, name="sgd", lr=1e-6, momentum=0.9, weight_decay=0.0, multipliers=multipliers,
                           fused=engine.fused)
step = make_step(model, optimiser, engine.scaler(), loader.augment, engine)

def seen():
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    tasks, files = os.listdir("/proc/self/task"), os.listdir("/proc/self/fd")
    gpu = torch.cuda.memory_allocated() if engine.device.type == "cuda" else 0
    return {"memory_mb": pages * os.sysconf("SC_PAGE_SIZE") / 1e6, "threads": len(tasks), "files": len(files),
            "python_threads": threading.active_count(), "gpu_mb": gpu / 1e6}

found = []
for epoch in range(epochs):
    with loader.epoch(epoch) as batches:
        for number, batch in enumerate(batches):
            if number == 0:
                step(batch.images, batch.augmentation, batch.person_B)
    with tester.samples(test.sample_N) as batches:
        for batch in batches:
            pass
    if epoch + 1 in (settled, epochs):
        found.append(seen())
print(json.dumps(found))
"""


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_nothing_grows(program: Run, converted_layout: Callable[[str], Path], device: str) -> None:
    done = program("-c", SCRIPT, converted_layout("sysu"), device, EPOCHS, SETTLED)
    assert done.returncode == 0, done.stderr[-2000:]
    settled, end = json.loads(done.stdout.splitlines()[-1])
    print(settled, end, file=sys.stderr)
    assert (end["threads"], end["files"], end["python_threads"]) == (
        settled["threads"], settled["files"], settled["python_threads"],
    )  # fmt: skip
    assert end["memory_mb"] < settled["memory_mb"] + GROWTH_MB
    assert end["gpu_mb"] == settled["gpu_mb"]
