"""The file of an ablation's rows: what it holds, what is refused, and the runs that follow from it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from dns.ablation import plan as plan_module
from dns.ablation.plan import Planned, fingerprint, plan, top_folder, unfinished
from dns.ablation.rows import read_ablation
from dns.training.config import read_config
from dns.training.run_folder import CONFIG
from ffcv_convert.common.errors import ConfigError
from tests.conftest import REPOSITORY
from tests.support.refusals import assert_tells, refusal

OURS = REPOSITORY / "configs" / "ablation.yaml"
FULL, NO_HSS = {"name": "full"}, {"name": "without HSS", "model.hss": False}


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


def rows_file(folder: Path, rows: object, **more: object) -> Path:
    path = folder / "rows.yaml"
    path.write_text(yaml.safe_dump({"rows": rows, **more}))
    return path


def planned(path: Path, *arguments: str, dataset: str = "synthetic") -> list[Planned]:
    return plan(read_ablation(path), dataset, ["--data.beton_root=none", *arguments])


def members(rows: Sequence[Planned]) -> list[tuple[str, str]]:
    return [(member.run.name, str(member.folder)) for row in rows if not row.same_as for member in row.members]


def test_our_rows_leave_out_one_part_each_then_all_then_take_the_published_baseline() -> None:
    ablation = read_ablation(OURS)
    found = {row.row.name: row.members[0].config for row in planned(OURS, dataset="sysu")}
    assert ablation.seeds == (0, 1, 2)
    parts = {
        name: (config.model.hss, config.model.css, config.loss.alignment, config.loss.distillation)
        for name, config in found.items()
        if config.model.method == "dns"
    }
    assert parts == {
        "full": (True, True, 0.2, 1.0),
        "without HSS": (False, True, 0.2, 1.0),
        "without DA": (True, True, 0.0, 1.0),
        "without DD": (True, True, 0.2, 0.0),
        "without CSS": (True, False, 0.2, 1.0),
        "none of the four": (False, False, 0.0, 0.0),
    }
    baseline = found["published baseline"]
    assert (baseline.model.method, baseline.augment.recipe) == ("baseline", "baseline-sysu")
    assert {config.augment.recipe for config in found.values()} == {"sysu", "baseline-sysu"}
    assert {config.eval.flip for config in found.values()} == {"published"}  # the baseline's own recipe says off


def test_every_seed_of_a_row_is_a_run_of_train_ffcv(tmp_path: Path) -> None:
    path = rows_file(tmp_path, [FULL, {"name": "wide, 3 kernels", "loss": {"alignment_kernels": 3}}], seeds=[4, 0])
    rows = planned(path, "--optim.epochs=2", f"--run.root={tmp_path}")
    top = f"{tmp_path}/ablation-synthetic"
    assert str(top_folder(rows)) == top
    assert members(rows) == [
        ("full, seed 4", f"{top}/full-seed4"),
        ("full, seed 0", f"{top}/full-seed0"),
        ("wide, 3 kernels, seed 4", f"{top}/wide-3-kernels-seed4"),
        ("wide, 3 kernels, seed 0", f"{top}/wide-3-kernels-seed0"),
    ]
    for row in rows:
        for member in row.members:  # the command line means what was planned
            assert read_config(member.run.arguments, description="") == member.config
    assert rows[1].members[0].config.loss.alignment_kernels == 3
    assert {member.config.optim.epochs for row in rows for member in row.members} == {2}


def test_a_row_counts_more_than_the_command_line(tmp_path: Path) -> None:
    path = rows_file(tmp_path, [FULL, {"name": "short", "optim.epochs": 1}])
    epochs = [row.members[0].config.optim.epochs for row in planned(path, "--optim.epochs=7", "--run.name=mine")]
    assert epochs == [7, 1]
    assert str(top_folder(planned(path, "--run.name=mine"))) == "runs/mine"


def test_rows_that_train_the_same_network_share_their_runs(tmp_path: Path) -> None:
    again = {"name": "tau as it is", "model.tau": 0.2}
    speed = {"name": "other threads", "data.workers": 1, "data.source": "stream"}
    rows = planned(rows_file(tmp_path, [FULL, again, NO_HSS, speed, {"name": "tau", "model.tau": 0.3}]))
    assert [row.same_as for row in rows] == ["", "full", "", "full", ""]
    assert rows[1].members == rows[0].members
    assert len(unfinished(rows)) == 3


def test_a_fingerprint_has_all_that_decides_numbers_but_the_seed() -> None:
    def of(*arguments: str) -> str:
        return fingerprint(read_config(["--config-file", "configs/synthetic.yaml", *arguments], description=""))

    assert of() == of("--run.seed=5") == of("--run.name=x") == of("--data.workers=3") == of("--model.hss=true")
    changed = [of(word) for word in ("--model.hss=false", "--loss.alignment=0", "--data.persons=3", "--optim.lr=1")]
    assert len({of(), *changed}) == 5


def test_every_trial_of_a_set_is_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "trials_of", lambda folder: [1, 2])
    path = rows_file(tmp_path, [FULL, NO_HSS], seeds=[0, 1])
    (first, *_), _ = rows = [row.members for row in planned(path, dataset="regdb")]
    assert [len(row) for row in rows] == [4, 4]
    assert (first.run.name, str(first.folder)) == ("full, seed 0, trial 1", "runs/ablation-regdb/full-seed0/trial-1")
    assert [len(row.members) for row in planned(path, "--data.trial=2", dataset="regdb")] == [2, 2]


def test_a_method_without_a_recipe_for_the_set_is_left_out(capsys: pytest.CaptureFixture) -> None:
    rows = planned(OURS, dataset="pku_sketch")
    assert [row.row.name for row in rows][-1] == "none of the four"
    assert_tells(capsys.readouterr().err, "published baseline", "configs/baseline/pku_sketch.yaml")


def test_a_finished_row_is_not_trained_again_unless_asked(tmp_path: Path) -> None:
    path = rows_file(tmp_path, [FULL, NO_HSS])
    asked = [f"--run.root={tmp_path}"]
    full, _ = (row.members[0] for row in planned(path, *asked))
    full.folder.mkdir(parents=True)
    stored = full.config.stored()
    stored["engine"]["precision"] = "fp32"  # what auto became
    (full.folder / CONFIG).write_text(yaml.safe_dump(stored))
    (full.folder / "result.json").write_text('{"evaluation": []}')  # of eval.py, before the end
    assert len(unfinished(planned(path, *asked))) == 2
    (full.folder / "result.json").write_text('{"complete": true}')
    assert [member.run.name for member in unfinished(planned(path, *asked))] == ["without HSS, seed 0"]
    assert len(unfinished(planned(path, *asked, "--run.resume=never"))) == 2
    with refusal(ConfigError, full.folder, "optim.lr"):
        unfinished(planned(path, *asked, "--optim.lr=0.5"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, ["rows"]),
        ({"rows": {"full": {}}}, ["rows.full"]),
        ({"rows": [FULL], "seed": [0]}, ["seed"]),
        ({"rows": [FULL], "seeds": 3}, [3]),
        ({"rows": [FULL], "seeds": [1, 1]}, ["twice"]),
        ({"rows": [FULL], "seeds": [True]}, ["True"]),
        ({"rows": ["full"]}, ["row 1"]),
        ({"rows": [FULL, {"model.hss": False}]}, ["row 2"]),
        ({"rows": [FULL, {"name": "Full"}]}, ["full-seed0", "'Full'"]),
        ({"rows": [{"name": "x", "method": ["agw"]}]}, ["'x'", "method"]),
        ({"rows": [FULL], "seeds": [-1]}, [-1]),
        ({"rows": [{"name": "x", "config-file": "a.yaml"}]}, ["'x'", "config-file"]),
        ({"rows": [{"name": "x", "eval.flip": "off"}]}, ["'x'", "eval.flip"]),
        ({"rows": [{"name": "x", "engine.device": "cpu"}]}, ["'x'", "engine.device"]),
        ({"rows": [{"name": "x", "run": {"seed": 3}}]}, ["'x'", "run.seed"]),
        ({"rows": [{"name": "x", "model.method": "agw"}]}, ["'x'", "model.method"]),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: dict, told: list[object]) -> None:
    path = tmp_path / "rows.yaml"
    path.write_text(yaml.safe_dump({"seeds": [0], **content}))
    with refusal(ConfigError, path, *told):
        read_ablation(path)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"model.hs": False}, ["model.hs", "model.hss"]),
        ({"model.hss": "perhaps"}, ["model.hss", "'perhaps'"]),
        ({"model.hss": None}, ["model.hss"]),
        ({"method": "none"}, ["configs/none/synthetic.yaml"]),
        ({"method": "baseline", "model.tau": 0.1}, ["model.tau"]),
    ],
)
def test_a_wrong_option_names_its_row(tmp_path: Path, row: dict, told: list[object]) -> None:
    path = rows_file(tmp_path, [FULL, {"name": "x", **row}])
    with refusal(ConfigError, told[0], *told[1:]) as caught:
        planned(path)
    assert row.get("method") == "none" or f"{path}: row 'x'" in str(caught.value)


@pytest.mark.parametrize("word", ["--run.seed=3", "--run.repeats=2", "--model.method=agw", "--data.set=llcm"])
def test_the_command_line_cannot_set_what_rows_decide(tmp_path: Path, word: str) -> None:
    with refusal(ConfigError, "the command line", word.lstrip("-").partition("=")[0]):
        planned(rows_file(tmp_path, [FULL]), word)


def test_rows_without_a_recipe_for_the_set_are_no_ablation(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = rows_file(tmp_path, [{"name": "AGW", "method": "agw"}])
    with refusal(ConfigError, path, "custom"):
        plan(read_ablation(path), "custom", [])
    assert_tells(capsys.readouterr().err, path, "AGW", "configs/agw/custom.yaml")
