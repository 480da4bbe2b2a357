"""Defines the figures of a report as numbers (svg.py and paper.py draw these), with one function a chart."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, pstdev
from typing import Any, Literal

import numpy as np

from dns.evaluation.open_set import DECIDING, detection
from dns.evaluation.tables import Row
from dns.report.study import CameraPairs, Curve, Likeness, Study, average_precision, thinned
from ffcv_convert.beton.labels import UNKNOWN_CAMERA

Kind = Literal["line", "bars", "points"]
NO_LOSS = {"kind", "step", "epoch", "iteration", "lr"}  # what a line of training holds beside its losses
Line = Mapping[str, Any]
Curves = Mapping[str, Mapping[str, Sequence[Line]]]  # run -> kind of line -> its lines of log.jsonl
POINTS = 200  # points of a training curve; each is the mean of its neighbours


@dataclass(frozen=True)
class Series:
    """Points that share a name. low, high: a band round y, of the same length, or empty. colour: a number, equal for
    series that belong together; by default the series' place in its chart. shape: the points', see svg.SHAPES."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    colour: int | None = None
    shape: int = 0


@dataclass(frozen=True)
class Chart:
    """Series on two axes. name: that of its files. caption: what the figure shows, in a sentence. x of a bar is its
    middle. legend: whether the figure names its series."""

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
    """A table of shaded cells: values[row][column], None for an empty cell."""

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
    """Return header and rows of a figure's numbers."""
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
    """Return the text of a CSV file, numbers with all their digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def cmc(rows: Mapping[str, Row], name: str = "cmc") -> Chart:
    """Return the CMC of each row. rows: those of result.json, by the name that the legend shows."""
    series = []
    for shown, row in rows.items():
        columns = [*zip(*(trial["cmc"] for trial in row["per_trial"]), strict=True)]
        middle, spread = [100 * mean(values) for values in columns], [100 * pstdev(values) for values in columns]
        several = row["trials"] > 1
        low = [max(0.0, y - s) for y, s in zip(middle, spread, strict=True)] if several else []
        high = [min(100.0, y + s) for y, s in zip(middle, spread, strict=True)] if several else []
        series.append(Series(shown, [*range(1, len(middle) + 1)], middle, low, high))
    spread_of = " The band is one standard deviation over the trials." if any(one.low for one in series) else ""
    caption = f"Share of queries whose first right match is at this rank or before.{spread_of}"
    title = "CMC" if name == "cmc" else f"CMC, {name.removeprefix('cmc-')}"
    return Chart(name, title, caption, "rank", "queries found (%)", series)


def detection_chart(studies: Sequence[Study]) -> list[Chart]:
    """Return DIR by FPIR, a curve for each protocol; no chart where no protocol has enough queries."""
    curves = {one.protocol: detection([ranking.searches for ranking in one.rankings]) for one in studies}
    series = [
        Series(name, (100 * curve.fpir).tolist(), (100 * curve.dir).tolist())
        for name, curve in curves.items()
        if len(curve.fpir)
    ]
    caption = (
        "Half of the identities are left out of the gallery in turn, mean over the trials. FPIR: share of the queries "
        "of those left out that find somebody nearer than the threshold; DIR = 1 - FNIR: share of the others that find "
        f"themselves first and nearer. The curve begins where {DECIDING} errors decide."
    )
    x_label, y_label = "FPIR: strangers that find somebody (%)", "DIR: others that find themselves (%)"
    chart = Chart("dir", "Not in the gallery", caption, x_label, y_label, series, log_x=True)
    return [chart] if series else []


def precision_histogram(studies: Sequence[Study]) -> list[Chart]:
    """Count how often each AP occurs among the queries of all trials, a chart for each protocol."""
    charts = []
    for one in studies:
        values = 100 * np.concatenate([average_precision(ranking.per_query) for ranking in one.rankings])
        values = values[~np.isnan(values)]
        counts, edges = np.histogram(values, 20, (0, 100))
        centre = ((edges[1:] + edges[:-1]) / 2).tolist()
        trials = "every trial" if len(one.rankings) > 1 else "the trial"
        caption = f"{len(values):,} queries of {trials} of {one.protocol}; their mean is {values.mean():.2f} %."
        share = (100 * counts / counts.sum()).tolist()
        charts.append(
            Chart(f"ap-{one.protocol}", f"AP of each query, {one.protocol}", caption, "AP (%)", "queries (%)",
                  [Series("queries", centre, share)], kind="bars")
        )  # fmt: skip
    return charts


def camera_grid(protocol: str, direction: str, pairs: CameraPairs) -> Grid:
    values = [[None if np.isnan(value) else 100 * float(value) for value in row] for row in pairs.mAP_QG]
    caption = f"{direction}. mAP in per cent where the gallery holds the images of one camera alone; first trial."
    return Grid(
        f"cameras-{protocol}", f"AP by pair of cameras, {protocol}", caption, "gallery camera", "query camera",
        [*map(_camera, pairs.gallery)], [*map(_camera, pairs.query)], values,
    )  # fmt: skip


def _camera(number: int) -> str:
    return "unknown" if number == UNKNOWN_CAMERA else str(number)


def likeness_chart(found: Likeness) -> Chart:
    series = [Series(name, found.centre.tolist(), share.tolist()) for name, share in found.share.items()]
    caption = f"All pairs of {found.images:,} test images. Distance is minus this similarity (a dot product)."
    return Chart("similarity", "Similarity of pairs", caption, "similarity", "pairs (%)", series)


def roc_charts(curves: Mapping[str, Curve]) -> list[Chart]:
    """Return the ROC, and false accepts against false rejects, whose logarithms need thresholds at which both occur:
    without a curve that has one, this chart is left out. curves: by protocol."""
    accepted, errors = [], []
    for name, curve in curves.items():
        place = thinned(curve)
        false, missed = 100 * curve.false_accept[place], 100 * curve.false_reject[place]
        accepted.append(Series(name, false.tolist(), (100 - missed).tolist()))
        both = (false > 0) & (missed > 0)
        if both.any():
            errors.append(Series(name, false[both].tolist(), missed[both].tolist()))
    charts = [
        Chart("roc", "ROC", "Of the pairs of a query and a gallery image that count; first trial.",
              "false accepts (%)", "true accepts (%)", accepted),
        Chart("det", "False accepts against false rejects", "The same pairs; both axes are logarithmic.",
              "false accepts (%)", "false rejects (%)", errors, log_x=True, log_y=True),
    ]  # fmt: skip
    return [chart for chart in charts if chart.series]


def training_charts(curves: Curves) -> list[Chart]:
    """Return loss, learning rate, Rank-1 and images/s: every loss for one run, only the totals for several."""
    several = len(curves) > 1
    losses = [
        _curve(run if several else name, kinds["train"], "step", name)
        for run, kinds in curves.items()
        if kinds["train"]
        for name in (["total"] if several else _losses(kinds["train"][0]))
    ]
    rates = [_curve(run, kinds["train"], "step", "lr") for run, kinds in curves.items() if kinds["train"]]
    rank1 = [_curve(run, kinds["eval"], "epoch", "rank1", 100) for run, kinds in curves.items() if kinds["eval"]]
    speed = [
        Series(run, [line["epoch"] for line in kinds["epoch"]],
               [line["images"] / max(line["seconds"], 1e-9) for line in kinds["epoch"]])
        for run, kinds in curves.items() if kinds["epoch"]
    ]  # fmt: skip
    charts = [
        Chart("loss", "Total loss" if several else "Losses", "As log.jsonl holds them.", "step", "loss", losses),
        Chart("learning-rate", "Learning rate", "Of a group with multiplier 1.", "step", "learning rate", rates),
        Chart("rank1", "Rank-1 while training", "First trial, without flip: by it the best epoch is chosen.",
              "epoch", "Rank-1 (%)", rank1),
        Chart("images-per-s", "Speed", "Images of each epoch's steps, without its evaluation.",
              "epoch", "images/s", speed),
    ]  # fmt: skip
    return [chart for chart in charts if chart.series]


def _losses(line: Line) -> list[str]:
    """Return the names of a line's losses, the total first."""
    return sorted(line.keys() - NO_LOSS, key=lambda name: (name != "total", list(line).index(name)))


def _curve(name: str, lines: Sequence[Line], x: str, y: str, factor: float = 1) -> Series:
    groups = np.array_split(np.arange(len(lines)), min(POINTS, len(lines)))
    at = [mean(lines[n][x] for n in group) for group in groups]
    return Series(name, at, [factor * mean(lines[n][y] for n in group) for group in groups])
