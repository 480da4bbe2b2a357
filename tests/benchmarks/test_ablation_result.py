"""An ablation's table is stored as it was written, with the machine that trained all of its runs."""

import csv
import json
from pathlib import Path

import pytest

from benchmarks import ablation

PLACE = {"device": "A card", "cores": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two runs of two rows."""
    for name in ("full-seed0", "without-hss-seed0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps({"environment": PLACE}))
    shares = {f"{name}{end}": 0.5 for name in ablation.MEASURES for end in ("", "_low", "_high")}
    apart = {f"{name}_difference{end}": "" for name in ablation.MEASURES for end in ("", "_low", "_high")}
    full = {"row": "full", **shares, **apart, "parameters": 2_500_000, "tflop_a_step": 0.25, "dataset": "synthetic"}
    less = {**full, "row": "without HSS", **dict.fromkeys(apart, -0.125)}
    with open(tmp_path / "ablation.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(full))
        writer.writeheader()
        writer.writerows([full, less])
    return tmp_path


def test_the_table_has_shares_intervals_and_differences(folder: Path) -> None:
    lines = ablation.table(ablation.gather(folder)).splitlines()
    assert lines[2] == "| full | 50.0 (50.0 to 50.0) | 50.0 (50.0 to 50.0) |  |  | 2.50 M | 0.25 |"
    assert lines[3].split(" | ")[3] == "-12.5 (-12.5 to -12.5)"


def test_runs_of_two_machines_are_not_one_result(folder: Path) -> None:
    (folder / "full-seed0" / "result.json").write_text(json.dumps({"environment": {**PLACE, "cores": 4}}))
    with pytest.raises(ValueError, match="several machines"):
        ablation.gather(folder)


def test_a_folder_without_a_table_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert ablation.main([str(tmp_path)]) == 2
    assert "make ablation" in capsys.readouterr().err
