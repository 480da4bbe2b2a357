"""The timeline: bars stand at their times, none lies on another, ticks are round and few."""

import itertools
import re
from datetime import datetime, timezone
from xml.etree import ElementTree

import numpy as np
import pytest

from dns.report.svg import COLOURS
from dns.search.answer import Hit
from dns.search.moments import MOST_TICKS, moment, ticks, when
from dns.search.timeline import LEAST, WEAKEST, WIDTH, timeline
from ffcv_convert.beton.labels import Modality
from tests.support.made_answers import BEGIN_MS, made_hit

SVG = "{http://www.w3.org/2000/svg}"
HOUR_MS, DAY_MS = 3_600_000, 86_400_000


def drawing(*hits: Hit, modality: Modality = Modality.VISIBLE) -> ElementTree.Element:
    found = re.search(r"<svg .*</svg>", timeline(hits, modality))
    assert found
    return ElementTree.fromstring(found[0])


def bars(root: ElementTree.Element) -> dict[int, dict[str, float]]:
    """Rank -> edges and strength of each bar."""
    found = {}
    for one in root.iter(f"{SVG}rect"):
        title = one.findtext(f"{SVG}title") or ""
        found[int(title.split(",")[0].removeprefix("rank "))] = {
            name: float(one.attrib[name]) for name in ("x", "y", "width", "fill-opacity")
        }
    return found


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp() * 1000)


def test_bars_stand_where_their_times_are() -> None:
    """The axis runs from 1/30 of the span before the first hit to as much after the last one."""
    hits = [
        made_hit(1, first_ms=BEGIN_MS, lasts_ms=15 * HOUR_MS),
        made_hit(2, first_ms=BEGIN_MS + 15 * HOUR_MS, lasts_ms=15 * HOUR_MS, camera="cam2"),
    ]
    found = bars(drawing(*hits))
    plot = WIDTH - 10 - 34
    assert found[1]["x"] == pytest.approx(10 + plot / 32, abs=0.1)
    assert found[1]["width"] == found[2]["width"] == pytest.approx(15 / 32 * plot, abs=0.1)
    assert found[2]["x"] == pytest.approx(10 + 16 / 32 * plot, abs=0.1)
    assert found[1]["y"] < found[2]["y"]  # the camera of the best hit is at the top


def test_a_single_moment_has_a_bar_in_the_middle_and_ticks() -> None:
    root = drawing(made_hit(1, lasts_ms=0))
    (bar,) = bars(root).values()
    assert bar["width"] == LEAST
    assert bar["x"] + LEAST / 2 == pytest.approx(10 + (WIDTH - 44) / 2, abs=0.1)
    labels = [text.text for text in root.iter(f"{SVG}text")]
    assert labels[:3] == ["08:15:20", "2 Mar 2026", "08:15:30"]


def test_the_colour_is_the_modality_s_and_weaker_by_rank() -> None:
    root = drawing(*(made_hit(rank) for rank in (1, 2, 3)), modality=Modality.INFRARED)
    assert {one.attrib["fill"] for one in root.iter(f"{SVG}rect")} == {COLOURS[Modality.INFRARED]}
    strengths = [bar["fill-opacity"] for _, bar in sorted(bars(root).items())]
    assert strengths == [1, pytest.approx((1 + WEAKEST) / 2, abs=0.01), WEAKEST]


@pytest.mark.parametrize("span_ms", [0, 20 * HOUR_MS, 200 * DAY_MS])
def test_no_bar_and_no_rank_lies_on_another(span_ms: int) -> None:
    rng = np.random.default_rng(0)
    hits = [
        made_hit(
            rank,
            camera=f"cam{rng.integers(3)}",
            first_ms=BEGIN_MS + int(rng.integers(span_ms + 1)),
            lasts_ms=int(rng.integers(span_ms // 8 + 1)),
        )
        for rank in range(1, 51)
    ]
    root = drawing(*hits)
    found = bars(root)
    assert sorted(found) == list(range(1, 51))
    rank_at = {text.text: float(text.attrib["x"]) for text in root.iter(f"{SVG}text") if (text.text or "").isdigit()}
    ends = {rank: rank_at[str(rank)] + 6.5 * len(str(rank)) for rank in found}
    for one, other in itertools.combinations(found, 2):
        if found[one]["y"] == found[other]["y"]:
            first, second = sorted((one, other), key=lambda rank: found[rank]["x"])
            assert ends[first] <= found[second]["x"]
    assert max(ends.values()) <= WIDTH
    assert min(bar["x"] for bar in found.values()) >= 0


def test_hits_of_unknown_time_are_named_below() -> None:
    some = timeline([made_hit(1), made_hit(2, first_ms=None, camera="cam8")], Modality.VISIBLE)
    assert "Of unknown time: rank 2 (cam8)" in some
    assert some.count("<rect") == 1
    none = timeline([made_hit(2, first_ms=None, camera="<b>")], Modality.VISIBLE)
    assert "Of unknown time: rank 2 (&lt;b&gt;)" in none
    assert "<svg" not in none
    assert "unknown" not in timeline([made_hit(1)], Modality.VISIBLE)


def test_a_long_camera_name_is_cut_off_where_it_would_leave_the_figure() -> None:
    name = "camera-" + "x" * 3000
    shown = [text.text or "" for text in drawing(made_hit(1, camera=name)).iter(f"{SVG}text")]
    assert f"{name[:79]}…" in shown
    assert max(map(len, shown)) == 80


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        ("2026-03-02T08:15:12", "2026-03-02T08:16:12",
         [("08:15:20", "2 Mar 2026"), ("08:15:30", ""), ("08:15:40", ""), ("08:15:50", ""), ("08:16:00", ""),
          ("08:16:10", "")]),
        ("2026-03-02T07:30:00", "2026-03-03T04:10:00",
         [("09:00", "2 Mar 2026"), ("12:00", ""), ("15:00", ""), ("18:00", ""), ("21:00", ""),
          ("00:00", "3 Mar 2026"), ("03:00", "")]),
        ("2026-12-29T23:00:00", "2027-01-03T12:00:00",
         [("30 Dec", "2026"), ("31 Dec", ""), ("1 Jan", "2027"), ("2 Jan", ""), ("3 Jan", "")]),
        ("2026-03-20T00:00:00", "2026-07-20T00:00:00",
         [("Apr", "2026"), ("May", ""), ("Jun", ""), ("Jul", "")]),
        ("2025-11-20T00:00:00", "2026-07-20T00:00:00",
         [("Jan", "2026"), ("Mar", ""), ("May", ""), ("Jul", "")]),
    ],
)  # fmt: skip
def test_ticks_are_round(low: str, high: str, labels: list[tuple[str, str]]) -> None:
    found = list(ticks(at(low), at(high)))
    assert [one[1:] for one in found] == labels


@pytest.mark.parametrize("begin_ms", [BEGIN_MS, -BEGIN_MS])
def test_every_span_has_two_to_seven_ticks_inside_it(begin_ms: int) -> None:
    """From a minute to three thousand years."""
    for span_ms in (60_000 * 1.07**power for power in range(250)):
        low, high = begin_ms, begin_ms + int(span_ms)
        found = [time_ms for time_ms, _, _ in ticks(low, high)]
        assert 2 <= len(found) <= MOST_TICKS, span_ms
        assert low <= found[0] < found[-1] <= high
        assert found == sorted(set(found))


def test_times_are_written_in_utc() -> None:
    assert moment(at("2026-03-02T08:15:42") + 999) == "2026-03-02 08:15:42"
    assert when(made_hit(1).row) == "2026-03-02 08:15:42 to 08:15:43 UTC"
    assert when(made_hit(1, lasts_ms=0).row) == "2026-03-02 08:15:42 UTC"
    assert when(made_hit(1, lasts_ms=DAY_MS).row) == "2026-03-02 08:15:42 to 2026-03-03 08:15:42 UTC"
    assert when(made_hit(1, first_ms=None).row) == ""


def test_a_time_in_wrong_units_is_shown_and_stops_nothing() -> None:
    """Milliseconds that were given as seconds are in the year 58136."""
    far = made_hit(1, first_ms=1000 * BEGIN_MS)
    assert when(far.row).startswith("58136-")
    assert len(bars(drawing(far, made_hit(2)))) == 2
