"""run.dry: what a training would do, without doing it."""

import re
from pathlib import Path

import pytest

import train_ffcv
from dns.training import dry_run
from dns.training.config import option_sources
from ffcv_convert.common.errors import WeightsError
from tests.conftest import REPOSITORY
from tests.support.refusals import refusal

RECIPE = REPOSITORY / "configs" / "synthetic.yaml"


def files(*folders: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*")}


def test_a_plan_tells_where_values_come_from_and_changes_nothing(
    beton_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(dry_run, "ENOUGH_S", 0.0)  # two steps after the first are timed all the same
    before = files(beton_root, tmp_path)
    arguments = [
        "--config-file", str(RECIPE), "--data.persons=3", "--data.workers=1", "--engine.device=cpu",
        "--optim.epochs=7", f"--data.beton_root={beton_root}", f"--run.root={tmp_path}", "--run.dry=true",
        "--model.pretrained=imagenet", "--model.architecture=resnet18",
    ]  # fmt: skip
    assert train_ffcv.train(arguments) == 0
    said = capsys.readouterr().out
    assert files(beton_root, tmp_path) == before

    def cells(first: str) -> list[str]:
        return re.search(rf"^\| {re.escape(first)} +\| (.*?) *\|$", said, re.MULTILINE)[1].split("|")  # type: ignore[index]

    for option, value, source in [
        ("data.persons", "3", "the command line"),
        ("optim.lr", "0.004", str(RECIPE)),
        ("optim.momentum", "0.9", "default"),
        ("engine.compile", "false", "default, auto settled here"),
    ]:
        assert [cell.strip() for cell in cells(option)] == [value, source]
    assert cells("identities") == ["8"]
    assert cells("images") == ["48 visible, 48 infrared"]
    assert cells("steps an epoch") == ["17 of 6 images of 96 x 48 px; 7 epochs"]
    assert cells("this one") == ["begins"]
    assert cells("would write")[0].startswith(f"{tmp_path}/synthetic-seed0: config.yaml, ")
    seconds, count = re.match(r"([\d.]+) s, median of (\d+) after the first", cells("a step")[0]).groups()  # type: ignore[union-attr]
    assert (count, float(seconds) > 0) == ("2", True)
    assert float(cells("an epoch")[0].split()[0]) == pytest.approx(17 * float(seconds), abs=0.6)
    for name in ("network", "gradients", "optimiser", "memory of this process, at most so far"):
        assert float(cells(name)[0].removesuffix(" GB")) > 0


def test_weights_that_do_not_exist_are_refused_before_a_plan(beton_root: Path, tmp_path: Path) -> None:
    own = ["--config-file", str(RECIPE), f"--data.beton_root={beton_root}", "--run.dry=true", f"--run.root={tmp_path}"]
    for architecture, pretrained in (("resnet50_clip", "imagenet"), ("resnet18", "never.pth")):
        asked = [f"--model.architecture={architecture}", f"--model.pretrained={pretrained}"]
        with refusal(WeightsError, pretrained, "--model.pretrained"):
            train_ffcv.train([*own, *asked])


def test_sources_name_the_file_that_counts(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("optim: {lr: 0.5}\n")
    arguments = ["--config-file", str(RECIPE), "--config-file", str(tmp_path / "mine.yaml"), "--optim.epochs=3"]
    found = option_sources(arguments)
    assert found["optim.lr"] == str(tmp_path / "mine.yaml")
    assert found["optim.name"] == str(RECIPE)
    assert found["optim.epochs"] == "the command line"
    assert "optim.momentum" not in found
