"""Makes the page, one HTML file that asks for nothing else, and holds the parts of a report meanwhile."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dns.evaluation.trial import TestSet
from dns.report import paper, svg
from dns.report.figures import Figure, table_of, to_csv
from dns.report.html import image, paragraph, table, text
from dns.report.ranked import Neighbour, RankedQuery
from ffcv_convert.beton.labels import STYLES, UNKNOWN_CAMERA, Modality
from ffcv_convert.common.errors import UserError, printable

MOST_BYTES = 5_000_000
MOST_NUMBERS = 90  # rows of a figure's numbers that the page shows as a table
# A browser asks for no address at all, so that even a mistake in this page could fetch nothing.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
Section = tuple[str, str, str]  # anchor, title, HTML of the inside
Table = tuple[Sequence[str], Sequence[Sequence[str | float]]]


def document(title: str, lead: str, facts: Mapping[str, str], sections: Sequence[Section]) -> str:
    """Return the whole page as HTML. lead: HTML below the title; facts: numbers to see first, by name."""
    css, script = style(), (Path(__file__).parent / "page.js").read_text(encoding="utf-8")
    links = "".join(f'<li><a href="#{anchor}">{text(name)}</a></li>' for anchor, name, _ in sections)
    shown = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in facts.items())
    body = "".join(
        f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{text(name)}</h2>{inside}</section>'
        for anchor, name, inside in sections
    )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        f'content="light dark"><title>{text(title)}</title><style>{css}{svg.STYLE}</style></head><body>'
        f'<header><h1>{text(title)}</h1>{lead}<dl class="facts">{shown}</dl><nav aria-label="Sections"><ul>{links}'
        f"</ul></nav></header><main>{body}</main><script>{script}</script></body></html>\n"
    )


def style() -> str:
    """Return the style sheet of the report, which the page of dns/demo/ shares."""
    return (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


def ranked_lists(queries: Sequence[RankedQuery], test: TestSet, images: Mapping[int, str]) -> str:
    """Return the queries as HTML. images: data URI by row of the test set; else cells show the identity's number."""
    items = []
    for query in queries:
        cells = [_cell("asked", "query", "query", query.row, test, images)]
        cells += [_neighbour(near, test, images) for near in query.neighbours]
        where = f"first right image at rank {query.first}, {query.matches} in the gallery"
        items.append(
            f'<li class="query" data-group="{query.group}"><p><b>{query.group}: AP {100 * query.precision:.1f} %</b>, '
            f'{where} <span class="quiet">{text(test.path_N[query.row])}</span></p>'
            f'<ul class="row">{"".join(cells)}</ul></li>'
        )
    return f'<ul class="queries">{"".join(items)}</ul>'


def _neighbour(near: Neighbour, test: TestSet, images: Mapping[int, str]) -> str:
    if near.rank is None:
        kind, place, said = "out", "excluded", "does not count"
    else:
        kind, sign = ("right", "✓") if near.right else ("wrong", "✗")
        place, said = f"{near.rank} {sign}", f"rank {near.rank}, {kind}"
    return _cell(kind, place, said, near.row, test, images, f"{near.similarity:.3f}")


def _cell(
    kind: str, place: str, said: str, row: int, test: TestSet, images: Mapping[int, str], similarity: str = ""
) -> str:
    """Return an image of a ranked list. said: its place, for readers who cannot see the image."""
    numbered = test.camera_N.any()  # 0 throughout: the set does not tell its cameras
    camera = where(int(test.camera_N[row]), int(test.modality_N[row])) if numbered else ""
    parts = (said, f"identity {test.person_N[row]}", camera, similarity and f"similarity {similarity}")
    alternative = ", ".join(part for part in parts if part)
    shown = image(images[row], alternative) if row in images else f'<span class="blank">{test.person_N[row]}</span>'
    lines = "<br>".join(text(part) for part in (camera, similarity) if part)
    return f'<li class="cell {kind}">{shown}<b>{text(place)}</b><br>{lines}</li>'


def where(camera: int, modality: int) -> str:
    """Return who made an image: its camera, or the artist of a sketch. Empty for an unknown camera."""
    if camera == UNKNOWN_CAMERA:
        return ""
    artist = modality == Modality.SKETCH and 0 < camera <= len(STYLES)
    return f"artist {STYLES[camera - 1]}" if artist else f"camera {camera}"


@contextmanager
def left_out_on_error(what: str) -> Iterator[list[str]]:
    """Go on after the block where it fails, with a note on the screen, and a sentence in the list that is yielded: HTML
    for the page. What a library cannot draw is left out, and the rest of the report stands."""
    failed: list[str] = []
    try:
        yield failed
    except UserError:
        raise
    except Exception as error:  # matplotlib, scikit-learn and captum raise errors of any kind
        reason = " ".join(str(error).split()).rstrip(".")
        said = f"{what} is left out: it could not be made ({type(error).__name__}: {reason})"
        print(printable(f"note: {said}", newlines=False), file=sys.stderr)
        failed.append(paragraph(f"{said}."))


@dataclass
class Parts:
    """The parts of a report while it is made: sections of the page, files of its figures, tables and pictures."""

    sections: list[Section] = field(default_factory=list)
    figures: dict[str, str | bytes] = field(default_factory=dict)  # file name -> content
    tables: dict[str, Table] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)  # file name -> PNG

    def section(self, anchor: str, title: str, *inside: str) -> None:
        self.sections.append((anchor, title, "".join(inside)))

    def charts(self, figures: Sequence[Figure]) -> str:
        """Return the figures' HTML, side by side; `files` will hold their files: the numbers, SVG and, with matplotlib,
        PDF. A figure that cannot be drawn is left out."""
        return f'<div class="charts">{"".join(map(self._chart, figures))}</div>' if figures else ""

    def _chart(self, drawn: Figure) -> str:
        shown = ""
        with left_out_on_error(f"The figure {drawn.title}") as failed:
            files = {f"{drawn.name}.csv": to_csv(*table_of(drawn)), f"{drawn.name}.svg": svg.draw(drawn, alone=True)}
            shown = figure(drawn)
            self.figures |= files
        if not shown or not paper.available():
            return shown + "".join(failed)
        with left_out_on_error(f"The PDF of {drawn.title}") as failed:
            self.figures[f"{drawn.name}.pdf"] = paper.to_pdf(drawn)
        return shown + "".join(failed)

    def files(self) -> dict[str, bytes]:
        """Return file name -> content: the figures', the tables as CSV, and the pictures."""
        found: dict[str, str | bytes] = {**self.pictures}
        found |= {f"{name}.csv": to_csv(*content) for name, content in self.tables.items()}
        found |= self.figures
        # A path of a data set may hold bytes that are no UTF-8.
        return {
            name: content if isinstance(content, bytes) else content.encode(errors="backslashreplace")
            for name, content in found.items()
        }


def figure(drawn: Figure) -> str:
    """Return a figure as HTML: the drawing, its caption, and its numbers where they are few."""
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
