"""The parts of a report while it is made: sections of the page, figures and tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from dns.report import html, paper, svg
from dns.report.chart import Figure, table_of, to_csv
from dns.report.page import Section

Table = tuple[Sequence[str], Sequence[Sequence[str | float]]]


@dataclass
class Parts:
    sections: list[Section] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)  # file name -> PNG

    def section(self, anchor: str, title: str, *inside: str) -> None:
        self.sections.append((anchor, title, "".join(inside)))

    def charts(self, figures: Sequence[Figure]) -> str:
        """Their HTML, side by side; their files will be written."""
        self.figures += figures
        return f'<div class="charts">{"".join(map(html.figure, figures))}</div>' if figures else ""

    def files(self) -> dict[str, bytes]:
        """Name -> content: of each figure the numbers, SVG and, with matplotlib, PDF; the tables as CSV,
        and the pictures."""
        found: dict[str, str | bytes] = {**self.pictures}
        found |= {f"{name}.csv": to_csv(*content) for name, content in self.tables.items()}
        for figure in self.figures:
            found[f"{figure.name}.csv"] = to_csv(*table_of(figure))
            found[f"{figure.name}.svg"] = svg.draw(figure, alone=True)
            if paper.available():
                found[f"{figure.name}.pdf"] = paper.to_pdf(figure)
        # A path of a data set may hold bytes that are no UTF-8.
        return {
            name: text if isinstance(text, bytes) else text.encode(errors="backslashreplace")
            for name, text in found.items()
        }
