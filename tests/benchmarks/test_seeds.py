"""Results over seeds: gathered from comparable runs only, and the README's table is the stored one."""

import json

import pytest
from conftest import REPOSITORY

from benchmarks.seeds import ALIKE, MEASURES, gather, main, table


def result(rank1: float, **changes: object) -> dict:
    return {**dict.fromkeys(ALIKE, 1), **dict.fromkeys(MEASURES, 0.5), "rank1": rank1, "environment": {}, **changes}


def test_means_are_over_runs() -> None:
    content = gather([result(0.2), result(0.4)])
    assert content["mean"]["rank1"] == pytest.approx(0.3)
    assert [run["rank1"] for run in content["runs"]] == [0.2, 0.4]
    assert table(content).splitlines()[-1].startswith("| mean | 30.0 | 50.0 ")


def test_runs_of_other_recipes_are_refused(tmp_path, capsys) -> None:
    for name, content in (("a", result(0.2)), ("b", result(0.2, steps=2))):
        (tmp_path / name).write_text(json.dumps(content))
    assert main([str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "differ in steps" in capsys.readouterr().err
    assert main([str(tmp_path / "gone")]) == 2


def test_the_readmes_table_is_made_from_the_stored_results() -> None:
    stored = sorted((REPOSITORY / "benchmarks" / "results").glob("seeds-synthetic-*.json"))
    assert stored
    assert table(json.loads(stored[-1].read_text())) in (REPOSITORY / "README.md").read_text()
