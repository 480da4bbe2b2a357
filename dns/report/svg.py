"""Draws figures and their axes as SVG, by hand: the page needs no plotting library, and its figures follow light and
dark."""

import math
from collections.abc import Iterator, Sequence

from dns.report.figures import Chart, Figure, Grid, Series
from dns.report.html import text

WIDTH, HEIGHT = 420, 270  # size of the view box; text of 11 is 7 pt where the figure is a column of 84 mm
LEFT, RIGHT, BOTTOM, LINE = 58, 10, 40, 15
PAPER_WIDTH_MM = 84
LETTER = 5.9  # mean width of a letter of the legend
COLOURS = ("#2b6cb0", "#c2571a", "#2e8b57", "#9b3f9b", "#a67c00", "#5b6770", "#b83280", "#0f8b8d")
SHAPES = ("circle", "triangle", "square")
STYLE = (
    ".dns text{font:11px system-ui,Helvetica,Arial,sans-serif;fill:var(--ink,#1c2430)}"
    ".dns .axis{stroke:var(--line,#8a94a0);fill:none}.dns .rule{stroke:var(--faint,#e3e7ec);fill:none}"
    ".dns .hit{fill:transparent;stroke:none}"
)


def colour_of(number: int, count: int = len(COLOURS)) -> str:
    """Return the colour of a number. count: how many are needed; beyond those of COLOURS, hues from the whole wheel."""
    if count <= len(COLOURS):
        return COLOURS[number % len(COLOURS)]
    return f"hsl({360 * number // count} 65% {(38, 55)[number % 2]}%)"


def draw(figure: Figure, *, alone: bool = False) -> str:
    """Return the figure as an <svg> element. alone: a file of its own, in its size on paper, with its style."""
    body = _grid(figure) if isinstance(figure, Grid) else _Drawing(figure).body()
    height = _grid_height(figure) if isinstance(figure, Grid) else HEIGHT
    size = f'width="{PAPER_WIDTH_MM}mm" height="{PAPER_WIDTH_MM * height / WIDTH:.1f}mm" ' if alone else ""
    style = f"<style>{STYLE}</style>" if alone else ""
    label = text(f"{figure.title}. {figure.caption}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="dns" viewBox="0 0 {WIDTH} {height}" {size}'
        f'role="img" aria-label="{label}">{style}{body}</svg>'
    )


class _Drawing:
    """A chart being drawn: its scales, and its marks in the coordinates of the view box."""

    def __init__(self, chart: Chart):
        self.chart = chart
        self.colours = max((one.colour or 0 for one in chart.series), default=0) + 1
        self.legend = list(_legend(chart)) if chart.legend and len(chart.series) > 1 else []
        lines = self.legend[-1][1] + 1 if self.legend else 0
        self.top = 10 + LINE * lines
        xs = [x for one in chart.series for x in one.x]
        ys = [y for one in chart.series for values in (one.y, one.low, one.high) for y in values]
        half = _bar_width(chart.series) / 2 if chart.kind == "bars" else 0.0
        self.x_low, self.x_high, self.x_ticks = scale(
            [*(x - half for x in xs), *(x + half for x in xs)], chart.log_x, whole=False
        )
        self.y_low, self.y_high, self.y_ticks = scale(
            [*ys, 0.0] if chart.kind == "bars" else ys, chart.log_y, whole=True
        )

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * share(value, self.x_low, self.x_high, self.chart.log_x)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - self.top) * share(value, self.y_low, self.y_high, self.chart.log_y)

    def body(self) -> str:
        parts = [*self._axes(), *self._names()]
        for number, one in enumerate(self.chart.series):
            colour = colour_of(number if one.colour is None else one.colour, max(self.colours, 1))
            parts += {"line": self._line, "bars": self._bars, "points": self._points}[self.chart.kind](one, colour)
        return "".join(parts)

    def _axes(self) -> Iterator[str]:
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        for value in self.y_ticks:
            y = self.y(value)
            yield f'<path class="rule" d="M{LEFT} {y:.1f}H{right}"/>'
            yield f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{_number(value)}</text>'
        for value in self.x_ticks:
            x = self.x(value)
            yield f'<path class="axis" d="M{x:.1f} {bottom}v4"/>'
            yield f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{_number(value)}</text>'
        yield f'<path class="axis" d="M{LEFT} {bottom}H{right}"/>'
        yield f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{text(self.chart.x_label)}</text>'
        middle = (self.top + bottom) / 2
        turned = f'transform="rotate(-90 11 {middle})" text-anchor="middle"'
        yield f'<text x="11" y="{middle}" {turned}>{text(self.chart.y_label)}</text>'

    def _names(self) -> Iterator[str]:
        for x, line, number in self.legend:
            one, y = self.chart.series[number], 12 + LINE * line
            colour = colour_of(number if one.colour is None else one.colour, max(self.colours, 1))
            yield f'<rect x="{x:.0f}" y="{y - 8}" width="12" height="8" rx="2" fill="{colour}"/>'
            yield f'<text x="{x + 16:.0f}" y="{y}">{text(one.name)}</text>'

    def _line(self, one: Series, colour: str) -> Iterator[str]:
        points = [(self.x(x), self.y(y)) for x, y in zip(one.x, one.y, strict=True)]
        if one.low:
            band = [(self.x(x), self.y(y)) for x, y in zip(one.x, one.high, strict=True)]
            band += [(self.x(x), self.y(y)) for x, y in reversed(list(zip(one.x, one.low, strict=True)))]
            yield f'<polygon points="{_path(band)}" fill="{colour}" fill-opacity=".18"/>'
        yield f'<polyline points="{_path(points)}" fill="none" stroke="{colour}" stroke-width="1.8"/>'
        if len(points) <= 60:
            for (x, y), at, value in zip(points, one.x, one.y, strict=True):
                yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{colour}"/>'
                yield f'<circle class="hit" cx="{x:.1f}" cy="{y:.1f}" r="7">{self._tip(one, at, value)}</circle>'

    def _bars(self, one: Series, colour: str) -> Iterator[str]:
        width = _bar_width([one])
        for x, y in zip(one.x, one.y, strict=True):
            left, right, top = self.x(x - width / 2), self.x(x + width / 2), self.y(y)
            yield (
                f'<rect x="{left + 0.5:.1f}" y="{top:.1f}" width="{max(0.5, right - left - 1):.1f}" '
                f'height="{HEIGHT - BOTTOM - top:.1f}" fill="{colour}">{self._tip(one, x, y)}</rect>'
            )

    def _points(self, one: Series, colour: str) -> Iterator[str]:
        for x, y in zip(one.x, one.y, strict=True):
            yield _mark(SHAPES[one.shape], self.x(x), self.y(y), colour, f"<title>{text(one.name)}</title>")

    def _tip(self, one: Series, x: float, y: float) -> str:
        return f"<title>{text(f'{one.name}: {self.chart.x_label} {x:.4g}, {self.chart.y_label} {y:.4g}')}</title>"


def _mark(shape: str, x: float, y: float, colour: str, inside: str) -> str:
    look = f'fill="{colour}" fill-opacity=".75" stroke="{colour}"'
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" {look}>{inside}</circle>'
    if shape == "square":
        return f'<rect x="{x - 2.7:.1f}" y="{y - 2.7:.1f}" width="5.4" height="5.4" {look}>{inside}</rect>'
    return f'<path d="M{x:.1f} {y - 3.6:.1f}l3.4 6h-6.8z" {look}>{inside}</path>'


def _legend(chart: Chart) -> Iterator[tuple[float, int, int]]:
    """Yield left edge, line and number of each series' entry."""
    x, line = float(LEFT), 0
    for number, one in enumerate(chart.series):
        width = 28 + LETTER * len(one.name)
        if x > LEFT and x + width > WIDTH:
            x, line = float(LEFT), line + 1
        yield x, line, number
        x += width


def _grid_height(grid: Grid) -> int:
    return 60 + 26 * len(grid.rows)


def _grid(grid: Grid) -> str:
    left, top, cell = 74, 34, (WIDTH - 74 - RIGHT) / max(1, len(grid.columns))
    known = [value for row in grid.values for value in row if value is not None]
    low, high = min(known, default=0), max(known, default=1)
    parts = [f'<text x="{(left + WIDTH) / 2}" y="12" text-anchor="middle">{text(grid.x_label)}</text>']
    for number, name in enumerate(grid.columns):
        parts.append(f'<text x="{left + cell * (number + 0.5):.1f}" y="28" text-anchor="middle">{text(name)}</text>')
    for line, (name, values) in enumerate(zip(grid.rows, grid.values, strict=True)):
        y = top + 26 * line
        parts.append(f'<text x="{left - 6}" y="{y + 17}" text-anchor="end">{text(name)}</text>')
        for number, value in enumerate(values):
            shade = 0 if value is None else 0.08 + 0.5 * (value - low) / max(high - low, 1e-9)
            x = left + cell * number
            parts.append(
                f'<rect x="{x + 1:.1f}" y="{y + 1}" width="{cell - 2:.1f}" height="24" rx="2" fill="{COLOURS[0]}" '
                f'fill-opacity="{shade:.2f}"/><text x="{x + cell / 2:.1f}" y="{y + 17}" text-anchor="middle">'
                f"{'' if value is None else f'{value:.1f}'}</text>"
            )
    middle = top + 13 * len(grid.rows)
    turned = f'transform="rotate(-90 12 {middle})" text-anchor="middle"'
    parts.append(f'<text x="12" y="{middle}" {turned}>{text(grid.y_label)}</text>')
    return "".join(parts)


def _bar_width(series: Sequence[Series]) -> float:
    x = series[0].x
    return abs(x[1] - x[0]) if len(x) > 1 else 1.0


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _number(value: float) -> str:
    return f"{value:.6g}" if abs(value) >= 1e-3 or not value else f"{value:.0e}"


def scale(values: Sequence[float], log: bool, *, whole: bool) -> tuple[float, float, list[float]]:
    """Return ends and ticks of an axis. whole: the ends are ticks."""
    values = [value for value in values if math.isfinite(value) and (value > 0 or not log)] or [1.0]
    low, high = min(values), max(values)
    if log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        last = max(last, first + 1)
        every = max(1, (last - first) // 6)
        return 10.0**first, 10.0**last, [10.0**power for power in range(first, last + 1, every)]
    if high - low < 1e-12 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    if whole:
        low, high = step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return low, high, [step * number for number in range(first, last + 1)]


def share(value: float, low: float, high: float, log: bool) -> float:
    """Return where a value lies between the ends of its axis; a logarithm's 0 lies at the low end."""
    if log:
        value, low, high = math.log10(max(value, low)), math.log10(low), math.log10(high)
    return min(1.0, max(0.0, (value - low) / (high - low)))
