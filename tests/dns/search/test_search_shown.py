"""python -m dns.search search: what it shows on the screen, on its page, and where it found nobody."""

import json
from pathlib import Path

import pytest

from dns.search.__main__ import main
from dns.search.page import PROMISE
from dns.search.times import to_ms
from tests.dns.search.conftest import Add
from tests.support.read_page import read_page
from tests.support.search_commands import CPU, ask, lines_of, some_boxes


def test_nothing_fits_the_filters(
    footage_index: Path, query: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    asked = "--modality=infrared", "--since=2031-01-01", f"--page={tmp_path / 'page.html'}"
    assert ask(capsys, footage_index, query, *asked)["answers"] == []
    assert main(["search", str(footage_index), str(query), *asked, *CPU]) == 0
    assert "No row fits the filters: nobody" in capsys.readouterr().out
    (one,) = ask(capsys, footage_index, query, *asked, "--rows=visible")["answers"]
    assert (one["searched"], one["decision"], one["hits"]) == (0, "nobody", [])
    assert "No row fits the filters." in read_page((tmp_path / "page.html").read_text()).text


def test_the_screen_shows_what_the_json_says_and_the_page_shows_the_query_and_the_hits(
    footage_index: Path, query: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    asked = ["--modality=infrared", "--hits=4", "--cameras=cam1,cam2", "--since=2026-03-02T08:00"]
    answers = ask(capsys, footage_index, query, *asked)["answers"]
    page = tmp_path / "page.html"
    assert main(["search", str(footage_index), str(query), *asked, f"--page={page}", *CPU]) == 0
    shown = capsys.readouterr().out
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown.splitlines() if line.startswith("|")]
    lines = [line for line in cells if line[0] != "rank"]
    hits = [hit for one in answers for hit in one["hits"]]
    assert len(lines) == len(hits) == 8
    for line, hit in zip(lines, hits, strict=True):
        assert [line[0], line[1], line[3], line[7], line[8]] == [
            str(hit["rank"]), f"{hit['similarity']:.3f}", hit["camera"], str(hit["number"]), hit["image"],
        ]  # fmt: skip
        assert to_ms(line[4]) == hit["first_ms"]
    assert all(one["reason"] in shown for one in answers)
    assert PROMISE in shown
    assert f"written: {page}" in shown
    found = read_page(page.read_text())
    assert len([tag for tag, _ in found.tags if tag == "img"]) == 2 * (1 + 4)  # the query stands beside its hits
    assert "cameras cam1, cam2, since 2026-03-02 08:00:00" in found.text
    assert "The rows were embedded by last.pt, epoch 1" in found.text
    assert [line[0] for table in found.tables.values() for line in table[1:]] == list("12341234")


def test_an_index_that_is_not_calibrated_cannot_tell(
    add: Add, footage: Path, query: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = add(*some_boxes(tmp_path / "a.csv", footage))
    (one,) = ask(capsys, folder, query, "--modality=infrared", f"--page={tmp_path / 'page.html'}")["answers"]
    assert (one["decision"], one["threshold"], one["hits"][0]["strangers"]) == ("unknown", None, None)
    assert main(["search", str(folder), str(query), "--modality=infrared", *CPU]) == 0
    shown = capsys.readouterr().out
    assert "Among 4 visible rows: cannot tell" in shown
    assert PROMISE not in shown


def test_names_from_a_list_do_no_harm_on_the_screen(
    add: Add, footage: Path, query: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A camera may be called anything; what a terminal would obey is shown escaped."""
    line = {**lines_of(footage)[0], "camera": "cam\x1b[2J"}
    (tmp_path / "a.csv").write_text(",".join(line) + "\n" + ",".join(line.values()) + "\n")
    folder = add(f"--boxes={tmp_path / 'a.csv'}", f"--frames={footage}")
    assert main(["search", str(folder), str(query), "--modality=infrared", *CPU]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "cam\\x1b[2J" in shown
    assert main(["search", str(folder), str(query), "--modality=infrared", "--json", *CPU]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert json.loads(printed)["answers"][0]["hits"][0]["camera"] == "cam\x1b[2J"
