"""The report of a small drawn set: its numbers, its names, its files, and what it says when it cannot be written."""

import csv
import errno
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

import eval as eval_script
import train_ffcv
from dns.evaluation import ranking, results
from dns.evaluation.protocols import Protocol
from dns.evaluation.tables import Measured, table
from dns.network import Network
from dns.report import write
from dns.report.page import where
from dns.report.subject import Subject, of_network
from dns.training import checkpoint, selection
from dns.training.network import build_network
from dns.training.selection import config_for_checkpoint, protocols_of
from dns.training.setup import open_content, open_evaluator, open_session
from ffcv_convert.common.errors import ReportError
from tests.conftest import Refused
from tests.support.configs import SMALL_RUN, make_config
from tests.support.read_page import Page, read_page
from tests.support.refusals import assert_tells

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>\x1b[2J\udcff.jpg"


@pytest.fixture(scope="module", autouse=True)
def _no_wait_for_the_disk() -> Iterator[None]:
    """A report has forty files, each of which is waited for until it is on the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture(scope="module")
def run(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, with the report that training wrote."""
    return shutil.copytree(small_run, tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def reported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of that folder, after make report; no test writes into it."""
    copy = tmp_path_factory.mktemp("reported") / "run"
    shutil.copytree(run, copy)
    assert evaluate(copy, "--report.write=true") == 0
    return copy


def evaluate(run: Path, *options: str) -> int:
    return eval_script.evaluate([f"--eval.checkpoint={run / 'last.pt'}", "--engine.precision=fp32", *options])


def page_of(run: Path) -> Page:
    return read_page((run / "report.html").read_text(encoding="utf-8"))


def numbers(run: Path, name: str) -> list[dict[str, str]]:
    with open(run / "report" / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_training_writes_a_report(run: Path) -> None:
    page = page_of(run)
    assert "last.pt, epoch 1" in page.text
    assert {
        "results.csv",
        "intervals.csv",
        "open-set.csv",
        "cmc.csv",
        "cmc.svg",
        "loss.csv",
        "roc.csv",
        "thresholds.csv",
        "queries.csv",
    } <= {path.name for path in (run / "report").iterdir()}
    assert not [*run.glob("*.partial"), *run.glob("*.unfinished")]


def test_the_numbers_are_those_of_the_result(reported: Path) -> None:
    result, page = json.loads((reported / "result.json").read_text()), page_of(reported)
    assert page.tables["All results"] == table(result["evaluation"])
    assert {row["protocol"] for row in result["evaluation"]} == {"llcm-i2v", "llcm-v2i"}
    first = result["evaluation"][0]
    assert f"{100 * first['rank1']:.2f} %" in page.text
    points = numbers(reported, "cmc")
    for row in result["evaluation"]:
        if row["feature"] == "BN(Z)":
            curves = [trial["cmc"] for trial in row["per_trial"]]
            mine = [point for point in points if point["series"] == row["protocol"]]
            assert [float(point["rank"]) for point in mine] == [*range(1, 21)]
            for rank, point in enumerate(mine):
                mean = sum(curve[rank] for curve in curves) / len(curves)
                assert float(point["queries found (%)"]) == pytest.approx(100 * mean)
            assert float(mine[0]["queries found (%)"]) == pytest.approx(100 * row["rank1"])
            assert float(mine[0]["high"]) - float(mine[0]["low"]) == pytest.approx(200 * row["rank1_std"])
            said = re.search(rf"trial of {row['protocol']}; their mean is ([\d.]+) %", page.text)
            assert said
            assert float(said[1]) == pytest.approx(100 * row["mAP"], abs=0.006)


def test_the_training_curves_are_those_of_the_log(reported: Path) -> None:
    lines = [json.loads(line) for line in (reported / "log.jsonl").read_text().splitlines()]
    trained = [line for line in lines if line["kind"] == "train"]
    losses = [point for point in numbers(reported, "loss") if point["series"] == "total"]
    assert [(float(p["step"]), float(p["loss"])) for p in losses] == [(line["step"], line["total"]) for line in trained]
    rates = numbers(reported, "learning-rate")
    assert [float(point["learning rate"]) for point in rates] == [line["lr"] for line in trained]
    epoch = next(line for line in lines if line["kind"] == "epoch")
    assert float(numbers(reported, "images-per-s")[0]["images/s"]) == pytest.approx(epoch["images"] / epoch["seconds"])


def test_the_page_needs_nothing_else_and_every_image_has_a_text(reported: Path) -> None:
    text, page = (reported / "report.html").read_text(encoding="utf-8"), page_of(reported)
    assert len(text.encode()) < 5_000_000
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object")
        assert "srcset" not in attributes
        assert (attributes.get("src") or "data:").startswith("data:image/jpeg;base64,") or "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg":
            assert attributes["role"] == "img"
            assert attributes["aria-label"]
    addresses = set(re.findall(r"https?://[^\"' <)]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}
    assert "url(" not in text
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_images_can_be_left_out(run: Path, reported: Path) -> None:
    assert evaluate(run, "--report.write=true", "--report.images=false", "--eval.protocols=llcm-i2v") == 0
    page = page_of(run)
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert "Images are left out" in page.text
    assert [attributes for _, attributes in page.tags if attributes.get("class") == "blank"]
    page = page_of(reported)
    assert [tag for tag, _ in page.tags if tag == "img"]
    assert "nobody's terms apply" in page.text


def test_without_the_option_testing_writes_no_report(run: Path, tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes((run / "last.pt").read_bytes())
    assert evaluate(tmp_path) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt", "result.json", "result.md"}


def test_a_checkpoint_in_a_read_only_folder_is_tested_and_reported_elsewhere(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    zoo, mine = tmp_path / "zoo", tmp_path / "mine"
    zoo.mkdir()
    (zoo / "last.pt").write_bytes((run / "last.pt").read_bytes())
    monkeypatch.setattr(selection, "can_write", lambda folder: folder != zoo)
    asked = ["--eval.protocols=llcm-i2v", "--report.write=true", f"--run.root={mine}"]
    assert evaluate(zoo, *asked) == 0
    assert [path.name for path in zoo.iterdir()] == ["last.pt"]
    assert {row["protocol"] for row in json.loads((mine / "zoo-last" / "result.json").read_text())["evaluation"]} == {
        "llcm-i2v"
    }
    assert "last.pt, epoch 1" in page_of(mine / "zoo-last").text
    monkeypatch.setattr(selection, "can_write", lambda _: False)
    monkeypatch.setattr(eval_script, "open_content", lambda *_: pytest.fail("the work has begun"))
    assert_tells(refused(lambda _: evaluate(zoo, *asked), []), mine / "zoo-last", "--run.root")


def subject(run: Path) -> Subject:
    path = run / "last.pt"
    content = checkpoint.load_to_test(path)
    opened = open_content(path, content, config_for_checkpoint(["--engine.precision=fp32"], content, 0, ""))
    embeddings = opened.embed()
    rankings = {"llcm-i2v": opened.evaluator.rankings(embeddings.bn, "llcm-i2v")}
    assert isinstance(opened.model, Network)
    return of_network(opened.config, opened.evaluator, embeddings, rankings, path, "make report", opened.model)


def measured(subject: Subject) -> Measured:
    assert subject.network
    return subject.network.evaluator.measured(subject.network.model, "last.pt, epoch 1")


def test_names_with_markup_quotes_and_control_characters_are_text(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "<b>run\"'&"
    folder.mkdir()
    hostile = subject(run)
    test = replace(hostile.test, path_N=[f"{n}{HOSTILE}" for n in range(len(hostile.test.path_N))])
    hostile = replace(hostile, test=test, command=f"python {HOSTILE}")
    rows = json.loads((run / "result.json").read_text())["evaluation"]
    rows = [{**row, "dataset": HOSTILE} for row in rows]
    (folder / "result.json").write_text(json.dumps({"evaluation": rows}))
    write.write_report(folder, hostile, measured(hostile))
    page = page_of(folder)
    scripts = [tag for tag, _ in page.tags if tag == "script"]
    assert len(scripts) == 1  # the page's own
    assert not [attributes for _, attributes in page.tags if any(name.startswith("on") for name in attributes)]
    shown = r"<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>\x1b[2J\udcff.jpg".replace(r"\"", '"')
    assert page.text.count(shown) > 10
    assert "<b>run\"'&" in page.text
    assert page.tables["All results"][1][0] == shown
    for path in (folder / "report").glob("*.svg"):
        assert "<script" not in path.read_text()
    assert len(numbers(folder, "queries")) == len(test.person_N[test.modality_N == 1])


@pytest.mark.parametrize("fails", [1, 8, "page"])
def test_a_full_disk_leaves_the_report_that_was_there(
    tmp_path: Path, fails: int | str, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    write.write(run, "before", {"before.csv": b"0\n"})
    before = contents(run)
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        calls.append(name)
        figures = [call for call in calls if ".unfinished/" in call]
        if name.endswith("report.html.partial") if fails == "page" else len(figures) == fails:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    figures = {f"{number}.csv": b"1\n" for number in range(9)}
    message = refused(lambda _: bool(write.write(run, "<p>", figures)), [])
    assert "could not be written (No space left on device). Free some space" in message
    assert contents(run) == before
    monkeypatch.undo()
    write.write(run, "<p>", figures)
    assert {path.name for path in (run / "report").iterdir()} == set(figures)


def test_a_disk_that_is_full_at_a_trainings_end_takes_the_report_alone(
    beton_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def full(folder: Path, *_: Any) -> Path:
        raise ReportError(f"{folder / 'report.html'}: could not be written (No space left on device). Free some space")

    options = [*SMALL_RUN, f"--data.beton_root={beton_root}", f"--run.root={tmp_path}"]
    monkeypatch.setattr(train_ffcv, "write_report", full)
    assert train_ffcv.train(options) == 0
    assert "No space left on device). Free some space. The result stands" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "result.json").read_text())["complete"]
    monkeypatch.undo()
    assert train_ffcv.train(options) == 0  # finished before: it makes up for the report
    assert "last.pt, epoch 1" in page_of(tmp_path / "run").text


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def damage(run: Path, folder: Path) -> list[object]:
    (folder / "last.pt").write_bytes((run / "last.pt").read_bytes()[:100_000])
    return [f"--eval.checkpoint={folder / 'last.pt'}"]


def gone(run: Path, folder: Path) -> list[object]:
    (folder / "last.pt").write_bytes((run / "last.pt").read_bytes())
    return [f"--eval.checkpoint={folder / 'last.pt'}", f"--data.beton_root={folder / 'none'}"]


@pytest.mark.parametrize(
    ("broken", "words"),
    [(damage, r"last\.pt: not a readable checkpoint"), (gone, r"none/synthetic/test\.beton")],
)
def test_a_damaged_checkpoint_and_a_set_that_is_gone_are_told(
    run: Path, tmp_path: Path, refused: Refused, broken: Callable[[Path, Path], list[object]], words: str
) -> None:
    message = refused(eval_script.evaluate, [*broken(run, tmp_path), "--report.write=true"])
    assert re.search(words, message)
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt"}


def test_a_page_that_would_be_too_large_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"would have 6,000,000 bytes\. Leave the images out: --report\.images=false"):
        write.write(tmp_path, "x" * 6_000_000, {})
    assert not list(tmp_path.iterdir())


def test_missing_extras_are_named_in_one_line_each(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("dns.report.embedding_map", "dns.report.saliency", "dns.report.paper"):
        monkeypatch.setattr(f"{module}.available", lambda: False)
    assert evaluate(run, "--report.write=true", "--eval.protocols=llcm-i2v") == 0
    text = page_of(run).text
    for what in (
        "The map of embeddings needs scikit-learn",
        "Where the network looks needs captum",
        "PDF needs matplotlib",
    ):
        assert text.count(f"{what}, which is not installed here.") == 1
    assert not list((run / "report").glob("*.pdf"))


def test_with_the_extras_there_is_a_map_what_the_network_looks_at_and_pdf(reported: Path) -> None:
    for module in ("sklearn", "captum", "matplotlib"):
        pytest.importorskip(module)
    page = page_of(reported)
    assert "t-SNE of BN(Z) of 5 identities, perplexity" in page.text
    assert [a for _, a in page.tags if "with what the network looks at" in unescape(a.get("alt") or "")]
    files = {path.stem for path in (reported / "report").glob("*.svg")}
    assert {path.stem for path in (reported / "report").glob("*.pdf")} == files
    for path in (reported / "report").glob("*.pdf"):
        assert path.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("layout", ["sysu", "regdb", "market_sketch_1k", "pku_sketch"])
def test_every_layout_has_a_report(layout: str, converted_layout: Callable[[str], Path], tmp_path: Path) -> None:
    """With and without cameras, excluded images, means as queries and several trials; of an untrained network."""
    beton_root = converted_layout(layout).parent
    asked = make_config(
        f"--data.beton_root={beton_root}", f"--data.trial={int(layout == 'regdb')}", "--engine.device=cpu",
        "--model.architecture=resnet10_half", "--model.pretrained=none", "--eval.batch_size=16", "--data.workers=1",
        recipe=layout,
    )  # fmt: skip
    asked, world, engine = open_session(asked)
    evaluator = open_evaluator(asked, world, engine, {})
    model = engine.place(build_network(asked, 8)).eval()
    (tmp_path / "last.pt").write_bytes(b"weights")
    protocols, embeddings = protocols_of(asked.eval, evaluator.test_set), evaluator.embed(model)
    rankings = {name: evaluator.rankings(embeddings.bn, name) for name in protocols}
    made = evaluator.measured(model, "made")
    rows = [evaluator.row(found, name, "bn", made) for name, found in rankings.items()]
    results.add_rows(rows, tmp_path)
    shown = of_network(asked, evaluator, embeddings, rankings, tmp_path / "last.pt", "make report", model)
    write.write_report(tmp_path, shown, made)
    page = page_of(tmp_path)
    assert page.tables["All results"] == table(rows)
    assert {protocol for protocol in protocols if f"Ranked lists, {protocol}" in page.text} == set(protocols)
    assert {line["protocol"] for line in numbers(tmp_path, "thresholds")} == set(protocols)
    with_cameras = {"sysu": {"sysu-all", "sysu-indoor"}, "market_sketch_1k": {"mask1k"}}.get(layout, set())
    assert {path.stem.removeprefix("cameras-") for path in (tmp_path / "report").glob("cameras-*.csv")} == with_cameras
    assert "camera 0" not in (tmp_path / "report.html").read_text()  # which sets without cameras store


@pytest.fixture
def ranked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The protocol of every call of rank_trials, by whatever module makes it."""
    real, calls = ranking.rank_trials, []

    def counted(protocol: Protocol, *arguments: Any, **options: Any) -> list[ranking.Ranking]:
        calls.append(protocol.name)
        return real(protocol, *arguments, **options)

    for module in [module for name, module in sys.modules.items() if name.split(".")[0] in ("dns", "eval")]:
        if getattr(module, "rank_trials", None) is real:
            monkeypatch.setattr(module, "rank_trials", counted)
    return calls


def test_of_several_checkpoints_the_table_holds_all_and_the_figures_the_first(
    run: Path, tmp_path: Path, ranked: list[str]
) -> None:
    for seed in range(2):
        (tmp_path / str(seed)).mkdir()
        (tmp_path / str(seed) / "last.pt").write_bytes((run / "last.pt").read_bytes())
    options = ["--engine.precision=fp32", "--eval.protocols=llcm-i2v", "--eval.re_ranking=true", "--eval.features=z"]
    pattern = f"--eval.checkpoint={tmp_path / '{seed}' / 'last.pt'}"
    assert eval_script.evaluate([pattern, "--report.write=true", *options]) == 0
    assert ranked == ["llcm-i2v"] * 2  # each checkpoint once: the report ranks nothing again
    page = page_of(tmp_path)
    (row,) = page.tables["All results"][1:]
    assert ("last.pt of 2 runs" in row[-3], row[page.tables["All results"][0].index("trials")]) == (True, "20")
    assert "Of Z, last.pt of 2 runs" in page.text
    matched = [line for line in numbers(tmp_path, "queries") if line["AP"]]
    assert f"{10 * len(matched)} queries of every trial of llcm-i2v" in page.text
    one = subject(run)
    with pytest.raises(ReportError, match="lacks the rows"):
        write.write_report(tmp_path / "0", one, measured(one))
    with pytest.raises(ReportError, match=r"lacks the row of last\.pt, epoch 1 under llcm-i2v\. Test it again"):
        write.write_report(tmp_path, one, measured(one))


@pytest.mark.parametrize(
    ("camera", "modality", "text"),
    [(3, 0, "camera 3"), (6, 1, "camera 6"), (6, 2, "artist F"), (7, 2, "camera 7"), (0, 0, "camera 0"), (-1, 2, "")],
)
def test_a_sketch_is_an_artists(camera: int, modality: int, text: str) -> None:
    assert where(camera, modality) == text
