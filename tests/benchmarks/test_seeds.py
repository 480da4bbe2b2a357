"""Results over seeds: collected from comparable runs only."""

import json
from pathlib import Path

import pytest

from benchmarks import methods
from benchmarks.seeds import MEASURES, MUST_MATCH, collect, gather, read, table


def result(rank1: float, seed: int, **changes: object) -> dict:
    measures = {**dict.fromkeys(MUST_MATCH, 1), **dict.fromkeys(MEASURES, 0.5)}
    return {**measures, "rank1": rank1, "seed": seed, "recipe": {}, "environment": {}, **changes}


def test_means_are_over_runs() -> None:
    content = gather([result(0.2, 3), result(0.4, 5)])
    assert content["mean"]["rank1"] == pytest.approx(0.3)
    assert [run["rank1"] for run in content["runs"]] == [0.2, 0.4]
    assert [run["seed"] for run in content["runs"]] == [3, 5]
    assert table(content).splitlines()[-1].startswith("| mean | 30.0 | 50.0 ")  # in per cent


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (result(0.2, 1, steps=2), "differ in steps"),
        (result(0.2, 0), "twice"),
        (result(0.2, 1, recipe={"optim": {"lr": 3}}), "recipes"),
    ],
)
def test_runs_that_are_not_one_recipes_seeds_are_refused(second: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        gather([result(0.2, 0), second])


def test_seed_and_recipe_come_from_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"rank1": 0.5}))
    (tmp_path / "config.yaml").write_text("run: {seed: 7, name: x}\noptim: {lr: 1}")
    assert read(tmp_path / "result.json") == {"rank1": 0.5, "seed": 7, "recipe": {"optim": {"lr": 1}}}


def test_a_stored_result_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.harness.RESULTS", tmp_path / "results")
    run = {**result(0.5, 7, dataset="drawn"), "environment": {"device": "a cpu", "cores": 2}}
    (tmp_path / "result.json").write_text(json.dumps(run))
    (tmp_path / "config.yaml").write_text("run: {seed: 7}")
    assert collect([str(tmp_path / "result.json")], "seeds", None, gather, table) == 0
    (stored,) = (tmp_path / "results").iterdir()
    before = stored.read_bytes()
    assert collect([str(tmp_path / "result.json")], "seeds", None, gather, table) == 2
    assert str(stored) in capsys.readouterr().err
    assert stored.read_bytes() == before


def test_missing_results_are_an_error(tmp_path: Path) -> None:
    assert collect([str(tmp_path / "gone")], "seeds", None, gather, table) == 2


def of(method: str, seed: int, rank1: float = 0.5, **changes: object) -> dict:
    recipe = {} if method == "dns" else {"model": {"method": method}}
    return result(rank1, seed, recipe=recipe, **{"images": "digest", **changes})


def test_methods_stand_side_by_side() -> None:
    runs = [of("dns", 0, 0.2), of("dns", 1, 0.4), of("agw", 1, 0.8), of("agw", 0, 0.6)]
    content = methods.gather(runs)
    assert list(content["methods"]) == ["dns", "agw"]
    rows = methods.table(content).splitlines()
    assert rows[2].startswith("| dns | 20.0 | 40.0 | 30.0 | 50.0 ")
    assert rows[3].startswith("| agw | 60.0 | 80.0 | 70.0 | 50.0 ")  # by the seed, in whatever order they were named


@pytest.mark.parametrize("changes", [{"seed": 1}, {"dataset": "other"}, {"protocol": "other"}, {"images": "other"}])
def test_methods_that_cannot_be_compared_are_refused(changes: dict) -> None:
    with pytest.raises(ValueError, match="methods"):
        methods.gather([of("dns", 0), {**of("agw", 0), **changes}])
