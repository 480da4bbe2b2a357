"""The page of the service in headless Chromium. Needs Debian's chromium."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dns.search.network import SearchNetwork
from tests.support.browser import Browser, browser, needs_chromium
from tests.support.served import Served, serving

pytestmark = [pytest.mark.slow, needs_chromium]
TOKEN = "a-token-of-this-test"
LISTS = "document.querySelectorAll('#results > .query').length"
CELLS = """[...document.querySelectorAll('#results > .query:first-child .hits')].map((list) =>
  [...list.querySelectorAll('.cell:not(.asked)')].map((cell) => cell.innerText.trim().split('\\n')))"""
ASKED = "[...document.querySelectorAll('#results > .query > p:first-child')].map((line) => line.innerText)"
TITLES = "[...document.querySelectorAll('#results > .query:first-child h3')].map((title) => title.innerText)"
IMAGES = """[...document.querySelectorAll('#results > .query:first-child img')].filter((image) =>
  image.complete && image.naturalWidth).length"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as shown:
        yield shown


def open_page(tab: Browser, served: Served) -> None:
    tab.open(f"http://127.0.0.1:{served.port}/")
    tab.wait("document.getElementById('status').textContent === 'Ready.'")


def check_shown(tab: Browser, answers: list[dict]) -> None:
    """The latest list on the page is what the JSON says, with an image for each hit and one of the query each time."""
    tab.wait(f"{IMAGES} === {sum(1 + len(one['hits']) for one in answers)}")
    assert tab.evaluate(TITLES) == [
        f"Among {one['searched']} {one['rows']} rows: {one['decision'].replace('unknown', 'cannot tell')}"
        for one in answers
    ]
    for cells, one in zip(tab.evaluate(CELLS), answers, strict=True):
        assert len(cells) == len(one["hits"])
        for cell, hit in zip(cells, one["hits"], strict=True):
            rank, similarity, strangers, camera = [text for text in cell if text][:4]
            assert (rank, similarity) == (str(hit["rank"]), f"similarity {hit['similarity']:.3f}")
            assert camera == hit["camera"]
            assert strangers.startswith("at most ") == hit["at_most"]
            digits = strangers.removeprefix("at most ").removesuffix(" strangers")
            assert float(digits) == pytest.approx(hit["strangers"], rel=0.05)  # two digits
        assert one["reason"] in tab.evaluate("document.querySelector('#results').innerText")


def test_a_dropped_photo_shows_the_hits_of_the_json(tab: Browser, served: Served, query: Path, photo: bytes) -> None:
    open_page(tab, served)
    tab.evaluate("document.querySelector('input[value=infrared]').click()")
    tab.drop(query)
    tab.wait(f"{LISTS} === 1")
    answers = served.search(photo).json["answers"]
    assert len(answers) == 2
    check_shown(tab, answers)
    filters = {"cameras": "cam1,cam4", "since": "2026-03-02T08:00", "until": "2026-03-03T08:00"}
    for name, value in filters.items():
        tab.evaluate(f"document.querySelector('[name={name}]').value = '{value}'")
    tab.choose(query)
    tab.wait(f"{LISTS} === 2")
    check_shown(tab, served.search(photo, **filters).json["answers"])
    assert tab.evaluate(ASKED) == [
        "query.png (infrared). Searched: cameras cam1, cam4, since 2026-03-02 08:00 UTC, until 2026-03-03 08:00 UTC.",
        "query.png (infrared). Searched: all cameras.",
    ]
    assert tab.hosts() <= {f"127.0.0.1:{served.port}", "blob", "data"}
    assert tab.complaints() == []
    tab.picture(400, 800)
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_file_that_is_no_image_gets_the_service_s_sentence(tab: Browser, served: Served, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no image")
    open_page(tab, served)
    tab.drop(tmp_path / "notes.png")
    problem = tab.wait("document.getElementById('problems').innerText")
    assert problem.startswith("notes.png: the image: cannot be decoded")
    (tmp_path / "large.png").write_bytes(bytes(30_000_000))
    tab.drop(tmp_path / "large.png")
    problem = tab.wait("document.getElementById('problems').innerText.startsWith('large') && problems.innerText")
    assert problem.startswith("large.png: the image is larger than 1,000,000 bytes")


def test_a_service_that_has_ended_is_told(
    tab: Browser, footage_index: Path, network: SearchNetwork, query: Path
) -> None:
    with serving(footage_index, network) as ended:
        open_page(tab, ended)
    tab.drop(query)
    problem = tab.wait("document.getElementById('problems').innerText")
    assert problem.startswith("query.png: the service does not answer.")


def test_the_page_asks_for_the_token_once(
    tab: Browser, footage_index: Path, network: SearchNetwork, query: Path
) -> None:
    with serving(footage_index, network, token=TOKEN, local=False) as locked:
        tab.open(f"http://127.0.0.1:{locked.port}/")
        tab.wait("!document.getElementById('unlock').hidden")
        assert tab.evaluate("document.getElementById('ask').hidden")
        assert tab.complaints() == []
        unlock = "document.getElementById('token').value = '{}'; document.querySelector('#unlock button').click()"
        tab.evaluate(unlock.format("wrong-and-as-long-as"))
        assert "token" in tab.wait("document.getElementById('problems').innerText")
        tab.evaluate(unlock.format(TOKEN))
        tab.wait("document.getElementById('status').textContent === 'Ready.'")
        tab.open(f"http://127.0.0.1:{locked.port}/")  # the tab keeps it
        tab.wait("document.getElementById('status').textContent === 'Ready.'")
        tab.drop(query)
        tab.wait(f"{LISTS} === 1")
        tab.wait(f"{IMAGES} > 2")
