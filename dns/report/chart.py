"""Figures as numbers: what svg.py and paper.py draw, and what the CSV files hold."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["line", "bars", "points"]


@dataclass(frozen=True)
class Series:
    """Points of one name. low, high: a band round y, of the same length, or empty. colour: a number, equal for what
    belongs together; by default the series' place in its chart. shape: of a point, see svg.SHAPES."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    colour: int | None = None
    shape: int = 0


@dataclass(frozen=True)
class Chart:
    """name: of its files. caption: what the figure shows, in a sentence. Of bars, x is the middle of each. legend:
    whether the figure names its series."""

    name: str
    title: str
    caption: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    kind: Kind = "line"
    log_x: bool = False
    log_y: bool = False
    legend: bool = True


@dataclass(frozen=True)
class Grid:
    """A table of shaded cells: values[row][column], None where there is none."""

    name: str
    title: str
    caption: str
    x_label: str
    y_label: str
    columns: Sequence[str]
    rows: Sequence[str]
    values: Sequence[Sequence[float | None]]


Figure = Chart | Grid


def table_of(figure: Figure) -> tuple[list[str], list[list[str | float]]]:
    """Header and rows of a figure's numbers."""
    if isinstance(figure, Grid):
        header = [figure.y_label, *(f"{figure.x_label} {column}" for column in figure.columns)]
        rows = [
            [name, *("" if value is None else value for value in values)]
            for name, values in zip(figure.rows, figure.values, strict=True)
        ]
        return header, rows
    bands = any(one.low for one in figure.series)
    header = ["series", figure.x_label, figure.y_label, *(["low", "high"] if bands else [])]
    rows = []
    for one in figure.series:
        columns = [one.x, one.y, *([one.low, one.high] if one.low else [])]
        rows += [[one.name, *map(float, values)] for values in zip(*columns, strict=True)]
    return header, rows


def to_csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Numbers with all their digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
