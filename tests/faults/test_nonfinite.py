"""A loss or weights that are not finite: training stops at once, and what repeats the step is written down."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import train_ffcv
from dns.losses import Losses, LossOptions
from dns.model import DNS, GROUPS, ModelOptions
from dns.optim import MultiplierOptions, OptimOptions, make_optimiser
from dns.step import Step
from dns.training import checkpoint, setup
from dns.training.loss_watch import LossQueue
from dns.training.state import TrainingState
from ffcv_convert.common.errors import ConfigError, TrainingError, user_errors
from ffcv_convert.common.world import World
from ffcv_convert.convert import convert
from ffcv_convert.datasets import synthetic
from ffcv_convert.images import ImageFormat
from tests.faults.conftest import Tally
from tests.faults.training_child import OPTIONS
from tests.support.configs import make_config, stored_config
from tests.support.refusals import assert_tells, refusal

BAD_STEP = 3


def spoil(monkeypatch: pytest.MonkeyPatch, *losses: str) -> list[torch.Tensor]:
    """Let the third step find these losses without a number. Returns the persons of all batches, step by step."""
    make_step, batches = setup.make_step, []

    def spoiling(*arguments: Any, **options: Any) -> Step:
        step = make_step(*arguments, **options)

        def call(
            images: torch.Tensor, parameters: torch.Tensor, person_B: torch.Tensor, *, dropout_seeds: Sequence[int] = ()
        ) -> Losses:
            batches.append(person_B.clone())
            found = step(images, parameters, person_B, dropout_seeds=dropout_seeds)
            bad = {name: torch.tensor(float("nan")) for name in losses}
            return {**found, **bad} if len(batches) == BAD_STEP else found

        return call

    monkeypatch.setattr(setup, "make_step", spoiling)
    return batches


def train(beton_root: Path, run: Path, *options: str) -> int:
    places = [f"--data.beton_root={beton_root}", f"--run.root={run.parent}", f"--run.name={run.name}"]
    return train_ffcv.train([*OPTIONS, *places, *options])


def check_written(beton_root: Path, run: Path, batches: list[torch.Tensor]) -> dict[str, Any]:
    """What is written down leads back to the bad step's batch, and says of what data, size and configuration."""
    written = json.loads((run / "nonfinite.json").read_text())
    manifest = json.loads((beton_root / "synthetic" / "train.json").read_text())
    assert written["data_sha256"] == manifest["sha256"]
    assert written["size_px"] == [96, 48]
    assert written["seed"] == written["config"]["run"]["seed"] == 0
    assert (written["epoch"], written["iteration"]) == (0, BAD_STEP - 1)
    loader = setup.open_loader(setup.open_session(stored_config(written["config"])))
    assert loader.plan(written["epoch"])[written["iteration"]].tolist() == written["samples"]
    with loader.epoch(0, BAD_STEP - 1) as again:
        batch = next(again)
        assert batch.index_B.tolist() == written["samples"]
        assert torch.equal(batch.person_B, batches[BAD_STEP - 1])
    return written


@pytest.mark.parametrize("loss", ["identity", "circle", "alignment", "distillation", "total"])
def test_any_loss_that_is_not_finite_stops_the_run_in_its_step(
    beton_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally, loss: str
) -> None:
    """However seldom losses are logged."""
    tally.did("damages")
    batches = spoil(monkeypatch, loss)
    with refusal(TrainingError, tmp_path / "run" / "last.pt", "step 3", f"'{loss}': 'nan'"):
        train(beton_root, tmp_path / "run", "--run.log_every=1000")
    assert len(batches) == BAD_STEP
    check_written(beton_root, tmp_path / "run", batches)


class SlowEvent:
    """A CUDA event's part that LossQueue uses: has come when so many steps were made, and when it is waited for."""

    def __init__(self, batches: list[torch.Tensor], steps: int):
        self._batches, self._steps = batches, steps

    def query(self) -> bool:
        return len(self._batches) >= self._steps

    def synchronize(self) -> None:
        pass


@pytest.mark.parametrize(("behind", "steps"), [(2, BAD_STEP + 2), (1000, 7)])
def test_losses_that_arrive_late_name_the_step_that_they_come_from(
    beton_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: int, steps: int
) -> None:
    """As those of a GPU, which is some steps behind; at the latest with the next line of the log."""
    batches = spoil(monkeypatch, "total")

    class Late(LossQueue):
        def put(self, losses: Losses) -> None:
            event = SlowEvent(batches, len(batches) + behind)
            self._names = list(losses)
            self._underway.append((torch.stack(list(losses.values())), event))  # type: ignore[arg-type]

    monkeypatch.setattr(train_ffcv, "LossQueue", Late)
    with refusal(TrainingError, tmp_path / "run", "step 3"):
        train(beton_root, tmp_path / "run", "--run.log_every=7", "--data.persons=2", "--data.pictures=2")
    assert len(batches) == steps
    check_written(beton_root, tmp_path / "run", batches)


def test_the_newest_of_the_losses_is_what_is_logged() -> None:
    queue = LossQueue()
    for number in range(3):
        queue.put({"identity": torch.zeros(()), "total": torch.tensor(float(number))})
    assert [(later, read["total"]) for later, read in queue.arrived(wait=True)] == [(2, 0.0), (1, 1.0), (0, 2.0)]
    assert list(queue.arrived(wait=True)) == []


def test_the_command_ends_with_1_and_leaves_the_last_good_checkpoint(
    beton_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    begin = time.monotonic()
    with pytest.raises(SystemExit) as ended, user_errors():
        train(beton_root, tmp_path / "run", "--optim.lr=1e30", "--optim.epochs=3000", "--run.log_every=1000")
    assert ended.value.code == 1
    assert time.monotonic() - begin < 60, "it went on for long"
    assert_tells(capsys.readouterr().err, tmp_path / "run", "step 2")
    written = json.loads((tmp_path / "run" / "nonfinite.json").read_text())
    assert "nan" in str(written["losses"]) or "inf" in str(written["losses"])
    stored = checkpoint.load(tmp_path / "run" / "last.pt")
    assert (stored["epoch"], stored["iteration"]) == (0, 0)
    assert all(torch.isfinite(tensor).all() for tensor in stored["model"].values())


@pytest.mark.parametrize(("width_px", "fits"), [(16, False), (24, True)])
def test_pictures_too_narrow_for_bf16_on_a_cpu_are_refused(
    data_root: Path, tmp_path: Path, tally: Tally, width_px: int, fits: bool
) -> None:
    """Numbers without meaning would come out, on some processors and not always."""
    convert(synthetic.DATASET, data_root, tmp_path, ImageFormat(2 * width_px, width_px), workers=1)
    tally.did("hostile_inputs")
    if fits:
        assert train(tmp_path, tmp_path / "run", "--engine.precision=bf16", "--optim.epochs=1") == 0
        return
    with refusal(ConfigError, "--engine.precision=fp32", f"{width_px} px"):
        train(tmp_path, tmp_path / "run", "--engine.precision=bf16")
    assert not (tmp_path / "run").exists()


def test_weights_that_are_not_finite_do_not_replace_good_ones(tmp_path: Path) -> None:
    model = DNS(2, ModelOptions(architecture="resnet18"), LossOptions())
    optimiser = make_optimiser(
        model,
        OptimOptions(name="sgd", lr=0.1, momentum=0.9, weight_decay=0.0),
        MultiplierOptions(**dict.fromkeys(GROUPS, 1.0)),
        fused=False,
    )
    state = TrainingState(
        World(torch.device("cpu")), model, optimiser, torch.amp.GradScaler("cpu", enabled=False), make_config(),
        (32, 16), "aa",
    )  # fmt: skip
    state.save(tmp_path / "last.pt")
    state.writer.wait()
    before = (tmp_path / "last.pt").read_bytes()
    with torch.no_grad():
        model.neck.running_var[3] = torch.inf
    with refusal(TrainingError, tmp_path / "last.pt", "0 epochs", "0 iterations"):
        state.save(tmp_path / "last.pt")
    assert (tmp_path / "last.pt").read_bytes() == before
