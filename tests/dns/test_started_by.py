"""Which variables of the environment make a process one of several: torchrun's, all together, and no scheduler's."""

from pathlib import Path

import pytest
import torch

import eval as eval_script
import train_ffcv
from dns import ranks
from ffcv_convert.common.errors import ConfigError
from ffcv_convert.common.world import World
from tests.support.refusals import refusal
from tests.support.torchrun import options

CPU = torch.device("cpu")
SCHEDULERS = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "job-master-0", "MASTER_PORT": "23456"}
TORCHRUNS = {**SCHEDULERS, "TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_RESTART_COUNT": "1", "LOCAL_WORLD_SIZE": "2"}


@pytest.fixture(autouse=True)
def _two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name in TORCHRUNS:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def printed(capsys: pytest.CaptureFixture) -> bool:
    with ranks.main_alone_prints():
        print("a line")
    return capsys.readouterr().out == "a line\n"


@pytest.mark.parametrize(
    "left",
    [
        {},
        {**SCHEDULERS, "WORLD_SIZE": "1"},
        {"TORCHELASTIC_RUN_ID": "none"},
        {"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_RESTART_COUNT": "1", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "1"},
        {"RANK": "1"},
        {"WORLD_SIZE": "many"},
    ],
)
def test_what_others_left_in_the_environment_changes_nothing(
    left: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    set_all(monkeypatch, left)
    ranks.refuse_lone_parts()
    assert ranks.join(CPU) == World(CPU)
    assert printed(capsys)
    assert (ranks.own_device("auto"), ranks.share_of_cores(), ranks.restarted()) == ("auto", 0, False)


def test_what_torchrun_sets_makes_a_rank(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    set_all(monkeypatch, TORCHRUNS)
    ranks.refuse_lone_parts()
    assert ranks.started()
    assert not printed(capsys)
    assert (ranks.own_device("auto"), ranks.restarted()) == ("cuda:1", True)
    assert ranks.share_of_cores() > 0


@pytest.mark.parametrize("more", [{}, {"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": ""}])
def test_one_of_several_processes_without_torchrun_is_refused(
    beton_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, str]
) -> None:
    """As a Kubernetes PyTorchJob, SageMaker or Azure ML start them. Each would train or test by itself."""
    variables = {**SCHEDULERS, **more}
    set_all(monkeypatch, {name: value for name, value in variables.items() if value})
    with refusal(ConfigError, "WORLD_SIZE", 2, "torchrun", "make RANKS"):
        train_ffcv.train(options(beton_root, tmp_path / "runs", "none"))
    with refusal(ConfigError, "WORLD_SIZE", 2, "torchrun", "make RANKS"):
        eval_script.evaluate([f"--eval.checkpoint={tmp_path / 'none.pt'}"])
    assert not any(tmp_path.iterdir())
