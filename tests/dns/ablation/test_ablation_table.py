"""The table of an ablation: its numbers by hand, and what it says of them."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from dns.ablation.plan import Planned, plan
from dns.ablation.rows import Row, read_ablation
from dns.ablation.table import Figures, figures, numbers, parameters, remarks, table, write
from dns.evaluation.intervals import over_seeds
from dns.training import run_folder, throughput
from tests.conftest import REPOSITORY
from tests.support.configs import make_config

ALIKE = {
    "dataset": "drawn", "protocol": "llcm-i2v", "feature": "BN(Z)", "flip": "published", "images": "aa",
    "training_images": "bb", "normalisation": "imagenet", "precision": "fp32", "sources": "5a",
}  # fmt: skip
RESULT = {**ALIKE, "complete": True, "identities": 5, "images_a_step": 48, "images_per_s": 96.0, "tflops": 4.0}


def row(name: str, rank1: dict[int, float], *, same_as: str = "", flip: str = "published") -> Figures:
    mAP = {seed: value / 2 for seed, value in rank1.items()}
    made = {key: [value] for key, value in {**ALIKE, "flip": flip}.items()}
    return Figures(name, same_as, {"rank1": rank1, "mAP": mAP}, made, 1_250_000, 2.0, 96.04)


FULL = row("full", {0: 0.5, 1: 0.6, 2: 0.7})
LESS = row("less", {0: 0.4, 1: 0.6, 2: 0.5})


def test_an_interval_over_three_seeds_is_students() -> None:
    half = 4.302653 * 0.1 / math.sqrt(3)  # t with 2 degrees of freedom, from a printed table; a deviation of 0.1
    assert over_seeds([0.5, 0.6, 0.7]) == pytest.approx((0.6 - half, 0.6 + half), rel=1e-6)


def test_cells_are_means_intervals_and_differences_seed_by_seed() -> None:
    header, full, less = table([FULL, LESS])
    assert header[2:6] == ["Rank-1", "mAP", "Rank-1 minus that of full", "mAP minus that of full"]
    assert full == [
        "full",
        "0, 1, 2",
        "60.00 (35.16 to 84.84)",
        "30.00 (17.58 to 42.42)",
        "",
        "",
        "1.25 M",
        "2",
        "96.0",
    ]
    # Differences -0.1, 0, -0.2: mean -0.1, deviation 0.1.
    assert less[2] == "50.00 (25.16 to 74.84)"
    assert less[4:6] == ["-10.00 (-34.84 to +14.84)", "-5.00 (-17.42 to +7.42)"]


def test_a_row_with_the_runs_of_the_first_has_no_difference() -> None:
    again = table([FULL, row("again", {0: 0.5, 1: 0.6, 2: 0.7}, same_as="full")])[-1]
    assert again[0] == "again (the runs of full)"
    assert again[4:6] == ["", ""]


def test_one_seed_has_no_interval_and_seeds_that_one_row_lacks_no_difference() -> None:
    one, other = row("one", {0: 0.5}), row("other", {1: 0.25})
    assert [line[2:6] for line in table([one, other])[1:]] == [["50.00", "25.00", "", ""], ["25.00", "12.50", "", ""]]
    assert not any("interval" in said for said in remarks([one, other]))
    assert any("different seeds" in said for said in remarks([one, other]))


def test_the_csv_has_every_digit() -> None:
    header, full, less = csv.reader(numbers([FULL, row("less", {0: 0.4, 2: 0.5}, same_as="other")]).splitlines())
    found = dict(zip(header, less, strict=True))
    assert (found["row"], found["same_as"], found["seeds"], found["flip"]) == ("less", "other", "0 2", "published")
    assert float(found["rank1"]) == pytest.approx(0.45)
    assert float(found["rank1_difference"]) == pytest.approx(-0.15)
    assert float(found["rank1_difference_low"]) == pytest.approx(-0.15 - 12.706205 * 0.05, rel=1e-6)
    assert float(found["mAP_difference"]) == pytest.approx(-0.075)
    assert dict(zip(header, full, strict=True))["rank1_difference"] == ""


def test_what_the_rows_do_not_have_in_common_is_said() -> None:
    said = remarks([FULL, row("less", {0: 0.4, 1: 0.6, 2: 0.5}, flip="off")])
    assert any(line == "Not the first row's flip: less." for line in said)
    assert not any("first row's" in line or "share" in line for line in remarks([FULL, LESS]))


def planned(folder: Path, results: dict[tuple[int, int], dict | None]) -> Planned:
    """A row of a set with trials. results: (seed, trial) -> its result, None before its end."""
    members = []
    for (seed, trial), result in results.items():
        config = make_config(
            f"--run.root={folder}", f"--run.name=s{seed}", f"--run.seed={seed}", f"--data.trial={trial}"
        )
        at = run_folder.folder_of(config)
        at.mkdir(parents=True)
        if result:
            (at / "result.json").write_text(json.dumps(result))
        members.append(SimpleNamespace(config=config, folder=at))
    return Planned(Row("full", "dns", {}), members)  # type: ignore[arg-type]


def test_figures_are_means_over_the_trials_of_complete_seeds(tmp_path: Path) -> None:
    def result(rank1: float, images_per_s: float = 96.0) -> dict:
        # As a slower run has them: it computes as much in a step.
        slower = {"images_per_s": images_per_s, "tflops": images_per_s / 24}
        return {**RESULT, "rank1": rank1, "mAP": rank1 / 2, **slower}

    row = planned(tmp_path, {
        (0, 1): result(0.5), (0, 2): result(0.7, 48.0), (1, 1): result(0.2), (1, 2): None, (2, 1): result(1.0),
        (2, 2): result(0.5),
    })  # fmt: skip
    (found,) = figures([row])
    assert found.of_seed["rank1"] == pytest.approx({0: 0.6, 2: 0.75})
    assert found.of_seed["mAP"] == pytest.approx({0: 0.3, 2: 0.375})
    assert found.tflop == pytest.approx(4.0 / 96 * 48)
    assert found.images_per_s == pytest.approx((96 + 48 + 96 + 96) / 4)
    assert figures([planned(tmp_path / "none", {(0, 1): None})]) == []


def test_runs_of_one_row_by_other_code_are_said(tmp_path: Path) -> None:
    results = {(seed, 1): {**RESULT, "rank1": 0.5, "mAP": 0.5, "sources": f"5{seed}"} for seed in (0, 1)}
    (found,) = figures([planned(tmp_path, results)])
    assert found.made["sources"] == ["50", "51"]
    assert any("do not share their code: full" in line for line in remarks([found]))


def test_trials_on_images_of_their_own_and_a_comma_are_no_difference(tmp_path: Path) -> None:
    own = {"feature": "BN(Z); tracklet mean, not a video network", "dataset": "drawn, one frame in 5"}
    results = {
        (seed, trial): {**RESULT, **own, "rank1": 0.5, "mAP": 0.5, "images": f"a{trial}"}
        for seed in (0, 1) for trial in (1, 2)
    }  # fmt: skip
    (found,) = figures([planned(tmp_path, results)])
    assert found.made["images"] == ["a1 a2"]
    assert found.made["training_images"] == ["bb bb"]
    assert not any("share" in line for line in remarks([found]))


def test_trials_by_other_code_are_said_and_what_no_run_says_is_not(tmp_path: Path) -> None:
    results = {(0, trial): {**RESULT, "rank1": 0.5, "mAP": 0.5, "sources": f"5{trial}"} for trial in (1, 2)}
    (found,) = figures([planned(tmp_path, results)])
    assert any("do not share their code" in line for line in remarks([found]))
    older = replace(found, name="older", made={**found.made, "training_images": []})
    assert not any("training images" in line for line in remarks([found, older]))


def test_parameters_are_counted_without_the_parts_that_are_left_out() -> None:
    full, less = (parameters(make_config(f"--model.css={css}"), 5) for css in ("true", "false"))
    width = 256
    assert full - less == 2 * 4 * width * width + 4 * width + width + 2 * width  # two layers, biases, a layer norm


def test_markdown_and_csv_lie_beside_the_runs(tmp_path: Path) -> None:
    text, lines = write(tmp_path, "ablation-drawn", [FULL, LESS])
    assert text.read_text().startswith("## ablation-drawn\n\n| row | seeds | Rank-1 |")
    assert all(said in text.read_text() for said in remarks([FULL, LESS]))
    assert lines.read_text() == numbers([FULL, LESS])


def test_the_page_has_the_numbers_of_our_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    page = (REPOSITORY / "docs" / "ablation.md").read_text()
    rows = plan(read_ablation(REPOSITORY / "configs" / "ablation.yaml"), "sysu", ["--data.beton_root=none"])
    for row in rows:
        config = row.members[0].config
        assert f"| {row.row.name} | {parameters(config, 395) / 1e6:.2f} M |" in page
    full = rows[0].members[0].config
    tflop = throughput.count(full.model, full.loss, 395, batch=48, size_px=(288, 144), accumulate=1)
    assert f"| {tflop:.4g} |" in page
