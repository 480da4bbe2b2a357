"""Reads report.html as a browser without scripts would show it."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = ("meta", "img", "br", "link", "input")


@dataclass
class Page(HTMLParser):
    """A page that was read. tables: caption -> rows of cells, the header first; tags: every tag with its attributes;
    text: what is shown."""

    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""
    _open: list[str] = field(default_factory=list)
    _caption: str = ""
    _row: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "caption":
            self._caption = ""
        if tag == "tr":
            self._row = []
        if tag in ("td", "th"):
            self._row.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes another tag"
        if tag == "tr":
            self.tables.setdefault(self._caption, []).append(self._row)

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self._open):
            self.text += data
        if "caption" in self._open:
            self._caption += data
        if {"td", "th"} & set(self._open):
            self._row[-1] += data


def read_page(text: str) -> Page:
    """Read a page. Raises AssertionError where tags do not close in order."""
    page = Page()
    page.feed(text)
    page.close()
    assert not page._open
    return page
