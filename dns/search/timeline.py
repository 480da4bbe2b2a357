"""Draws when and where the hits of an answer were seen, as SVG by hand: a lane a camera, a bar a hit."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dns.report.html import text
from dns.report.svg import colour_of
from dns.search.answer import Hit
from dns.search.moments import ticks, when
from ffcv_convert.beton.labels import Modality

WIDTH, LEFT, RIGHT, TOP = 800, 10, 34, 6  # of the view box; the rank of the last bar stands in the right margin
NAME, LINE, AXIS = 17, 15, 36  # heights of a camera's name, of a line of bars, of the axis
LEAST = 7  # width of the bar of a hit that was seen in one image
LETTER = 7  # width of a digit of a rank
LONGEST_NAME = 80
MARGIN_MS = 30_000  # at least so much time stands before the first hit and after the last
WEAKEST = 0.35  # strength of the last hit's colour; the first one's is 1
CAPTION = (
    "A lane is a camera, the camera of the best hit at the top. A bar reaches from when a hit was first seen to when "
    "it was last seen, and its rank stands beside it: the stronger its colour, the better its rank. Times are in UTC."
)


class _Seen(NamedTuple):
    """A hit of known time."""

    first_ms: int
    last_ms: int
    hit: Hit


def timeline(hits: Sequence[Hit], modality: Modality) -> str:
    """Return the figure as HTML; hits without a time are named below it. hits: by rank, one at least."""
    seen, unknown = [], []
    for hit in hits:
        if hit.row.first_ms is None or hit.row.last_ms is None:
            unknown.append(f"rank {hit.rank} ({shortened(hit.row.camera)})")
        else:
            seen.append(_Seen(hit.row.first_ms, hit.row.last_ms, hit))
    shown = ""
    if seen:
        region = f"When and where the {modality.name.lower()} hits were seen"
        shown = (
            f'<div class="scroll" tabindex="0" role="region" aria-label="{text(region)}">'
            f"{_Timeline(seen, len(hits), colour_of(modality)).draw()}</div><figcaption>{text(CAPTION)}</figcaption>"
        )
    names = ", ".join(unknown)
    named = f"<figcaption>{text(f'Of unknown time: {names}')}</figcaption>" if unknown else ""
    return f'<figure class="chart timeline"><h3>When and where</h3>{shown}{named}</figure>'


def shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


class _Timeline:
    """A timeline being drawn, in the coordinates of its view box. count: of all hits, also those of unknown time."""

    def __init__(self, seen: Sequence[_Seen], count: int, colour: str):
        self.seen, self.count, self.colour = seen, count, colour
        low_ms, high_ms = min(one.first_ms for one in seen), max(one.last_ms for one in seen)
        margin_ms = max(MARGIN_MS, (high_ms - low_ms) // 30)
        self.low_ms, self.high_ms = low_ms - margin_ms, high_ms + margin_ms

    def x(self, time_ms: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (time_ms - self.low_ms) / (self.high_ms - self.low_ms)

    def draw(self) -> str:
        lanes: dict[str, list[_Seen]] = {}
        for one in self.seen:
            lanes.setdefault(one.hit.row.camera, []).append(one)
        y, parts = TOP, []
        for camera, seen in lanes.items():
            parts.append(f'<path class="rule" d="M0 {y}H{WIDTH}"/>')
            parts.append(f'<text x="{LEFT}" y="{y + 13}" style="font-weight:600">{text(shortened(camera))}</text>')
            y += NAME
            for line in self._lines(seen):
                parts += [self._bar(one, y) for one in line]
                y += LINE
            y += 4
        label = text(f"Timeline of {len(self.seen)} hits and {len(lanes)} cameras; the table has the same times")
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="dns" viewBox="0 0 {WIDTH} {y + AXIS}" role="img" '
            f'aria-label="{label}">{"".join(self._axis(y))}{"".join(parts)}</svg>'
        )

    def _lines(self, seen: Sequence[_Seen]) -> list[list[_Seen]]:
        """Share a camera's hits out to lines, so that no bar lies on another or on its rank."""
        lines: list[list[_Seen]] = []
        ends: list[float] = []
        for one in sorted(seen, key=lambda one: one.first_ms + one.last_ms):
            left, width = self._place(one)
            number = next((number for number, end in enumerate(ends) if end <= left), len(lines))
            if number == len(lines):
                lines.append([])
                ends.append(0.0)
            lines[number].append(one)
            ends[number] = left + width + LETTER * (len(str(one.hit.rank)) + 1)
        return lines

    def _place(self, one: _Seen) -> tuple[float, float]:
        """Return the left edge and the width of a hit's bar."""
        first, last = self.x(one.first_ms), self.x(one.last_ms)
        width = max(LEAST, last - first)
        return (first + last - width) / 2, width

    def _bar(self, one: _Seen, y: int) -> str:
        left, width = self._place(one)
        hit = one.hit
        strength = 1 - (1 - WEAKEST) * (hit.rank - 1) / max(1, self.count - 1)
        said = text(f"rank {hit.rank}, {hit.row.camera}, {when(hit.row)}, similarity {hit.similarity:.3f}")
        return (
            f'<rect x="{left:.1f}" y="{y}" width="{width:.1f}" height="11" rx="3" fill="{self.colour}" '
            f'fill-opacity="{strength:.2f}" stroke="{self.colour}"><title>{said}</title></rect>'
            f'<text x="{left + width + 3:.1f}" y="{y + 10}">{hit.rank}</text>'
        )

    def _axis(self, y: int) -> Iterator[str]:
        yield f'<path class="axis" d="M0 {y}H{WIDTH}"/>'
        for time_ms, upper, lower in ticks(self.low_ms, self.high_ms):
            x = self.x(time_ms)
            yield f'<path class="rule" d="M{x:.1f} {TOP}V{y}"/><path class="axis" d="M{x:.1f} {y}v4"/>'
            anchor = "start" if x < 40 else "end" if x > WIDTH - 40 else "middle"
            for below, label in ((16, upper), (30, lower)):
                yield f'<text x="{x:.1f}" y="{y + below}" text-anchor="{anchor}">{text(label)}</text>' if label else ""
