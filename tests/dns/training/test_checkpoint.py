"""Checkpoints: whole or not at all, data and never code, refused with a reason."""

import os
from pathlib import Path

import pytest
import torch

from dns.losses import LossOptions
from dns.model import DNS, GROUPS, ModelOptions
from dns.optim import MultiplierOptions, OptimOptions, make_optimiser
from dns.training import checkpoint
from dns.training.state import Progress, TrainingState
from ffcv_convert.common.errors import CheckpointError
from ffcv_convert.common.world import World
from tests.support.configs import make_config
from tests.support.refusals import refusal


def make_state(identities: int = 4) -> TrainingState:
    torch.manual_seed(identities)
    model = DNS(identities, ModelOptions(architecture="resnet18"), LossOptions())
    optimiser = make_optimiser(
        model,
        OptimOptions(name="sgd", lr=0.1, momentum=0.9, weight_decay=0.0),
        MultiplierOptions(**dict.fromkeys(GROUPS, 1.0)),
        fused=False,
    )
    model.loss(model(*torch.randn(4, 3, 64, 32).chunk(2)), torch.tensor([0, 1, 0, 1]))["total"].backward()
    optimiser.step()
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    progress = Progress(epoch=3, iteration=2, best_rank1=0.5, best_epoch=1)
    return TrainingState(
        World(torch.device("cpu")), model, optimiser, scaler, make_config(), (64, 32), "aa", progress=progress
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingState, Path]:
    state, path = make_state(), tmp_path_factory.mktemp("checkpoint") / "last.pt"
    state.save(path)
    state.writer.wait()
    return state, path


def test_what_is_saved_comes_back(saved: tuple[TrainingState, Path]) -> None:
    state, path = saved
    other = make_state()
    other.progress = Progress()
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter.zero_()
    other.optimiser.state.clear()
    state.save(path)
    state.writer.wait()
    assert other.restore(path, checkpoint.load(path)) == 1
    assert other.progress == state.progress
    for name, tensor in state.model.state_dict().items():
        assert torch.equal(other.model.state_dict()[name], tensor), name
    momenta = [entry["momentum_buffer"] for entry in state.optimiser.state_dict()["state"].values()]
    restored = [entry["momentum_buffer"] for entry in other.optimiser.state_dict()["state"].values()]
    assert momenta
    assert all(torch.equal(a, b) for a, b in zip(momenta, restored, strict=True))


CODE = {"commit": "c0", "modified": False, "sources": "a1"}


def test_a_checkpoint_says_which_code_trained_it(saved: tuple[TrainingState, Path], tmp_path: Path) -> None:
    """Every change stands in it, with the epoch from which the other code trained."""
    state, path = make_state(), tmp_path / "last.pt"
    state.progress = Progress()
    assert state.note_code({**CODE, "sources": "a0"})
    assert state.note_code(CODE)  # nothing was trained by a0
    state.progress = Progress(epoch=3, iteration=2)
    assert not state.note_code({**CODE, "commit": "c1"})  # the same sources
    assert state.note_code({**CODE, "sources": "b2"})
    state.save(path)
    state.writer.wait()
    other = make_state()
    other.restore(path, checkpoint.load(path))
    begun, changed = {**CODE, "epoch": 0, "iteration": 0}, {**CODE, "sources": "b2", "epoch": 3, "iteration": 2}
    assert other.code == [begun, changed]
    other.restore(saved[1], checkpoint.load(saved[1]))  # as one of an earlier version, which does not say
    assert other.code == []
    assert other.note_code(CODE)
    assert other.code == [{**CODE, "epoch": 3, "iteration": 2}]
    other.progress = Progress(epoch=other.config.optim.epochs)
    assert other.note_code({**CODE, "sources": "b2"})  # it is other code, but nothing is left to train
    assert other.code == [{**CODE, "epoch": 3, "iteration": 2}]


@pytest.mark.parametrize(
    "code",
    [
        {}, [5], [{"commit": "c0"}], [{**CODE, "sources": "\x1b[2J", "epoch": 0, "iteration": 0}],
        [{**CODE, "epoch": 0, "iteration": 0, "modified": torch.zeros(2)}],
        [{**CODE, "epoch": float("inf"), "iteration": 0}], [{**CODE, "epoch": 0, "iteration": -1}],
    ],
)  # fmt: skip
def test_what_names_no_code_is_refused(saved: tuple[TrainingState, Path], tmp_path: Path, code: object) -> None:
    path = tmp_path / "last.pt"
    torch.save({**torch.load(saved[1], weights_only=True), "code": code}, path)
    with refusal(CheckpointError, path, "code"):
        checkpoint.load(path)


def test_other_number_of_identities_is_refused_and_nothing_changed(saved: tuple[TrainingState, Path]) -> None:
    model = DNS(5, ModelOptions(architecture="resnet18"), LossOptions())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with refusal(CheckpointError, saved[1], 4, 5):
        checkpoint.load_model(model, checkpoint.load(saved[1])["model"], saved[1])
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_other_pictures_are_refused(saved: tuple[TrainingState, Path]) -> None:
    other = make_state()
    other.data_sha256 = "bb"
    with refusal(CheckpointError, saved[1], "images"):
        other.restore(saved[1], checkpoint.load(saved[1]))


def test_other_network_is_refused(saved: tuple[TrainingState, Path]) -> None:
    with refusal(CheckpointError, saved[1], "--model.architecture"):
        checkpoint.load_model(DNS(4, ModelOptions(), LossOptions()), checkpoint.load(saved[1])["model"], saved[1])


def test_missing_file_is_named(tmp_path: Path) -> None:
    with refusal(CheckpointError, tmp_path / "gone.pt", "no such"):
        checkpoint.load(tmp_path / "gone.pt")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_truncated_file_is_refused(saved: tuple[TrainingState, Path], tmp_path: Path, share: float) -> None:
    content = saved[1].read_bytes()
    path = tmp_path / "short.pt"
    path.write_bytes(content[: int(len(content) * share)])
    with refusal(CheckpointError, path, "readable"):
        checkpoint.load(path)


class Malicious:
    def __reduce__(self) -> tuple:
        return os.system, ("touch executed",)


def test_code_in_a_checkpoint_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"format": "dns-ffcv", "version": 1, "model": Malicious()}, "evil.pt")
    with refusal(CheckpointError, "evil.pt", f"{os.name}.system"):
        checkpoint.load(Path("evil.pt"))
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([1, 2], "not a checkpoint"),
        ({"net": {}, "epoch": 3}, "--run.resume=never"),
        ({"format": "dns-ffcv", "version": 99}, "version 99"),
        ({"format": "dns-ffcv", "version": 1}, "config"),
        ({"format": "dns-ffcv", "version": 1, 5: 6}, "5, config"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: object, told: str) -> None:
    torch.save(content, tmp_path / "other.pt")
    with refusal(CheckpointError, tmp_path / "other.pt", told):
        checkpoint.load(tmp_path / "other.pt")


def test_a_save_that_fails_leaves_the_old_file(saved: tuple[TrainingState, Path], tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(saved[1].read_bytes())
    with pytest.raises(Exception, match="pickle"):
        checkpoint.save(path, {"model": lambda: None})
    assert checkpoint.load(path)["epoch"] == 3
