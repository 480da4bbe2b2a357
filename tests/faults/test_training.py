"""Training under kills, signals, full disks and damaged checkpoints: nothing is lost, and nothing goes unsaid.

A broken run's losses, result and weights are those of an unbroken one, bit by bit.
"""

import json
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from dns.training import checkpoint
from ffcv_convert.common.errors import CheckpointError
from ffcv_convert.convert import convert
from ffcv_convert.datasets import synthetic
from ffcv_convert.images import ImageFormat
from pipelines import prefetch
from tests.faults.conftest import Tally
from tests.faults.inject import at_moment, fill_disk, on_call, send, send_later, stall, when_written, while_saving
from tests.faults.training_child import differences, same, server, training
from tests.support.refusals import assert_tells

OFTEN = "--run.save_minutes=0"  # a checkpoint after every step
MOMENTS = 90  # of a whole run, see inject.EVENTS
pytestmark = [pytest.mark.timeout(1200), pytest.mark.slow]
Times = Callable[[int, int], int]


@pytest.fixture(scope="module")
def betons(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A BETON_ROOT with images of 32 x 16, and the server of children."""
    root = tmp_path_factory.mktemp("beton")
    convert(synthetic.DATASET, data_root, root, ImageFormat(32, 16), workers=1)
    with server():
        yield root


@pytest.fixture(scope="module")
def whole(betons: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of an unbroken run."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert training(betons, run).end()[0] == 0
    yield run
    shutil.rmtree(run)


@pytest.fixture(scope="module")
def killed(betons: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a run that was killed in its third step, with a checkpoint after each."""
    run = tmp_path_factory.mktemp("killed") / "run"
    hurt = partial(on_call, "train_ffcv.set_learning_rate", 3, partial(when_written, partial(send, signal.SIGKILL)))
    assert training(betons, run, OFTEN, hurt=hurt).end()[0] == -signal.SIGKILL
    yield run
    shutil.rmtree(run)


@pytest.fixture
def run(killed: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the killed run, to go on with."""
    shutil.copytree(killed, tmp_path / "run")
    yield tmp_path / "run"
    shutil.rmtree(tmp_path / "run")


def stands_at(run: Path) -> tuple[int, int]:
    content = checkpoint.load(run / "last.pt")
    return content["epoch"], content["iteration"]


def finish(betons: Path, run: Path, whole: Path, tally: Tally) -> None:
    """Give the command again without faults; the end must be an unbroken run's."""
    code, output = training(betons, run).end()
    if code:
        tally.wrong("lost", f"the run did not go on ({code}): {output[-1000:]}")
    elif found := differences(run, whole):
        tally.wrong("silent", f"differ from an unbroken run: {', '.join(found)}")


def test_a_run_killed_at_any_moment_ends_like_an_unbroken_one(
    betons: Path, whole: Path, tmp_path: Path, tally: Tally, times: Times
) -> None:
    """Three kills a run: before, in and after steps, log lines, checkpoints, renames and evaluations."""
    draw, kills, number = random.Random(5), 0, 0
    while kills < times(3, 20):
        run = tmp_path / str(number)
        number += 1
        for attempt in range(3):
            how = draw.choices([signal.SIGKILL, signal.SIGTERM, signal.SIGINT], [3, 1, 1])[0]
            act = draw.choice([partial(send, how), partial(send_later, how, draw.uniform(0, 0.3))])
            moment = draw.randint(1, MOMENTS // (attempt + 1))  # less is left each time
            child = training(betons, run, "--run.save_minutes=0.01", hurt=partial(at_moment, moment, act))
            code, output = child.end()
            if code == 0:  # it was through before the moment came
                break
            kills += 1
            tally.did("kills")
            expected = (-signal.SIGKILL,) if how == signal.SIGKILL else (128 + how, -how)
            if code not in expected or "Traceback" in output:
                tally.wrong("crashed", f"{how.name}: ended with {code}: {output[-1000:]}")
        finish(betons, run, whole, tally)
        shutil.rmtree(run)


def test_a_kill_costs_what_came_after_the_last_checkpoint(betons: Path, killed: Path, tmp_path: Path) -> None:
    assert stands_at(killed) == (0, 2)
    hurt = partial(on_call, "train_ffcv.set_learning_rate", 3, partial(when_written, partial(send, signal.SIGKILL)))
    assert training(betons, tmp_path / "run", hurt=hurt).end()[0] == -signal.SIGKILL
    assert stands_at(tmp_path / "run") == (0, 0), "the default is ten minutes"


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ([signal.SIGKILL], -signal.SIGKILL),
        ([signal.SIGTERM], 143),
        ([signal.SIGTERM, signal.SIGTERM], 143),  # make passes its own on to a child that has had one
        ([signal.SIGINT, signal.SIGTERM], 130),
        ([signal.SIGINT, signal.SIGINT], 130),
        ([signal.SIGTERM, signal.SIGINT], 130),
    ],
)
def test_signals_in_the_middle_of_saving_do_not_tear_the_checkpoint(
    betons: Path, run: Path, whole: Path, tally: Tally, signals: list[signal.Signals], code: int
) -> None:
    hurt = partial(while_saving, 2, partial(send, *signals))
    ended, output = training(betons, run, OFTEN, hurt=hurt).end()
    tally.did("kills")
    assert ended == code, output
    assert "Traceback" not in output
    # The next step, the last of the epoch, may have begun before the signal came; then it is finished and saved.
    assert stands_at(run) in ([(0, 3)] if code < 0 else [(0, 4), (1, 0)])
    assert (run / "last.pt.partial").exists() == (code < 0)
    if code == -signal.SIGKILL:
        finish(betons, run, whole, tally)
        assert not (run / "last.pt.partial").exists()


@pytest.mark.parametrize(
    ("where", "number", "finished", "stands"),
    [
        ("train_ffcv.set_learning_rate", 2, True, (0, 4)),  # the step is finished
        # In the first, which a compiler may take minutes for, it is not.
        ("dns.model.DNS.loss", 1, False, (0, 2)),
        ("dns.evaluation.evaluator.Evaluator.embed", 1, False, (1, 0)),  # nor is an evaluation
    ],
)
def test_sigterm_leaves_a_checkpoint_soon_and_a_code_of_its_own(
    betons: Path, run: Path, whole: Path, tmp_path: Path, tally: Tally, where: str, number: int, finished: bool,
    stands: tuple[int, int],
) -> None:  # fmt: skip
    child = training(betons, run, hurt=partial(on_call, where, number, partial(stall, tmp_path / "go", 100)))
    child.read_until("stalled")
    begin = time.monotonic()
    child.process.terminate()
    if finished:
        (tmp_path / "go").touch()
    code, output = child.end()
    tally.did("kills")
    assert time.monotonic() - begin < 30
    assert code == 128 + signal.SIGTERM, output
    assert "goes on from" in output
    assert stands_at(run) == stands
    if not finished:  # it is made up for
        finish(betons, run, whole, tally)


def stuck_disk(call: int, until: Path, leave_s: float, stall_s: float) -> None:
    """From this call on, decoding waits for a disk that does not answer. Says when the third step is made; from then on
    a batch may take stall_s."""

    def third_step() -> None:
        prefetch.STALL_S = stall_s
        print("third step", flush=True)

    prefetch.LEAVE_S, prefetch.STALL_S = leave_s, 100
    on_call("train_ffcv.read_losses", 3, third_step)
    on_call("pipelines.decoder.Decoder.decode", call, partial(stall, until, 100))


DECODED = 6  # batches of the untrained evaluation, in two modalities, before those of training


@pytest.mark.parametrize("how", ["SIGTERM", "its own time"])
def test_a_disk_that_does_not_answer_costs_no_step(
    betons: Path, whole: Path, tmp_path: Path, tally: Tally, how: str
) -> None:
    """Neither where a signal ends the waiting nor where the program gives up: the steps before it are kept."""
    run, stall_s = tmp_path / "run", 100 if how == "SIGTERM" else 1
    hurt = partial(stuck_disk, DECODED + 4, tmp_path / "never", 1, stall_s)
    child = training(betons, run, hurt=hurt)
    child.read_until("stalled")
    begin = time.monotonic()
    if how == "SIGTERM":
        child.read_until("third step")  # the last one that was decoded
        child.process.terminate()
        tally.did("kills")
    else:
        tally.did("damages")
    code, output = child.end()
    assert time.monotonic() - begin < 30
    assert code == (143 if how == "SIGTERM" else 2), output
    assert ("for 1 s" in output) == (code == 2)
    assert stands_at(run) == (0, 3)
    finish(betons, run, whole, tally)


def test_a_disk_that_is_full_again_and_again(betons: Path, whole: Path, tmp_path: Path, tally: Tally) -> None:
    """Each time: a message that names the file, code 2, what was written before stands; and the run goes on from it."""
    run = tmp_path / "run"
    faults = [
        (partial(while_saving, 1, partial(fill_disk, 5_000_000)), "last.pt", False),
        (partial(while_saving, 4, partial(fill_disk, 5_000_000)), "last.pt", True),
        (
            partial(on_call, "dns.training.log.JsonLines.write", 2, partial(fill_disk, 30, run / "log.jsonl")),
            "log.jsonl",
            False,
        ),
        (partial(on_call, "train_ffcv.write_result", 1, partial(fill_disk, 300)), "result.md", False),
    ]
    for hurt, file, one_stands in faults:
        tally.did("damages")
        code, output = training(betons, run, OFTEN if file == "last.pt" else "--run.save_minutes=10", hurt=hurt).end()
        assert code == 2, output
        assert_tells(output, run / file, "File too large")
        assert "Traceback" not in output
        assert not list(run.glob("*.partial"))
        assert not (run / "result.json").exists()
        if one_stands:
            assert stands_at(run) == (0, 1)
    finish(betons, run, whole, tally)
    shutil.rmtree(run)


def test_damage_in_a_checkpoint_is_found(whole: Path, tmp_path: Path, tally: Tally, times: Times) -> None:
    """torch.load alone hands out a tensor with a flipped bit as if it were whole."""
    path, draw = tmp_path / "last.pt", random.Random(7)
    shutil.copy(whole / "last.pt", path)
    right, size = checkpoint.load(path), path.stat().st_size
    places = [draw.randrange(size) for _ in range(times(4, 60))]
    places += [draw.choice([draw.randrange(60_000), size - 1 - draw.randrange(60_000)]) for _ in range(times(2, 40))]
    for place in places:
        tally.did("damages")
        bits = 1 << draw.randrange(8)
        flip(path, place, bits)
        try:
            if not same(checkpoint.load(path), right):
                tally.wrong("silent", f"byte {place} of {size}")
        except CheckpointError:
            pass
        except Exception as error:
            tally.wrong("crashed", f"byte {place} of {size}: {error!r}")
        flip(path, place, bits)


def flip(path: Path, place: int, bits: int) -> None:
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ bits]))


def test_a_damaged_last_checkpoint_is_refused_with_the_way_to_go_on(
    betons: Path, whole: Path, tmp_path: Path, tally: Tally
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / "result.json").unlink()
    flip(run / "last.pt", (run / "last.pt").stat().st_size // 2, 1)
    tally.did("damages")
    code, output = training(betons, run).end()
    assert code == 2, output
    assert_tells(output, f"cp {run / 'best.pt'} {run / 'last.pt'}", run / "last.pt", "readable", "--run.resume=never")
    shutil.copy(run / "best.pt", run / "last.pt")
    finish(betons, run, whole, tally)
    shutil.rmtree(run)


@pytest.mark.parametrize("how", ["damaged", "gone"])
def test_the_best_checkpoint_lost_does_not_cost_the_last_one_s_result(
    betons: Path, whole: Path, tmp_path: Path, tally: Tally, how: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / "result.json").unlink()
    content = checkpoint.load(run / "last.pt")  # of which the best is another epoch
    checkpoint.save(run / "last.pt", {**content, "results": {**content["results"], "best_epoch": 1}})
    (run / "best.pt").unlink() if how == "gone" else flip(run / "best.pt", (run / "best.pt").stat().st_size // 2, 1)
    tally.did("damages")
    code, output = training(betons, run).end()
    assert code == 0, output
    assert "best.pt: " in output
    assert "The result is the last epoch's alone" in output
    rows = json.loads((run / "result.json").read_text())["evaluation"]
    assert [row["checkpoint"] for row in rows] == ["last.pt, epoch 2"]
    shutil.rmtree(run)


def test_a_second_training_in_the_same_folder_is_refused(
    betons: Path, run: Path, whole: Path, tmp_path: Path, tally: Tally
) -> None:
    hurt = partial(on_call, "train_ffcv.set_learning_rate", 2, partial(stall, tmp_path / "go", 60))
    first = training(betons, run, hurt=hurt)
    first.read_until("stalled")
    for resume in ("auto", "never"):
        code, output = training(betons, run, f"--run.resume={resume}").end()
        assert code == 2, output
        assert_tells(output, run, "another training")
    (tmp_path / "go").touch()
    assert first.end()[0] == 0
    if found := differences(run, whole):
        tally.wrong("silent", f"a second training left its traces: {', '.join(found)}")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["run"]
