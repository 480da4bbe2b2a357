"""A vision transformer is trained, opened again, tested and planned by the commands that train a ResNet."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import eval as eval_script
import train_ffcv
from dns.backbones import ARCHITECTURES
from dns.training import checkpoint, dry_run
from dns.training.setup import open_checkpoint
from ffcv_convert.common.errors import DataError
from tests.support.configs import SMALL_RUN, small_set
from tests.support.refusals import refusal

TINY = "vit_tiny_patch16"


@pytest.fixture
def arguments(beton_root: Path, tmp_path: Path) -> list[str]:
    own = [f"--model.architecture={TINY}", "--optim.name=adamw", "--optim.lr=3e-4", "--report.write=false"]
    return [*SMALL_RUN, *own, f"--data.beton_root={beton_root}", f"--run.root={tmp_path}"]


def test_it_is_trained_opened_again_tested_and_planned(
    arguments: list[str], beton_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert train_ffcv.train(arguments) == 0
    last = tmp_path / "run" / "last.pt"
    stored, opened = checkpoint.load(last)["model"], open_checkpoint(last, *small_set(beton_root))
    state = opened.model.state_dict()  # type: ignore[union-attr]
    assert state.keys() == stored.keys()
    assert all(torch.equal(state[name], stored[name]) for name in state)
    assert opened.config.normalisation.mean == (0.5, 0.5, 0.5)
    assert opened.embed().bn.shape[1] == 192
    assert eval_script.evaluate([f"--eval.checkpoint={last}", *small_set(beton_root)]) == 0
    (row, *_) = json.loads((tmp_path / "run" / "result.json").read_text())["evaluation"]
    assert (row["normalisation"], row["feature"]) == ("half", "BN(Z)")
    monkeypatch.setattr(dry_run, "ENOUGH_S", 0)
    capsys.readouterr()
    assert train_ffcv.train([*arguments, "--run.name=planned", "--run.dry=true"]) == 0
    assert "TFLOP a device" in capsys.readouterr().out


def test_images_that_are_no_whole_patches_are_refused_before_the_training(
    arguments: list[str], beton_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARCHITECTURES, TINY, replace(ARCHITECTURES[TINY], patch_px=20))
    with refusal(DataError, beton_root / "synthetic" / "test.beton", "96 x 48", "--height-px 100 --width-px 40"):
        train_ffcv.train(arguments)
