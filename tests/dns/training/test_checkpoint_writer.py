"""Checkpoints are written behind the training: from a copy, one at a time, and an error is raised by the next call."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from dns.training import checkpoint
from dns.training.writer import CheckpointWriter
from ffcv_convert.common.errors import CheckpointError
from tests.support.refusals import refusal


def stored(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def slow(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let writing wait for the event that this returns."""
    go, real = threading.Event(), checkpoint.save

    def save(path: Path, content: Any) -> None:
        assert go.wait(30)
        real(path, content)

    monkeypatch.setattr(checkpoint, "save", save)
    return go


def test_what_is_written_is_the_state_of_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, weight, step = slow(monkeypatch), torch.ones(3, 4), torch.tensor(1.0)
    content = {"model": {"weight": weight}, "optimiser": {"state": {0: {"step": step}}, "groups": [{"lr": step}]}}
    writer = CheckpointWriter()
    writer.write([tmp_path / "best.pt", tmp_path / "last.pt"], content)
    weight += 1  # as the next training step does
    step += 1
    assert not list(tmp_path.iterdir())
    go.set()
    writer.wait()
    for name in ("best.pt", "last.pt"):
        found = stored(tmp_path / name)
        assert torch.equal(found["model"]["weight"], torch.ones(3, 4))
        assert found["optimiser"] == {"state": {0: {"step": torch.tensor(1.0)}}, "groups": [{"lr": torch.tensor(1.0)}]}


def test_the_next_writing_waits_and_reuses_the_buffers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go, writer, weight = slow(monkeypatch), CheckpointWriter(), torch.zeros(4)
    writer.write([tmp_path / "last.pt"], {"model": {"weight": weight}})
    buffer = next(iter(writer._buffers.values()))
    threading.Timer(0.2, go.set).start()
    begin = time.monotonic()
    writer.write([tmp_path / "last.pt"], {"model": {"weight": weight + 1}})
    assert time.monotonic() - begin > 0.1
    writer.wait()
    assert torch.equal(stored(tmp_path / "last.pt")["model"]["weight"], torch.ones(4))
    assert list(writer._buffers.values()) == [buffer]
    assert next(iter(writer._buffers.values())) is buffer


def test_an_error_of_the_disk_is_raised_once_by_the_next_call(tmp_path: Path) -> None:
    writer, content = CheckpointWriter(), {"model": {"weight": torch.zeros(4)}}
    writer.write([tmp_path / "gone" / "last.pt"], content)
    with refusal(CheckpointError, tmp_path / "gone" / "last.pt"):
        writer.write([tmp_path / "last.pt"], content)
    writer.write([tmp_path / "last.pt"], content)
    writer.wait()
    assert os.listdir(tmp_path) == ["last.pt"]


def test_the_end_of_the_block_waits_and_keeps_the_first_error(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    content = {"model": {"weight": torch.zeros(4)}}
    with CheckpointWriter() as writer:
        writer.write([tmp_path / "last.pt"], content)
    assert stored(tmp_path / "last.pt")["model"]["weight"].shape == (4,)
    with pytest.raises(CheckpointError), CheckpointWriter() as writer:
        writer.write([tmp_path / "gone" / "last.pt"], content)

    def end_by(error: BaseException, path: Path) -> None:
        with CheckpointWriter() as writer:
            writer.write([path], content)
            raise error

    with pytest.raises(ValueError, match="first"):
        end_by(ValueError("first"), tmp_path / "gone" / "last.pt")
    assert "note: " in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        end_by(KeyboardInterrupt(), tmp_path / "whole.pt")
    assert stored(tmp_path / "whole.pt")["model"]["weight"].shape == (4,)
