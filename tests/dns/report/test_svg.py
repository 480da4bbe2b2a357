"""Figures: axes that hold their values, marks where the numbers are, names as text, and CSV with all digits."""

import csv
import io
import re
from xml.etree import ElementTree

import pytest

from dns.report import svg
from dns.report.figures import Chart, Figure, Grid, Series, table_of, to_csv
from dns.report.svg import scale, share

HOSTILE = "</title><script>alert('x')</script>&\"\x07"


def chart(kind: str = "line", **more: object) -> Chart:
    series = [Series(HOSTILE, [1, 2, 3], [0.1, 0.2, 1 / 3]), Series("two", [1, 2], [3.0, 4.0], [2.5, 3.5], [3.5, 4.5])]
    return Chart("name", HOSTILE, "Caption.", HOSTILE, "y", series, kind=kind, **more)  # type: ignore[arg-type]


GRID = Grid("grid", HOSTILE, "Caption.", "gallery", HOSTILE, ["1", "2"], ["3"], [[50.25, None]])


@pytest.mark.parametrize(
    ("values", "whole", "ends"),
    [([0, 100], True, (0, 100)), ([46.7, 100], True, (40, 100)), ([1, 20], False, (1, 20)), ([5], False, (4.5, 5.5)),
     ([0.0001, 0.0042], True, (0, 0.005)), ([], True, (0.4, 1.6))],
)  # fmt: skip
def test_an_axis_holds_its_values_and_has_round_ticks(
    values: list[float], whole: bool, ends: tuple[float, float]
) -> None:
    low, high, ticks = scale(values, False, whole=whole)
    assert low <= min(values, default=1) <= max(values, default=1) <= high
    assert 2 <= len(ticks) <= 7
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    if values:
        assert (low, high) == pytest.approx(ends)


def test_a_logarithmic_axis_has_powers_of_ten() -> None:
    low, high, ticks = scale([0.003, 40.0, 0.0], True, whole=True)
    assert (low, high) == (0.001, 100.0)
    assert ticks == pytest.approx([0.001, 0.01, 0.1, 1, 10, 100])
    assert share(1.0, 0.01, 100.0, True) == pytest.approx(0.5)
    assert share(0.0, 0.01, 100.0, True) == 0
    assert share(5.0, 0.0, 20.0, False) == 0.25


@pytest.mark.parametrize("figure", [chart(), chart("bars"), chart("points"), chart(log_x=True, log_y=True), GRID])
def test_names_are_text_and_the_drawing_is_well_formed(figure: Figure) -> None:
    text = svg.draw(figure, alone=True)
    root = ElementTree.fromstring(text)
    assert root.attrib["role"] == "img"
    assert root.attrib["width"] == "84mm"
    assert "alert('x')" in root.attrib["aria-label"]
    assert not [element for element in root.iter() if element.tag.endswith("script")]
    assert "\x07" not in text


def test_points_lie_where_their_numbers_are() -> None:
    figure = Chart("name", "t", "c", "x", "y", [Series("one", [0, 5, 10], [0, 50, 100])])
    line = re.search(r'<polyline points="([^"]+)"', svg.draw(figure))
    assert line
    points = [tuple(map(float, point.split(","))) for point in line[1].split()]
    assert points[0] == (svg.LEFT, svg.HEIGHT - svg.BOTTOM)
    assert points[2] == (svg.WIDTH - svg.RIGHT, 10)
    assert points[1] == pytest.approx([(points[0][n] + points[2][n]) / 2 for n in (0, 1)], abs=0.1)


def test_csv_holds_every_digit() -> None:
    rows = list(csv.reader(io.StringIO(to_csv(*table_of(chart())))))
    assert rows[0] == ["series", HOSTILE, "y", "low", "high"]
    assert [row[0] for row in rows[1:]] == [HOSTILE] * 3 + ["two"] * 2
    assert float(rows[3][2]) == 1 / 3
    assert rows[4][3:] == ["2.5", "3.5"]
    assert list(csv.reader(io.StringIO(to_csv(*table_of(GRID))))) == [
        [HOSTILE, "gallery 1", "gallery 2"],
        ["3", "50.25", ""],
    ]


def test_colours_differ() -> None:
    for count in (3, len(svg.COLOURS), 20):
        assert len({svg.colour_of(number, count) for number in range(count)}) == count
