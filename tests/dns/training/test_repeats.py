"""Several runs as one: which they are, where they and their summary go, and its numbers by hand."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dns.evaluation.metrics import RANKS, Metrics
from dns.evaluation.tables import joined, make_row, markdown
from dns.training import repeats
from dns.training.options import Config
from dns.training.run_folder import folder_of
from ffcv_convert.common.errors import ReportError
from tests.support.configs import make_config
from tests.support.refusals import refusal


def asked_for(name: str = "auto", seed: int = 0, repeats: int = 1, trial: int = 0, root: str = "runs") -> Config:
    run = [f"--run.root={root}", f"--run.name={name}", f"--run.seed={seed}", f"--run.repeats={repeats}"]
    return make_config(*run, f"--data.trial={trial}", recipe="regdb")


def numbers(members: Sequence[Config]) -> list[tuple[int, int]]:
    return [(member.run.seed, member.data.trial) for member in members]


@pytest.mark.parametrize(
    ("asked", "trials", "expected"),
    [
        ({}, [], [(0, 0)]),
        ({"seed": 4}, [], [(4, 0)]),
        ({"seed": 4, "repeats": 3}, [], [(4, 0), (5, 0), (6, 0)]),
        ({}, [1, 2, 3], [(0, 1), (0, 2), (0, 3)]),
        ({"trial": 2}, [1, 2, 3], [(0, 2)]),
        ({"trial": 2, "repeats": 2}, [1, 2, 3], [(0, 2), (1, 2)]),
        ({"repeats": 2}, [1, 2], [(0, 1), (0, 2), (1, 1), (1, 2)]),
    ],
)
@pytest.mark.parametrize("name", ["auto", "mine"])
def test_every_seed_and_trial_is_a_run_of_its_own(
    asked: dict[str, int], trials: list[int], expected: list[tuple[int, int]], name: str
) -> None:
    given = asked_for(name, **asked)
    members = repeats.members(given, trials)
    assert numbers(members) == expected
    assert {member.run.repeats for member in members} == {1}
    assert all((member.optim, member.data.persons) == (given.optim, 6) for member in members)
    assert len({folder_of(member) for member in members}) == len(members)


def test_the_folder_of_another_method_s_run_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    first, own = asked_for(repeats=3), asked_for(repeats=3)
    assert (str(folder_of(first)), str(repeats.folder(first))) == ("runs/regdb-seed0", "runs/regdb-seeds0-2")
    object.__setattr__(own.model, "method", "own")
    assert (str(folder_of(own)), str(repeats.folder(own))) == ("runs/regdb-own-seed0", "runs/regdb-own-seeds0-2")


def test_a_named_recipe_over_seeds_is_named_by_them() -> None:
    def names(*given: Any, trials: Sequence[int] = ()) -> list[str]:
        return [member.run.name for member in repeats.members(asked_for(*given), trials)]

    assert names("mine", 3, 2) == ["mine-seed3", "mine-seed4"]
    assert names("mine", trials=[1, 2]) == ["mine", "mine"]
    assert names("auto", 3, 2) == ["auto", "auto"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (asked_for(seed=2), "runs/regdb-seed2"),
        (asked_for("mine"), "runs/mine"),
        (asked_for(repeats=3), "runs/regdb-seeds0-2"),
        (asked_for("mine", repeats=3, root="/else"), "/else/mine-seeds0-2"),
    ],
)
def test_the_summary_lies_beside_or_above_the_runs(asked: Config, expected: str) -> None:
    assert repeats.folder(asked) == Path(expected)


def write_result(member: Config, per_trial: list[Metrics]) -> None:
    """A finished run: the last epoch's row first, the best one's behind it."""
    path = folder_of(member)
    how = {"dataset": "regdb", "feature": "BN(Z)", "flip": "published", "re_ranking": "off", "precision": "fp32"}
    how["weights"] = path.name
    last = make_row("regdb-t2v", per_trial, **how, checkpoint="last.pt, epoch 9")
    best = make_row("regdb-t2v", [Metrics([1.0] * RANKS, 1, 1, 1)], **how, checkpoint="best.pt, epoch 3")
    path.mkdir(parents=True)
    (path / "result.json").write_text(json.dumps({"training": [last, best], "evaluation": [best]}))


def test_the_summary_is_mean_and_deviation_over_runs(tmp_path: Path) -> None:
    """Run 1 has the trials 0.2 and 0.4, run 2 one of 0.7: each counts once, so rank-1 is 0.5 +- 0.2."""
    runs = repeats.members(asked_for(root=str(tmp_path)), [1, 2])
    write_result(runs[0], [Metrics([0.2] * RANKS, 0.1, 0.0, 0.01), Metrics([0.4] * RANKS, 0.3, 0.2, 0.03)])
    write_result(runs[1], [Metrics([0.7] + [0.9] * (RANKS - 1), 0.6, 0.5, 0.04, matched=5, queries=9)])
    row, chosen = repeats.summary(runs)
    assert (chosen["rank1"], chosen["checkpoint"]) == (1, "best.pt of 2 runs, chosen by rank-1 on the test set")
    assert (row["rank1"], row["rank1_std"]) == (pytest.approx(0.5), pytest.approx(0.2))
    assert (row["rank5"], row["rank5_std"]) == (pytest.approx(0.6), pytest.approx(0.3))
    assert (row["mAP"], row["mAP_std"]) == (pytest.approx(0.4), pytest.approx(0.2))
    assert (row["mINP"], row["chance"]) == (pytest.approx(0.3), pytest.approx(0.03))
    assert (row["trials"], row["protocol"], row["dataset"]) == (2, "regdb-t2v", "regdb")
    assert (row["feature"], row["flip"], row["re_ranking"]) == ("BN(Z)", "published", "off")
    assert (row["matched"], row["queries"]) == (5, 9)
    assert row["weights"] == joined(["trial-1", "trial-2"])
    assert row["checkpoint"] == "last.pt of 2 runs"
    assert [trial["cmc"][0] for trial in row["per_trial"]] == [pytest.approx(0.3), 0.7]
    assert "50.00 ± 20.00" in markdown([row], "regdb")


@pytest.mark.parametrize("text", ["{}", '{"steps": 1}', '{"steps": 1, "training": []}'])
def test_a_members_result_that_holds_no_rows_is_named(tmp_path: Path, text: str) -> None:
    runs = repeats.members(asked_for(root=str(tmp_path)), [1, 2])
    for run in runs:
        write_result(run, [Metrics([0.2] * RANKS, 0.1, 0.0, 0.01)])
    damaged = tmp_path / "regdb-seed0" / "trial-2" / "result.json"
    damaged.write_text(text)
    with refusal(ReportError, damaged, "training"):
        repeats.summary(runs)
