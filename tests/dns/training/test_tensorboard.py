"""TensorBoard as a sink: every number of every line, of a resumed run once; and what is said where it is missing."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dns.training import tensorboard
from dns.training.run_folder import RunFolder
from ffcv_convert.common.errors import ConfigError
from ffcv_convert.common.world import World
from tests.support.configs import make_config
from tests.support.refusals import refusal


def test_without_tensorboard_the_option_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorboard, "find_spec", lambda _: None)
    with refusal(ConfigError, "run.tensorboard", "'.[tensorboard]'"):
        RunFolder(make_config("--run.tensorboard=true", f"--run.root={tmp_path}"), World(None))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
    RunFolder(make_config(f"--run.root={tmp_path}"), World(None))  # type: ignore[arg-type]  # asks for no TensorBoard


class Writer:
    """Stands for torch's SummaryWriter."""

    made: list["Writer"] = []  # noqa: RUF012

    def __init__(self, folder: str, purge_step: int):
        self.folder, self.purge_step, self.scalars, self.images = folder, purge_step, {}, {}  # type: ignore[var-annotated]
        Writer.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars[name, step] = value

    def add_image(self, name: str, picture: np.ndarray, step: int, dataformats: str) -> None:
        self.images[name, step] = (picture.shape, dataformats)

    def flush(self) -> None:
        pass


def test_every_number_of_a_line_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorboard, "find_spec", lambda _: True)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", type("Module", (), {"SummaryWriter": Writer}))  # type: ignore[arg-type]
    Writer.made.clear()
    board = tensorboard.TensorBoard(tmp_path / "board")
    assert not Writer.made
    lines: list[dict[str, Any]] = [
        {"kind": "run", "step": 7, "epoch": 1, "device": "cpu"},
        {"kind": "train", "step": 8, "epoch": 1, "iteration": 2, "lr": 0.5, "total": 3.0},
        {"kind": "epoch", "step": 9, "epoch": 2, "seconds": 2.0, "images": 10},
        {"kind": "eval", "step": 9, "epoch": 2, "protocol": "pku", "rank1": 0.25},
    ]
    for line in lines:
        board.write(line)
    Image.new("RGB", (6, 4)).save(tmp_path / "ranked.png")
    board.show("ranked", tmp_path / "ranked.png", 9)
    (writer,) = Writer.made
    assert (writer.folder, writer.purge_step) == (str(tmp_path / "board"), 7)  # hides what a stopped run logged further
    assert writer.scalars == {
        ("train/lr", 8): 0.5, ("train/total", 8): 3.0, ("epoch/seconds", 9): 2.0, ("epoch/images", 9): 10,
        ("eval/rank1", 9): 0.25,
    }  # fmt: skip
    assert writer.images == {("ranked", 9): ((4, 6, 3), "HWC")}


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for steps in ([1, 2, 3], [3, 4]):  # killed after step 3, which its checkpoint does not hold
        board = tensorboard.TensorBoard(tmp_path)
        for step in steps:
            board.write({"kind": "train", "step": step, "total": float(10 * len(steps) + step)})
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    read = {event.step: event.value for event in events.Scalars("train/total")}
    assert read == {1: 31.0, 2: 32.0, 3: 23.0, 4: 24.0}
