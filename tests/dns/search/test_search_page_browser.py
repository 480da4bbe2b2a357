"""The page of an answer in headless Chromium, also as narrow as a phone. Needs Debian's chromium."""

from collections.abc import Iterator

import numpy as np
import pytest

from dns.search.page import Query, write_page
from ffcv_convert.beton.labels import Modality
from tests.support.browser import Browser, browser, needs_chromium
from tests.support.made_answers import ABOUT, BEGIN_MS, made_answer, made_hit

pytestmark = [pytest.mark.slow, needs_chromium]
NARROW_PX = 360
LONG = "a-camera-with-a-long-name-" * 8
CUT_OFF = """[...document.querySelectorAll("header *, main *")].filter((element) => {
  const { left, right } = element.getBoundingClientRect();
  const scrolls = element.closest(".scroll") && !element.matches(".scroll");
  return !scrolls && (left < 0 || right > document.documentElement.clientWidth + 0.5);
}).map((element) => element.outerHTML.slice(0, 100))"""
COLUMN = "[...document.querySelectorAll('tbody tr')].map((row) => row.cells[0].textContent)"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The page of eight hits, of which the first is the last in time."""
    path = tmp_path_factory.mktemp("page") / "answer.html"
    hits = [
        made_hit(
            rank,
            camera=(LONG, "cam2", "cam3")[rank % 3],
            first_ms=BEGIN_MS - rank * 86_400_000,
            thumbnail=rank != 5,
            image=f"{LONG}/{rank}.png",
        )
        for rank in range(1, 9)
    ]
    picture = np.full((128, 64, 3), 90, np.uint8)
    write_page(path, Query(f"{LONG}.png", Modality.INFRARED, picture), [made_answer(*hits)], ABOUT)
    with browser(tmp_path_factory.mktemp("profile")) as shown:
        shown.open(f"file://{path}")
        yield shown


@pytest.mark.parametrize("width_px", [NARROW_PX, 1280])
def test_nothing_is_cut_off(tab: Browser, width_px: int) -> None:
    tab.call("Emulation.setDeviceMetricsOverride", width=width_px, height=800, deviceScaleFactor=1, mobile=False)
    scroll_px, shown_px, window_px = tab.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth, innerWidth]"
    )
    assert window_px == width_px
    assert scroll_px == shown_px
    assert tab.evaluate(CUT_OFF) == []


def test_images_load(tab: Browser) -> None:
    widths = tab.evaluate("[...document.images].map((image) => image.complete && image.naturalWidth)")
    assert widths == [64] * 8  # the query and seven hits


def test_the_table_is_sorted_by_time(tab: Browser) -> None:
    assert tab.evaluate(COLUMN) == [str(rank) for rank in range(1, 9)]
    tab.evaluate("document.querySelector('th:nth-child(5) button').click()")
    assert tab.evaluate(COLUMN) == [str(rank) for rank in range(8, 0, -1)]


def test_it_asks_nobody_and_complains_of_nothing(tab: Browser) -> None:
    """Of all that the tests before this one did. A file and what stands in the page have no host."""
    assert tab.hosts() <= {"", "data"}
    assert tab.complaints() == []
