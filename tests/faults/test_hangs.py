"""An error anywhere reaches the user within seconds, and leaves no thread, process, file or memory behind."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ffcv_convert.common.errors import DataError
from ffcv_convert.convert import convert
from ffcv_convert.datasets import synthetic
from pipelines.decoder import Decoder
from pipelines.streamed import StreamedTestLoader
from pipelines.subset import open_subset
from tests.faults.conftest import Tally
from tests.faults.hang_cases import CPU, SIZE, OddError, fail, run_cases
from tests.faults.inject import on_call
from tests.faults.training_child import Child, server, training
from tests.support.refusals import refusal

SOON_S = 5
KINDS = {  # of hang_cases.py, and what must come out of each
    "decoding": "OddError: the disk is gone",
    "decoding, an error of the system's": "OSError: the disk is gone",
    "decoding, a damaged image": "DataError: the disk is gone",
    "decoding, no memory": "MemoryError: the disk is gone",
    "decoding, a library that exits": "SystemExit: the disk is gone",
    "augmentation": "OddError: the disk is gone",
    "the loop's body": "OddError: the disk is gone",
    "evaluation": "OddError: the disk is gone",
    "Ctrl-C while waiting for a batch": "KeyboardInterrupt: ",
    "Ctrl-C while an epoch starts": "KeyboardInterrupt: ",
    "a signal's handler": "OddError: the disk is gone",
    "a conversion worker": "OddError: the disk is gone",
    "a conversion worker, a damaged image": "DataError: the disk is gone",
    "a drawing worker": "ValueError: expected non-negative integer",
}
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def betons(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("beton")
    convert(synthetic.DATASET, data_root, root, SIZE, workers=1)
    with server():
        yield root


@pytest.fixture(scope="module")
def cases(
    betons: Path, data_root: Path, tmp_path_factory: pytest.TempPathFactory, times: Callable[[int, int], int]
) -> str:
    """What a child said that went through all of them; less if it hung."""
    work = partial(run_cases, betons, data_root, tmp_path_factory.mktemp("again"), times(1, 30))
    child = Child(work)
    with suppress(TimeoutError):
        child.end()
    return child.output


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_comes_out_soon_and_leaves_nothing_behind(cases: str, kind: str, tally: Tally) -> None:
    tally.did("hang_classes")
    lines = [json.loads(line) for line in cases.splitlines() if line.startswith('{"name"')]
    seen = next((line for line in lines if line["name"] == kind), None)
    if seen is None:
        tally.wrong("hung" if f"begin {kind}" in cases else "crashed", f"{kind}: {cases[-2000:]}")
        return
    assert seen["errors"] == [KINDS[kind]]
    if seen["seconds"] > SOON_S:
        tally.wrong("hung", f"{kind}: took {seen['seconds']:.1f} s")
    assert seen["after"] == seen["before"]
    assert not any(thread.startswith(("ffcv", "convert")) for thread in seen["after"]["threads"])


DECODE = "pipelines.decoder.Decoder.decode"


@pytest.mark.parametrize(
    ("where", "number", "error", "code"),
    [
        (DECODE, 2, OddError, 1),  # the evaluation before the first step
        (DECODE, 10, OddError, 1),
        (DECODE, 10, DataError, 2),
        (DECODE, 10, OSError, 1),  # without a path: nothing that the user gave
        ("dns.training.log.JsonLines.write", 2, OddError, 1),
    ],
)
def test_an_error_in_a_run_ends_the_program_soon(
    betons: Path, tmp_path: Path, tally: Tally, where: str, number: int, error: type[Exception], code: int
) -> None:
    """With a traceback if it is the program's own fault, with a message alone if it is the data's."""
    tally.did("hang_classes")
    child = training(betons, tmp_path / "run", hurt=partial(on_call, where, number, partial(fail, error)))
    try:
        ended, output = child.end()
    except TimeoutError as late:
        tally.wrong("hung", f"{where}: {late}")
        return
    seconds = time.monotonic() - float(output.rpartition("fault at ")[2].split()[0])
    assert ended == code, output
    assert "the disk is gone" in output
    assert ("Traceback" in output) == (code == 1)
    assert ("error: the disk is gone" in output) == (code == 2)
    if seconds > SOON_S:
        tally.wrong("hung", f"{where}: {seconds:.1f} s from the error to the end")


def test_a_disk_that_does_not_answer_is_said(
    betons: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tally: Tally
) -> None:
    tally.did("hang_classes")
    monkeypatch.setattr("pipelines.prefetch.STALL_S", 0.2)
    answer = threading.Event()
    monkeypatch.setattr(Decoder, "decode", lambda *_: answer.wait(20))
    tester = StreamedTestLoader(
        open_subset(betons / "synthetic", "test").converted, batch_size=8, device=CPU, workers=1
    )
    begin = time.monotonic()
    with (
        refusal(DataError, betons / "synthetic" / "test.beton", "0.2 s"),
        tester.samples(np.arange(8)) as batches,
    ):
        next(batches)
    assert time.monotonic() - begin < SOON_S
    with pytest.raises(RuntimeError, match="running"), tester.samples(np.arange(8)):
        pass
    answer.set()


def test_a_child_that_hangs_is_seen(betons: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above could not fail otherwise."""
    monkeypatch.setattr("tests.faults.training_child.LIMIT_S", 1)
    child = Child(partial(time.sleep, 100))
    with pytest.raises(TimeoutError, match="hung"):
        child.end()
    child.process.join()
    assert child.process.exitcode == -signal.SIGKILL
