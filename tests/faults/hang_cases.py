"""Errors put where a program could hang on them, in a child: how each came out, how soon, and what was left behind.

What is left behind is counted over repetitions, after a first time in which libraries start their own threads.
"""

import gc
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch

from ffcv_convert import writer
from ffcv_convert.common.errors import DataError
from ffcv_convert.common.world import World
from ffcv_convert.convert import convert
from ffcv_convert.datasets import synthetic
from ffcv_convert.images import ImageFormat
from pipelines.augment.recipes import RECIPES
from pipelines.decoder import Decoder
from pipelines.epoch_plan import EpochPlan, PlanOptions
from pipelines.streamed import StreamedLoader, StreamedTestLoader
from pipelines.subset import open_subset
from tests.faults.failing_images import draw_a_picture_that_fails

CPU = torch.device("cpu")
SIZE = ImageFormat(32, 16)
MOST = {"a drawing worker": 5}  # repetitions: each starts processes


class OddError(Exception):
    pass


def fail(error: type[BaseException] = OddError) -> None:
    """For the command line's run: the parent reads the clock from the output."""
    print(f"\nfault at {time.monotonic()}", flush=True)
    raise error("the disk is gone")


def run_cases(beton_root: Path, data_root: Path, folder: Path, repetitions: int) -> int:
    """Every case; prints a line as it begins, and a JSON object of what was seen."""
    for name, case in _cases(beton_root, data_root, folder).items():
        print(f"begin {name}", flush=True)
        _outcome(case)
        before = traces()
        outcomes = [_outcome(case) for _ in range(min(repetitions, MOST.get(name, repetitions)))]
        seen = {"name": name, "errors": sorted({error for error, _ in outcomes}), "before": before, "after": traces()}
        print(json.dumps({**seen, "seconds": max(seconds for _, seconds in outcomes)}), flush=True)
    print("all done", flush=True)
    return 0


def traces() -> dict[str, list[str]]:
    """What an error may leave behind in this process."""
    gc.collect()
    descriptors = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the listing's own
            descriptors.append(os.readlink(f"/proc/self/fd/{number}"))
    maps = Path("/proc/self/maps").read_text().splitlines()
    return {
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "descriptors": sorted(descriptors),
        "shared memory": sorted(line.split()[-1] for line in maps if "/dev/shm" in line),
        "files mapped": sorted(line.split()[-1] for line in maps if ".beton" in line),
        "children": " ".join(path.read_text() for path in Path("/proc/self/task").glob("*/children")).split(),
    }


def _outcome(case: Callable[[], None]) -> tuple[str, float]:
    begin = time.monotonic()
    try:
        case()
    except BaseException as error:
        return f"{type(error).__name__}: {error}", time.monotonic() - begin
    return "nothing was raised", time.monotonic() - begin


def _cases(beton_root: Path, data_root: Path, folder: Path) -> dict[str, Callable[[], None]]:
    part = open_subset(beton_root / "synthetic", "train")
    options = PlanOptions(persons=2, pictures=2, recipe=RECIPES["sysu"], seed=0)
    trainer = StreamedLoader(part, options, world=World(CPU), workers=2, augment_on="host")
    tester = StreamedTestLoader(part.converted, batch_size=8, device=CPU, workers=2)

    def train(body: Callable[[int], None] = lambda number: None) -> None:
        with trainer.epoch(0) as batches:
            for number, _ in enumerate(batches):
                body(number)

    def test() -> None:
        with tester.samples(np.arange(64)) as batches:
            for _ in batches:
                pass

    def stop_in_body(number: int) -> None:
        if number == 2:
            raise OddError("the disk is gone")

    def converting() -> None:
        convert(synthetic.DATASET, data_root, folder, SIZE, workers=2)

    return {
        "decoding": _with_fault(train, Decoder, "decode", _raising(OddError)),
        "decoding, an error of the system's": _with_fault(train, Decoder, "decode", _raising(OSError)),
        "decoding, a damaged image": _with_fault(train, Decoder, "decode", _raising(DataError)),
        "decoding, no memory": _with_fault(train, Decoder, "decode", _raising(MemoryError)),
        "decoding, a library that exits": _with_fault(train, Decoder, "decode", _raising(SystemExit)),
        "augmentation": _with_fault(train, EpochPlan, "parameters", _raising(OddError)),
        "the loop's body": lambda: train(stop_in_body),
        "evaluation": _with_fault(test, Decoder, "decode", _raising(OddError)),
        "Ctrl-C while waiting for a batch": _with_fault(train, Decoder, "decode", _signal(signal.SIGINT)),
        "Ctrl-C while an epoch starts": _interrupted_start(train),
        "a signal's handler": _with_fault(_handled(train), Decoder, "decode", _signal(signal.SIGUSR1)),
        "a conversion worker": _with_fault(converting, writer, "encode", _raising(OddError)),
        "a conversion worker, a damaged image": _with_fault(converting, writer, "encode", _raising(DataError)),
        "a drawing worker": partial(draw_a_picture_that_fails, folder / "drawn"),
    }


def _raising(error: type[BaseException]) -> Callable[[], None]:
    def act() -> None:
        raise error("the disk is gone")

    return act


def _signal(number: int) -> Callable[[], None]:
    def act() -> None:
        os.kill(os.getpid(), number)
        time.sleep(0.1)

    return act


def _handled(work: Callable[[], None]) -> Callable[[], None]:
    """`work` while a SIGUSR1 raises."""

    def handler(number: int, frame: FrameType | None) -> None:
        raise OddError("the disk is gone")

    def handled() -> None:
        before = signal.signal(signal.SIGUSR1, handler)
        try:
            work()
        finally:
            signal.signal(signal.SIGUSR1, before)

    return handled


def _interrupted_start(work: Callable[[], None]) -> Callable[[], None]:
    """`work` with Ctrl-C as soon as its thread runs, before the thread's maker knows it."""

    def interrupted() -> None:
        start = threading.Thread.start

        def start_and_raise(thread: threading.Thread) -> None:
            start(thread)
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(threading.Thread, "start", start_and_raise)
            work()

    return interrupted


def _with_fault(work: Callable[[], None], owner: Any, name: str, act: Callable[[], None]) -> Callable[[], None]:
    """`work` with `act` in the sixth call of owner.name: by then a loader's slots have come round."""

    def faulty() -> None:
        real, calls = getattr(owner, name), []

        def called(*arguments: Any, **options: Any) -> Any:
            calls.append(1)
            if len(calls) == 6:
                act()
            return real(*arguments, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, called)
            work()

    return faulty
