"""Options: which of them may change when a run is resumed."""

from pathlib import Path

import pytest
import torch

from dns.option import device_type, free
from dns.training import checkpoint
from dns.training.options import SECTIONS, declared
from dns.training.run_folder import RunFolder
from dns.training.setup import plan_options
from ffcv_convert.common.errors import ConfigError
from ffcv_convert.common.world import World
from tests.support.configs import make_config
from tests.support.refusals import refusal

WORLD = World(torch.device("cpu"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """With a checkpoint of the run `run`, as far as its configuration."""
    content = {key: {} for key in ("model", "optimiser", "scaler", "ranks", "results", "lists")}
    content |= {"epoch": 0, "iteration": 1, "size_px": [96, 48], "data_sha256": "aa"}
    (tmp_path / "run").mkdir()
    config = make_config(f"--run.root={tmp_path}", "--run.name=run", "--engine.device=cuda:0")
    checkpoint.save(tmp_path / "run" / "last.pt", {**content, "config": config.stored()})
    return tmp_path


def resumed(root: Path, *changes: str) -> bool:
    given = ["--run.name=run", f"--run.root={root}", "--engine.device=cuda:0", *changes]
    return RunFolder(make_config(*given), WORLD).resumed


@pytest.mark.parametrize(
    "change",
    ["--eval.batch_size=7", "--engine.device=cuda:1", "--eval.flip=off", "--data.workers=3", "--run.log_every=5"],
)
def test_what_changes_no_training_number_may_change(root: Path, change: str) -> None:
    assert resumed(root, change)


@pytest.mark.parametrize("change", ["--optim.lr=0.5", "--engine.device=cpu", "--engine.precision=fp16", "--run.seed=3"])
def test_what_changes_one_may_not(root: Path, change: str) -> None:
    with refusal(ConfigError, root / "run", change.removeprefix("--").partition("=")[0]):
        resumed(root, change)


def test_a_run_without_a_step_takes_a_corrected_option(root: Path) -> None:
    path = root / "run" / "last.pt"
    checkpoint.save(path, {**checkpoint.load(path), "iteration": 0})
    assert resumed(root)
    assert not resumed(root, "--optim.lr=0.5")


def test_a_run_from_before_an_option_was_made_with_its_default(root: Path) -> None:
    path = root / "run" / "last.pt"
    content = checkpoint.load(path)
    del content["config"]["model"]["dropout"]
    checkpoint.save(path, content)
    assert resumed(root)
    with refusal(ConfigError, root / "run", "model.dropout", 0.01, 0.5):
        resumed(root, "--model.dropout=0.5")


def test_every_option_of_a_recipe_s_training_is_kept() -> None:
    loose = {
        f"{section}.{name}"
        for section in ("augment", "model", "loss", "optim", "multiplier", "engine", "data")
        for name, (option, _, _) in declared(section).items()
        if option.resumed in (free, device_type)
    }
    assert loose == {"data.beton_root", "data.source", "data.workers", "engine.device"}
    assert set(SECTIONS) == {
        "data", "augment", "model", "loss", "optim", "multiplier", "engine", "eval", "run", "report",
    }  # fmt: skip


@pytest.mark.parametrize(("method", "recipe"), [("agw", "caj"), ("caj", "agw")])
def test_a_recipe_with_other_views_than_the_method_takes_is_refused(method: str, recipe: str) -> None:
    config = make_config(f"--model.method={method}", f"--augment.recipe={recipe}", recipe=f"{method}/sysu")
    with refusal(ConfigError, "augment.recipe", recipe, f"model.method = '{method}'"):
        plan_options(config)
