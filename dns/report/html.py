"""Pieces of the page. Every name that comes from a data set, a folder or a checkpoint passes `text`."""

import html
from collections.abc import Sequence

from dns.report import svg
from dns.report.chart import Figure, table_of
from ffcv_convert.common.errors import printable

LONG = 24  # characters of a cell that may be broken into lines
MOST_NUMBERS = 90  # rows of a figure's numbers that the page shows as a table


def text(value: object) -> str:
    """Shown as it is: markup, quotes and control characters are escaped."""
    return html.escape(printable(str(value), newlines=False))


def table(header: Sequence[object], rows: Sequence[Sequence[object]], *, caption: str, mixed: bool = False) -> str:
    """Cells are text; numbers stand to the right, unless the columns are mixed of them and words."""
    head = "".join(f'<th scope="col">{text(cell)}</th>' for cell in header)
    body = "".join("<tr>" + "".join(_cell(cell, mixed) for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}"><table><caption>{text(caption)}'
        f"</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(value: object, mixed: bool) -> str:
    shown = text(value)
    number = not mixed and len(shown) < LONG and (shown[:1].isdigit() or shown[:2] in ("0.", "-0", "-."))
    css = ' class="number"' if number else ' class="long"' if len(shown) > LONG else ""
    return f"<td{css}>{shown}</td>"


def figure(drawn: Figure) -> str:
    """The drawing, its caption, and its numbers where they are few."""
    header, rows = table_of(drawn)
    numbers = ""
    if len(rows) <= MOST_NUMBERS:
        cells = [[f"{cell:.4g}" if isinstance(cell, float) else cell for cell in row] for row in rows]
        numbers = (
            f"<details><summary>Numbers<span class='quiet'> of {text(drawn.title)}</span></summary>"
            f"{table(header, cells, caption=f'Numbers: {drawn.title}')}</details>"
        )
    return (
        f'<figure class="chart"><h3>{text(drawn.title)}</h3>{svg.draw(drawn)}'
        f"<figcaption>{text(drawn.caption)}</figcaption>{numbers}</figure>"
    )


def paragraph(*sentences: str) -> str:
    return f"<p>{text(' '.join(filter(None, sentences)))}</p>"


def image(uri: str, alternative: str) -> str:
    return f'<img src="{uri}" alt="{text(alternative)}">'
