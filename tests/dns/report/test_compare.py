"""Runs side by side: which queries one finds and the other misses, and what is said of folders that lack something."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from dns.evaluation.metrics import RANKS, Metrics
from dns.evaluation.tables import make_row, table
from dns.report.__main__ import main
from dns.report.compare import Query, compare, differing, read_run
from ffcv_convert.common.errors import ReportError
from tests.conftest import Refused
from tests.support.read_page import read_page

HOW = {"dataset": "llcm", "feature": "BN(Z)", "flip": "off", "re_ranking": "off", "precision": "fp32"}
HEADER = "protocol,query,identity,camera,first,AP,nearest,nearest identity,similarity"


def query(path: str, first: int, precision: float) -> Query:
    return Query(path, 1, first, precision, "near.jpg", 1 if first == 1 else 2)


def made(folder: Path, rank1: float, queries: Sequence[tuple[str, int, float]]) -> Path:
    """A run's folder with a result, a log and a report's table of queries."""
    (folder / "report").mkdir(parents=True)
    metrics = Metrics([rank1] + [1.0] * (RANKS - 1), 0.5, 0.25, 0.1)
    row = make_row("llcm-i2v", [metrics], **HOW, checkpoint="last.pt, epoch 1")
    (folder / "result.json").write_text(json.dumps({"evaluation": [row]}))
    kinds = [
        {"kind": "train", "step": 1, "lr": 0.1, "total": 9.0 * rank1},
        {"kind": "epoch", "step": 1, "epoch": 1, "seconds": 2.0, "images": 8},
        {"kind": "eval", "step": 1, "epoch": 1, "rank1": rank1},
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kinds))
    lines = [
        f'llcm-i2v,"{path}",1,3,{first},{precision},near.jpg,{2 - (first == 1)},0.5'
        for path, first, precision in queries
    ]
    lines.append("llcm-i2v,without a match.jpg,1,3,0,,near.jpg,2,0.5")
    (folder / "report" / "queries.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    return folder


def test_queries_that_one_finds_and_the_other_misses() -> None:
    one = {
        name: query(name, first, ap) for name, first, ap in [("a", 1, 0.9), ("b", 1, 0.8), ("c", 2, 0.5), ("d", 1, 1)]
    }
    other = {name: query(name, first, ap) for name, first, ap in [("a", 3, 0.4), ("b", 2, 0.1), ("c", 1, 0.6)]}
    assert [here.path for here, _ in differing(one, other)] == ["b", "a"]
    assert [here.path for here, _ in differing(other, one)] == ["c"]


def test_the_page_sets_tables_curves_and_queries_side_by_side(tmp_path: Path) -> None:
    one = made(tmp_path / "one", 0.5, [("<i>a.jpg", 1, 0.9), ("b.jpg", 2, 0.5)])
    two = made(tmp_path / "two", 0.75, [("<i>a.jpg", 2, 0.25), ("b.jpg", 1, 1.0)])
    (one / "config.yaml").write_text("optim: {epochs: 4}")
    (two / "config.yaml").write_text("model: {method: agw}\noptim: {epochs: 4}")
    path = compare([one, two], tmp_path / "both", lambda paths: {})
    page = read_page(path.read_text())
    first, second = (table(read_run(run).rows)[1] for run in (one, two))
    assert page.tables["All results"][1:] == [["one", "dns", "4", *first], ["two", "agw", "4", *second]]
    assert "one finds 1 of 2 queries that two misses" in page.text
    assert "two finds 1 of 2 queries that one misses" in page.text
    assert "AP 90.0 % and 25.0 %, first right rank 2 there <i>a.jpg" in page.text
    for name in ("cmc-llcm-i2v", "loss", "learning-rate", "rank1", "images-per-s"):
        text = (path.parent / "report" / f"{name}.csv").read_text()
        assert "\none," in text
        assert "\ntwo," in text


def test_rows_that_can_be_compared_stand_together(tmp_path: Path) -> None:
    runs = [made(tmp_path / name, 0.5, []) for name in ("one", "two")]
    for run in runs:
        (row,) = json.loads((run / "result.json").read_text())["evaluation"]
        rows = [row, row | {"flip": "published"}, row | {"feature": "Z"}]
        (run / "result.json").write_text(json.dumps({"evaluation": rows}))
    (runs[1] / "config.yaml").write_text("model: [")
    with pytest.raises(ReportError, match=r"config\.yaml"):
        compare(runs, tmp_path / "both", lambda paths: {})
    (runs[1] / "config.yaml").unlink()
    page = read_page(compare(runs, tmp_path / "both", lambda paths: {}).read_text())
    assert [cells[0] for cells in page.tables["All results"][1:]] == ["one", "two"] * 3


def test_a_run_without_a_report_is_named(tmp_path: Path) -> None:
    one, two = made(tmp_path / "one", 0.5, [("a.jpg", 1, 0.9)]), made(tmp_path / "two", 0.5, [])
    (two / "report" / "queries.csv").unlink()
    text = read_page(compare([one, two], tmp_path / "both", lambda paths: {}).read_text()).text
    assert "Without a report, and so without their queries: two." in text


@pytest.mark.parametrize("text", ["protocol,query\nx,y\n", f"{HEADER}\nx,y,one,1,1,0.5,z,2,0\n"])
def test_a_damaged_table_of_queries_is_refused(tmp_path: Path, text: str) -> None:
    one = made(tmp_path / "one", 0.5, [("a.jpg", 1, 0.9)])
    (one / "report" / "queries.csv").write_text(text)
    with pytest.raises(ReportError, match=r"queries\.csv: damaged .*Write that run's report again"):
        read_run(one)


def test_what_cannot_be_compared_is_refused(tmp_path: Path, refused: Refused) -> None:
    one = made(tmp_path / "one", 0.5, [("a.jpg", 1, 0.9)])
    with pytest.raises(ReportError, match=r"none/result\.json: no such result"):
        read_run(tmp_path / "none")
    with pytest.raises(ReportError, match="two runs of one name"):
        compare([one, one], tmp_path / "both", lambda paths: {})
    assert "two run folders at least" in refused(main, [one])
    assert "no option but --report.images" in refused(main, [one, one, "--optim.lr=1"])
    assert not (tmp_path / "both").exists()


def test_without_the_set_the_page_has_no_images(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    one, two = made(tmp_path / "one", 0.5, [("a.jpg", 1, 0.9)]), made(tmp_path / "two", 0.5, [("a.jpg", 2, 0.5)])
    assert main([str(one), str(two)]) == 0
    said = capsys.readouterr()
    assert "note: no images on the page" in said.err
    assert f"written: {tmp_path}/one-and-two/report.html" in said.out
    assert main([str(one), str(two), "--report.images=false"]) == 0
    assert not capsys.readouterr().err


def test_runs_in_a_read_only_folder_are_compared_in_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    runs = [str(made(tmp_path / "zoo" / name, 0.5, [("a.jpg", 1, 0.9)])) for name in ("one", "two")]
    monkeypatch.setattr("dns.report.__main__.can_write", lambda folder: folder != tmp_path / "zoo")
    monkeypatch.chdir(tmp_path)
    assert main([*runs, "--report.images=false"]) == 0
    assert (tmp_path / "runs" / "one-and-two" / "report.html").exists()
    assert not (tmp_path / "zoo" / "one-and-two").exists()
