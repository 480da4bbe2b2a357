"""Rows and tables: numbers by hand, how each came about, and old rows beside new ones."""

import errno
import json
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dns.evaluation import results
from dns.evaluation.metrics import RANKS, Metrics
from dns.evaluation.results import add_rows, merge, read_json, read_markdown, read_rows, replacing, write_json, writing
from dns.evaluation.tables import joined, make_row, markdown, screen, table, together
from ffcv_convert.common.errors import ReportError
from tests.support.refusals import assert_tells, refusal

HOW = {
    "dataset": "llcm",
    "feature": "BN(Z)",
    "flip": "published",
    "re_ranking": "off",
    "checkpoint": "last.pt, epoch 9",
}


def metrics(rank1: float, mAP: float = 0.5) -> Metrics:
    return Metrics([rank1] + [1.0] * (RANKS - 1), mAP, 0.25, 0.1)


def row(rank1: float = 0.5, protocol: str = "llcm-i2v", **how: str) -> Mapping[str, Any]:
    return make_row(protocol, [metrics(rank1)], **{**HOW, **how})


def test_a_row_is_mean_and_deviation_over_trials() -> None:
    made = make_row("llcm-i2v", [metrics(0.2, 0.3), metrics(0.6, 0.3)], **HOW)
    assert (made["rank1"], made["rank1_std"], made["rank5"]) == (pytest.approx(0.4), pytest.approx(0.2), 1.0)
    assert (made["mAP"], made["mAP_std"], made["mINP"], made["chance"]) == (0.3, 0.0, 0.25, 0.1)
    assert (made["trials"], made["feature"], [trial["cmc"][0] for trial in made["per_trial"]]) == (
        2,
        "BN(Z)",
        [0.2, 0.6],
    )


def test_the_table_names_each_rows_feature() -> None:
    header, *cells = table([row(0.5), row(0.25, feature="Z", re_ranking="k-reciprocal")])
    named = [dict(zip(header, line, strict=True)) for line in cells]
    assert [line["feature"] for line in named] == ["BN(Z)", "Z"]
    assert [line["re-ranking"] for line in named] == ["off", "k-reciprocal"]
    assert [line["rank1"] for line in named] == ["50.00 ± 0.00", "25.00 ± 0.00"]
    for text in (screen([row(feature="Z")], "title"), markdown([row(feature="Z")], "title")):
        assert "feature" in text
        assert "| Z " in text


@pytest.mark.parametrize(
    "other",
    [
        {"feature": "Z"},
        {"re_ranking": "k-reciprocal"},
        {"flip": "off"},
        {"checkpoint": "best.pt, epoch 3"},
        {"protocol": "llcm-v2i"},
        {"dataset": "market_sketch_1k, styles A"},
        {"images": "b0"},
        {"weights": "b0"},
    ],
)
def test_a_row_that_came_about_otherwise_is_kept(other: dict[str, str]) -> None:
    old, new = row(0.5, **other), row(0.7)
    assert merge([old], [new]) == [old, new]


def test_a_row_says_how_many_queries_count() -> None:
    """Of several trials, the one that counts the fewest; a row of an earlier version does not say."""
    trials = [replace(metrics(0.5), matched=matched, queries=30) for matched in (30, 3, 29)]
    made = make_row("llcm-i2v", trials, **{**HOW, "images": "0123456789", "weights": "abcdef0123"})
    assert (made["matched"], made["queries"]) == (3, 30)
    header, *cells = table([made, row()])
    counted, old = (dict(zip(header, line, strict=True)) for line in cells)
    assert (counted["matched queries"], old["matched queries"]) == ("3 / 30", "")
    assert (counted["images"], counted["weights"]) == ("01234567", "abcdef01")


@pytest.mark.parametrize(
    ("dataset", "matched", "warns"),
    [
        ("custom", 3, True),
        ("custom", 94, True),
        ("custom", 95, False),
        ("sysu", 3, False),  # a published protocol counts as it does
        ("sysu (synthetic)", 3, False),
        ("market_sketch_1k, styles A tested on B", 3, False),
        ("sysu (incomplete)", 3, True),
    ],
)
def test_a_row_of_few_queries_is_warned_of(
    dataset: str, matched: int, warns: bool, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    made = make_row("regdb-t2v", [replace(metrics(0.5), matched=matched, queries=100)], **{**HOW, "dataset": dataset})
    add_rows([made], tmp_path)
    assert (f"{100 - matched} of 100 queries" in capsys.readouterr().err) == warns


@pytest.mark.parametrize(("dataset", "seen", "warns"), [("custom", 7, True), ("custom", 0, False), ("sysu", 7, False)])
def test_a_row_of_images_that_training_saw_is_warned_of(
    dataset: str, seen: int, warns: bool, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    add_rows([{**row(dataset=dataset), "also_trained": seen}], tmp_path)
    assert (f"{seen} of the test images" in capsys.readouterr().err) == warns


def test_a_row_of_an_earlier_version_gives_way_to_the_same_test() -> None:
    old, new = row(0.5), row(0.5, weights="b0", images="c0")
    assert merge([old], [new]) == [new]
    assert merge([new], [row(0.5, weights="b1", images="c0")]) == [new, row(0.5, weights="b1", images="c0")]


def test_a_row_over_several_networks_says_what_they_have_in_common() -> None:
    one = {"world": 1, "also_trained": 2, "sources": "a0", "dataset": "custom"}
    assert together([one, one]) == {"world": 1, "also_trained": 2, "sources": "a0"}
    other = {**one, "also_trained": 5, "sources": "b0", "started_from": "last.pt"}
    assert together([one, other]) == {
        "world": 1, "started_from": "several", "also_trained": 5, "sources": "several",
    }  # fmt: skip
    assert together([{"also_trained": None}, {"also_trained": None}]) == {"also_trained": None}


def test_several_digests_give_one() -> None:
    assert joined(["a", "a"]) == "a"
    assert joined(["a", "b"]) not in ("a", "b", joined(["b", "a"]))


def test_a_new_row_stands_where_the_old_one_stood() -> None:
    """The last epoch's row comes first, however often it is tested again: dns/series.py reads that one."""
    last, best, again, added = row(0.5), row(0.6, checkpoint="best.pt"), row(0.55), row(0.4, feature="Z")
    assert merge([last, best], [added, again]) == [again, best, added]
    assert merge([], [last, best]) == [last, best]
    assert merge([last, best], []) == [last, best]


def test_json_is_written_whole_and_without_nan(tmp_path: Any) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"a": 1.5})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert path.read_text() == '{\n "a": 1.5\n}\n'
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


def test_a_finished_runs_result_is_read_and_shown_without_its_table(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    assert read_json(path) == {}
    add_rows([row(), row(0.7, feature="Z")], tmp_path)
    shown = (tmp_path / "result.md").read_text()
    (tmp_path / "result.md").unlink()
    assert read_markdown(path) == shown
    assert read_rows(path, "evaluation") == [row(), row(0.7, feature="Z")]
    for old in ({key: value for key, value in row().items() if key != "flip"}, {**row(), "later": {"a": None}}):
        path.write_text(json.dumps({"evaluation": [old]}))
        assert read_rows(path, "evaluation") == [old]
        assert "50.00" in read_markdown(path)


@pytest.mark.parametrize("text", ["", "{", "[1]", "5", '{"a": '])
def test_a_result_that_cannot_be_read_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text)
    for read in (lambda: read_json(path), lambda: add_rows([row()], tmp_path)):
        with refusal(ReportError, path):
            read()
    assert path.read_text() == text


@pytest.mark.parametrize("text", ["{}", '{"steps": 1}', '{"steps": 1, "training": [], "evaluation": []}'])
def test_a_result_without_the_rows_that_are_asked_for_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    for read in (
        lambda: read_rows(tmp_path / "result.json", "training"),
        lambda: read_markdown(tmp_path / "result.json"),
    ):
        with refusal(ReportError, tmp_path / "result.json", "rows"):
            read()


def test_names_neither_command_a_terminal_nor_break_a_table() -> None:
    hostile = row(dataset="a\x1b]0;owned\x07|b\nc", checkpoint="\x9b31m|, epoch 9", protocol="\u202ex")
    for make in (screen, markdown):
        text = make([hostile], "t\x1b[2J\n# u")
        assert all(char.isprintable() for char in text.replace("\n", ""))
        assert len(text.splitlines()) == len(make([row()], "t").splitlines())
    header, *_, line = markdown([hostile], "t").splitlines()[-3:]
    assert len(re.findall(r"(?<!\\)\|", line)) == header.count("|")
    assert r"a\x1b]0;owned\x07\|b\nc" in line


def test_a_file_that_another_process_writes_or_that_is_a_link_is_named(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with replacing(path), refusal(ReportError, path, "another process"):
        write_json(path, {})
    (tmp_path / "result.json.partial").symlink_to("dear")
    with refusal(ReportError, tmp_path / "result.json.partial", "link"):
        write_json(path, {})


@pytest.mark.parametrize(
    ("number", "advised"),
    [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EROFS, False), (errno.EACCES, False), (errno.EIO, False)],
)
def test_space_is_to_be_freed_only_where_it_lacks(tmp_path: Path, number: int, advised: bool) -> None:
    with (
        refusal(ReportError, tmp_path / "result.json", os.strerror(number)) as caught,
        writing(tmp_path / "result.json"),
    ):
        raise OSError(number, os.strerror(number))
    assert ("space, then" in str(caught.value)) == advised


@contextmanager
def held(folder: Path, until: threading.Event) -> Iterator[None]:
    """Another holds the lock of results in `folder`: a thread here, for a lock belongs to who opened the folder."""
    has_it = threading.Event()

    def hold() -> None:
        with results.results_lock(folder):
            has_it.set()
            until.wait(60)

    other = threading.Thread(target=hold)
    other.start()
    assert has_it.wait(20)
    yield
    until.set()
    other.join()


def test_another_writer_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    until = threading.Event()
    with held(tmp_path / "run", until):
        threading.Timer(0.3, until.set).start()
        add_rows([row()], tmp_path / "run")
        assert until.is_set()
    said = capsys.readouterr()
    assert_tells(said.err, "note", tmp_path)
    assert "written" in said.out


def test_a_writer_that_hangs_is_not_waited_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "WAIT_S", 0.2)
    with held(tmp_path / "run", threading.Event()):
        begin = time.monotonic()
        with refusal(ReportError, tmp_path, "0.2 s"):
            add_rows([row()], tmp_path / "run")
        assert time.monotonic() - begin < 5
    add_rows([row()], tmp_path / "run")
