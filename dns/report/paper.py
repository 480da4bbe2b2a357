"""Draws figures as PDF at the width of a column, by matplotlib: its fonts are embedded, as publishers ask."""

import io
from importlib.util import find_spec
from typing import Any

from dns.report.figures import Chart, Figure, Grid, Series
from dns.report.svg import PAPER_WIDTH_MM, SHAPES, colour_of
from ffcv_convert.common.errors import printable

PLACE = (0.18, 0.18, 0.79, 0.64)  # where the axes stand in the figure: left, bottom, width, height
MARKERS = dict(zip(SHAPES, ("o", "^", "s"), strict=True))
STYLE = {"pdf.fonttype": 42, "font.size": 7, "axes.linewidth": 0.5, "lines.linewidth": 1.0, "axes.grid": False}


def available() -> bool:
    return find_spec("matplotlib") is not None


def to_pdf(figure: Figure) -> bytes:
    """Return the figure as a PDF file."""
    import matplotlib  # not above: it is part of the extra `report`
    from matplotlib.figure import Figure as Canvas

    width = PAPER_WIDTH_MM / 25.4
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(width, 0.65 * width))
        axes = canvas.add_axes(PLACE)  # fixed: a layout that fits itself takes three times as long
        if isinstance(figure, Grid):
            _grid(axes, figure)
        else:
            _chart(axes, figure)
        axes.set(xlabel=_plain(figure.x_label), ylabel=_plain(figure.y_label))
        file = io.BytesIO()
        canvas.savefig(file, format="pdf", metadata={"CreationDate": None})
    return file.getvalue()


def _chart(axes: Any, chart: Chart) -> None:
    colours = max((one.colour or 0 for one in chart.series), default=0) + 1
    for number, one in enumerate(chart.series):
        _series(axes, chart, one, _rgb(number if one.colour is None else one.colour, colours))
    axes.set(xscale="log" if chart.log_x else "linear", yscale="log" if chart.log_y else "linear")
    if chart.legend and len(chart.series) > 1:
        axes.legend(frameon=False, fontsize=6, loc="lower left", bbox_to_anchor=(-0.15, 1), ncols=2)


def _series(axes: Any, chart: Chart, one: Series, colour: Any) -> None:
    if chart.kind == "bars":
        width = abs(one.x[1] - one.x[0]) if len(one.x) > 1 else 1.0
        axes.bar(one.x, one.y, width=0.95 * width, color=colour, label=_plain(one.name))
    elif chart.kind == "points":
        axes.scatter(one.x, one.y, s=6, color=[colour], marker=MARKERS[SHAPES[one.shape]], linewidths=0)
    else:
        axes.plot(one.x, one.y, color=colour, label=_plain(one.name))
        if one.low:
            axes.fill_between(one.x, one.low, one.high, color=colour, alpha=0.18, linewidth=0)


def _grid(axes: Any, grid: Grid) -> None:
    values = [[float("nan") if value is None else value for value in row] for row in grid.values]
    axes.imshow(values, cmap="Blues", aspect="auto", alpha=0.6)
    axes.set_xticks(range(len(grid.columns)), [*map(_plain, grid.columns)])
    axes.set_yticks(range(len(grid.rows)), [*map(_plain, grid.rows)])
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            if value == value:
                axes.text(column, row, f"{value:.1f}", ha="center", va="center")


def _rgb(number: int, count: int) -> Any:
    """Return the colour that this series has on the page, as matplotlib takes it."""
    import colorsys

    text = colour_of(number, count)
    if text.startswith("#"):
        return text
    hue, saturation, lightness = (float(part.rstrip("%)")) for part in text.removeprefix("hsl(").split())
    return colorsys.hls_to_rgb(hue / 360, lightness / 100, saturation / 100)


def _plain(text: str) -> str:
    """Return text in which matplotlib finds no formula."""
    return printable(text, newlines=False).replace("$", r"\$")
