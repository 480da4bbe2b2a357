"""The page of an answer: what it says of each hit, hostile names as text, and what is missing said to be missing."""

import base64
import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dns.report.html import jpeg
from dns.search import page
from dns.search.answer import Answer
from dns.search.page import About, Query, write_page
from dns.search.rows import Row
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import ReportError
from tests.support.made_answers import ABOUT, BEGIN_MS, made_answer, made_hit
from tests.support.read_page import Page, read_page
from tests.support.refusals import refusal

HOSTILE = "</title><script>alert('x')</script>&\"'\x07<img src=x onerror=alert(1)>"
CAPTION = "All hits among the visible rows"
QUERY = Query("photo.png", Modality.INFRARED, np.zeros((64, 32, 3), np.uint8), "Only camera cam1 was searched.")
Show = Callable[..., Page]


@pytest.fixture
def show(tmp_path: Path) -> Show:
    """show(answer, ...): the page, read."""

    def write(*answers: Answer, query: Query = QUERY, about: About = ABOUT) -> Page:
        write_page(tmp_path / "answer.html", query, answers, about)
        assert os.listdir(tmp_path) == ["answer.html"]
        return read_page((tmp_path / "answer.html").read_text(encoding="utf-8"))

    return write


def images(found: Page) -> list[dict[str, str | None]]:
    return [attributes for tag, attributes in found.tags if tag == "img"]


def test_a_hit_is_shown_with_all_that_is_known_of_it(show: Show) -> None:
    hit = made_hit(1)
    found = show(made_answer(hit))
    for said in (
        "Among 1,234 visible rows: somebody", "The best hit has a similarity of 0.99.", "similarity 0.990",
        "0.02 strangers", "2026-03-02 08:15:42 to 08:15:43 UTC", "2 images", "photo.png", "infrared", "Station",
        "Only camera cam1 was searched.", "Embedded by best.pt, epoch 60.", "It is of cameras cam1 to cam9.",
        "Nobody's terms apply.", "1,454", "1 %",
    ):  # fmt: skip
        assert said in found.text, said
    asked, shown = images(found)
    assert asked["src"] == "data:image/jpeg;base64," + base64.b64encode(jpeg(QUERY.picture, 128)).decode()
    assert shown["src"] == "data:image/jpeg;base64," + base64.b64encode(hit.thumbnail).decode()
    assert shown["alt"] == "rank 1, cam1, cam1/frame000942.png, box 12 25 157 317.5"
    assert ("li", {"class": "cell", "title": shown["alt"]}) in found.tags
    header, line = found.tables[CAPTION]
    assert dict(zip(header, line, strict=True)) == {
        "rank": "1", "similarity": "0.990", "strangers": "0.02", "camera": "cam1",
        "first seen (UTC)": "2026-03-02 08:15:42", "last seen (UTC)": "2026-03-02 08:15:43", "images": "2",
        "track": "cam1-0007", "image": "cam1/frame000942.png", "box": "12 25 157 317.5", "row": "1001",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("strangers", "at_most", "said", "listed"),
    [
        (0.02, False, "0.02 strangers", "0.02"),
        (0.4, True, "at most 0.4 strangers", "0.4 or fewer"),
        (None, False, "not calibrated", ""),
        (0.0, True, "at most 0.0001 strangers", "0.0001 or fewer"),
        (0.00003, False, "at most 0.0001 strangers", "0.0001 or fewer"),
        (0.00042, False, "0.00042 strangers", "0.00042"),
        (7.654, False, "7.7 strangers", "7.7"),
        (1234.5, False, "1234 strangers", "1234"),
    ],
)
def test_strangers_are_said_in_two_digits(
    show: Show, strangers: float | None, at_most: bool, said: str, listed: str
) -> None:
    found = show(made_answer(made_hit(1, strangers=strangers, at_most=at_most)))
    assert f"similarity 0.990{said}cam1" in found.text
    assert found.tables[CAPTION][1][2] == listed


@pytest.mark.parametrize(
    ("decision", "said"), [("somebody", "somebody"), ("nobody", "nobody"), ("unknown", "cannot tell")]
)
def test_the_decision_stands_in_the_heading_and_among_the_facts(show: Show, decision: str, said: str) -> None:
    found = show(replace(made_answer(made_hit(1)), decision=decision))
    assert f"Among 1,234 visible rows: {said}" in found.text
    assert f"visible rows{said}" in found.text
    assert ("most similar ones all the same" in found.text) == (decision == "nobody")


def test_no_row_was_found(show: Show) -> None:
    found = show(Answer(Modality.INFRARED, 0, "nobody", 0.7, "No row fits the filters.", []))
    assert "Among 0 infrared rows: nobody" in found.text
    assert "No row fits the filters." in found.text
    assert not found.tables
    assert not [tag for tag, _ in found.tags if tag in ("svg", "img")]


def test_it_says_where_its_numbers_hold(show: Show) -> None:
    hits = [made_hit(1, strangers=None)]
    assert show(made_answer(made_hit(1))).text.count(page.PROMISE) == 2  # once at the top, once below the hits
    found = show(made_answer(*hits, decision="unknown"), about=replace(ABOUT, calibration=None))
    assert page.NO_CALIBRATION in found.text
    assert page.PROMISE not in found.text
    assert "FPIR" not in found.text


def test_each_modality_has_a_section_of_its_own(show: Show) -> None:
    found = show(made_answer(made_hit(1)), made_answer(made_hit(1), modality=Modality.INFRARED, decision="nobody"))
    assert list(found.tables) == [CAPTION, "All hits among the infrared rows"]
    links = [attributes["href"] for tag, attributes in found.tags if tag == "a"]
    assert links == ["#visible", "#infrared"]
    names = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert [f"#{name}" for name in names] == links


def test_hostile_names_are_text(show: Show) -> None:
    hit = made_hit(1, camera=HOSTILE, image=HOSTILE)
    hit = replace(hit, row=hit.row._replace(track=HOSTILE))
    about = About(HOSTILE, 1, HOSTILE, 0.01, HOSTILE, HOSTILE)
    answer = replace(made_answer(hit), reason=HOSTILE)
    found = show(answer, query=replace(QUERY, file=HOSTILE, filters=HOSTILE), about=about)
    tags = [tag for tag, _ in found.tags]
    assert (tags.count("script"), tags.count("img"), tags.count("title")) == (1, 2, 1 + 1)  # the page's, and the bar's
    assert not [attributes for _, attributes in found.tags if "onerror" in attributes]
    shown = HOSTILE.replace("\x07", "\\x07")
    assert found.tables[CAPTION][1][7:9] == [shown, shown]
    assert "\x07" not in found.text


def test_what_is_unknown_is_left_out_or_said(show: Show) -> None:
    hit = made_hit(3, first_ms=None, thumbnail=False)
    hit = replace(hit, row=Row(17, "cam1", Modality.VISIBLE, None, None, 1, "", "a.png", None))
    found = show(made_answer(hit), query=Query("photo.png", Modality.VISIBLE), about=replace(ABOUT, terms=""))
    assert images(found) == []
    for said in ("row 17", "time not known", "1 image", "Of unknown time: rank 3 (cam1)"):
        assert said in found.text, said
    assert ("li", {"class": "cell", "title": "rank 3, cam1, a.png"}) in found.tags
    assert found.tables[CAPTION][1][4:] == ["", "", "1", "", "a.png", "", "17"]


def test_fifty_hits_over_months_stay_below_a_megabyte(show: Show, tmp_path: Path) -> None:
    hits = [made_hit(n, camera=f"cam{n % 3}", first_ms=BEGIN_MS + n * 9 * 86_400_000) for n in range(1, 51)]
    found = show(made_answer(*hits))
    assert len(images(found)) == 51
    assert [line[0] for line in found.tables[CAPTION][1:]] == [str(n) for n in range(1, 51)]
    assert (tmp_path / "answer.html").stat().st_size < 1_000_000


def test_beyond_the_bytes_of_a_page_hits_show_the_number_of_their_row(
    show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    hits = [made_hit(n) for n in (1, 2, 3)]
    one = len(base64.b64encode(hits[0].thumbnail)) + 100
    monkeypatch.setattr(page, "MOST_BYTES", 2 * one)
    found = show(made_answer(*hits))
    assert len(images(found)) == 1 + 2
    assert "row 1003" in found.text


def test_an_old_page_stays_where_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "answer.html"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with refusal(ReportError, path, "space"):
        write_page(path, QUERY, [made_answer(made_hit(1))], ABOUT)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["answer.html"]
