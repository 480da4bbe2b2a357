"""The command: rows trained, the table, a row without a result that is trained alone; all our rows, in processes."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml

import train_ffcv
from dns.ablation import __main__ as command
from dns.ablation.__main__ import main
from dns.training import jobs
from dns.training.setup import open_checkpoint
from ffcv_convert.common.errors import ConfigError, TrainingError
from tests.conftest import REPOSITORY, Refused
from tests.support.refusals import assert_tells, refusal

ROWS = [{"name": "full"}, {"name": "spelt out", "model.hss": True}, {"name": "without HSS", "model.hss": False}]
FAST = [
    "--data.persons=3", "--data.pictures=2", "--optim.epochs=1", "--eval.batch_size=16", "--run.log_every=1",
    "--data.workers=1", "--engine.device=cpu", "--engine.precision=fp32", "--report.write=false",
    "--report.images=false",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


@pytest.fixture
def asked(tmp_path: Path, beton_root: Path) -> list[str]:
    (tmp_path / "rows.yaml").write_text(yaml.safe_dump({"seeds": [3], "rows": ROWS}))
    return [f"--rows={tmp_path / 'rows.yaml'}", f"--data.beton_root={beton_root}", f"--run.root={tmp_path}", *FAST]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs that are trained, each in this process."""
    names: list[str] = []

    def train_all(script: Path, runs: Sequence[jobs.Run], device: str, at_once: int) -> int:
        assert script == REPOSITORY / "train_ffcv.py"
        names.extend(run.name for run in runs)
        return max(train_ffcv.train([*run.arguments, f"--engine.device={device}"]) for run in runs)

    monkeypatch.setattr(jobs, "train_all", train_all)
    return names


def test_rows_are_trained_once_and_only_what_lacks_a_result_again(
    asked: list[str], trained: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    top = tmp_path / "ablation-synthetic"
    assert main([*asked, "--run.dry=true"]) == 0
    assert not trained
    assert not top.exists()
    assert main(asked) == 0
    assert trained == ["full, seed 3", "without HSS, seed 3"]
    said = capsys.readouterr().out
    assert_tells(said, top / "ablation.md", top / "ablation.csv", top / "report.html")
    first = (top / "ablation.csv").read_text()
    full, same, less = csv.DictReader(first.splitlines())
    assert (same["same_as"], same["rank1"], less["same_as"]) == ("full", full["rank1"], "")
    assert int(full["parameters"]) > int(less["parameters"])
    assert float(full["tflop_a_step"]) > float(less["tflop_a_step"]) > 0
    assert float(less["images_per_s"]) > 0
    page = (top / "report.html").read_text()
    assert "without-hss-seed3" in page
    assert "spelt-out" not in page

    trained.clear()
    (top / "without-hss-seed3" / "result.json").unlink()
    assert main(asked) == 0
    assert trained == ["without HSS, seed 3"]
    assert (top / "ablation.csv").read_text() == first
    trained.clear()
    assert main(asked) == 0
    assert not trained


def test_a_run_that_fails_leaves_the_table_of_the_others(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def all_but_the_last(script: Path, runs: Sequence[jobs.Run], device: str, at_once: int) -> int:
        raise TrainingError("1 of 2 runs did not finish")

    shown: list[str] = []
    monkeypatch.setattr(jobs, "train_all", all_but_the_last)
    monkeypatch.setattr(command, "show_results", lambda rows: shown.extend(row.row.name for row in rows))
    with refusal(TrainingError, 1, 2):
        main(asked)
    assert shown == ["full", "spelt out", "without HSS"]


def test_a_signal_ends_it_with_its_code_and_without_a_table(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "train_all", lambda *_: 143)
    monkeypatch.setattr(command, "show_results", lambda rows: pytest.fail("a table"))
    assert main(asked) == 143


def test_an_option_that_is_none_is_refused(asked: list[str], refused: Refused) -> None:
    assert_tells(refused(main, [*asked, "--row=mine.yaml"]), "--row")
    with refusal(ConfigError, "optm.lr", "optim.lr"):
        main([*asked, "--optm.lr=1"])


@pytest.mark.slow
def test_every_row_of_ours_trains_and_is_tested_side_by_side(
    beton_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    torch.set_num_threads(1)
    ours = yaml.safe_load((REPOSITORY / "configs" / "ablation.yaml").read_text())
    (tmp_path / "rows.yaml").write_text(yaml.safe_dump({**ours, "seeds": [0]}))
    given = [f"--rows={tmp_path / 'rows.yaml'}", f"--data.beton_root={beton_root}", f"--run.root={tmp_path}"]
    assert main([*given, *FAST, "--run.jobs=2", "--report.write=true"]) == 0
    lines = list(csv.DictReader((tmp_path / "ablation-synthetic" / "ablation.csv").read_text().splitlines()))
    assert [line["row"] for line in lines] == [row["name"] for row in ours["rows"]]
    for line in lines:
        folder = tmp_path / "ablation-synthetic" / f"{line['row'].lower().replace(' ', '-')}-seed0"
        tested = [f"--data.beton_root={beton_root}", "--data.workers=1", "--engine.precision=fp32"]
        opened = open_checkpoint(folder / "last.pt", *tested)
        ranking = opened.evaluator.rankings(opened.embed().bn, "llcm-i2v")
        found = sum(float(one.metrics.cmc[0]) for one in ranking) / len(ranking)
        assert found == pytest.approx(float(line["rank1"]))
        assert (folder / "report.html").exists()
