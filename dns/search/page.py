"""Writes an answer as a page: one HTML file that asks for nothing else, with its images, tables and timelines."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dns.evaluation.results import write_text
from dns.report import html
from dns.report.html import paragraph, text
from dns.report.page import document
from dns.search.answer import Answer, Hit
from dns.search.calibration import limited, number
from dns.search.moments import moment, when
from dns.search.timeline import shortened, timeline
from ffcv_convert.beton.labels import Modality

DECISIONS = {"somebody": "somebody", "nobody": "nobody", "unknown": "cannot tell"}
HEIGHT_PX = 128  # of the query's image
MOST_BYTES = 3_000_000  # of the hits' small images; hits beyond that show the number of their row
HEADER = (
    "rank", "similarity", "strangers", "camera", "first seen (UTC)", "last seen (UTC)", "images", "track", "image",
    "box", "row",
)  # fmt: skip
STRANGERS = (
    "Beside a hit stands how many rows of other people are expected to be at least as similar, among all rows that "
    "were searched: its strangers. Where they are few, such as 0.02, strangers rarely score so high. Whether the "
    "person was there at all, this number does not know."
)
PROMISE = (
    'Both "nobody" and the numbers of strangers hold for cameras like those of the calibration, and for rows like its '
    "own: those of a test set are single images, not tracks. On other cameras nothing is promised."
)
NO_CALIBRATION = (
    "The index has no calibration. So it is unknown how many strangers are as similar as a hit, and whether the best "
    "hit is the person."
)


@dataclass(frozen=True)
class Query:
    """What was asked. file: the photo's name; picture: uint8 RGB (H, W, 3), None where it is not to be shown; filters:
    which rows were searched, in a sentence, empty for all."""

    file: str
    modality: Modality
    picture: np.ndarray | None = None
    filters: str = ""


@dataclass(frozen=True)
class About:
    """What was searched. index: the name of its folder; network, calibration and terms: a sentence each, on what
    embedded the images, on the cameras that the calibration is of (None without one), and on who may see the images
    (empty where nothing is known); fpir: the share of searches for people who are not in the index that may find
    somebody all the same."""

    index: str
    rows: int
    network: str
    fpir: float
    calibration: str | None
    terms: str = ""


def write_page(path: Path, query: Query, answers: Sequence[Answer], about: About) -> None:
    """Write the page, whole or not at all. answers: one a modality. Raises ReportError."""
    facts = {f"answer, {answer.modality.name.lower()} rows": DECISIONS[answer.decision] for answer in answers}
    facts["rows of the index"] = f"{about.rows:,}"
    if about.calibration is not None:
        facts["chosen limit of false alarms (FPIR), in each list"] = f"{100 * about.fpir:.3g} %"
    sections = [
        (answer.modality.name.lower(), _title(answer), _section(query, answer, MOST_BYTES // len(answers)))
        for answer in answers
    ]
    write_text(path, document(f"Search for {query.file}", _lead(query, about), facts, sections))


def _lead(query: Query, about: About) -> str:
    """Say what was searched, by what, and how far the numbers can be trusted."""
    asked = (
        f"{query.file} ({query.modality.name.lower()}) was compared with rows of the index {about.index}. A row is a "
        "person seen by a camera: one image, or a track of several."
    )
    trust = (NO_CALIBRATION,) if about.calibration is None else (about.calibration, PROMISE)
    sentences = [(asked, query.filters), (about.network,), trust, (about.terms,)]
    return "".join(paragraph(*some) for some in sentences if any(some))


def _title(answer: Answer) -> str:
    return f"Among {answer.searched:,} {answer.modality.name.lower()} rows: {DECISIONS[answer.decision]}"


def _section(query: Query, answer: Answer, most_bytes: int) -> str:
    said = paragraph(answer.reason)
    if not answer.hits:
        return said
    if answer.decision == "nobody":
        said += paragraph("These rows are the most similar ones all the same.")
    name = answer.modality.name.lower()
    return "".join(
        [
            said,
            f'<ul class="row hits">{_asked(query)}{"".join(_cells(answer.hits, most_bytes))}</ul>',
            paragraph(STRANGERS, PROMISE) if any(hit.strangers is not None for hit in answer.hits) else "",
            timeline(answer.hits, answer.modality),
            html.table(HEADER, [_line(hit) for hit in answer.hits], caption=f"All hits among the {name} rows"),
        ]
    )


def _asked(query: Query) -> str:
    shown = '<span class="blank">query</span>'
    if query.picture is not None:
        shown = html.image(html.data_uri(query.picture, HEIGHT_PX), f"query, {query.file}")
    return (
        f'<li class="cell asked" title="{text(query.file)}">{shown}<b>query</b><br>{query.modality.name.lower()}</li>'
    )


def _cells(hits: Sequence[Hit], most_bytes: int) -> Iterator[str]:
    """Yield each hit's cell. Their small images have at most so many bytes on the page."""
    for hit in hits:
        row = hit.row
        said = f"rank {hit.rank}, {row.camera}, {row.image}{', box ' * bool(row.box)}{_box(hit)}"
        shown = f'<span class="blank">row {row.number}</span>'
        uri = html.jpeg_uri(hit.thumbnail)
        most_bytes -= len(uri)
        if hit.thumbnail and most_bytes >= 0:
            shown = html.image(uri, said)
        lines = (
            f"similarity {hit.similarity:.3f}", _strangers(hit), shortened(row.camera), when(row) or "time not known",
            "1 image" if row.images == 1 else f"{row.images:,} images",
        )  # fmt: skip
        yield (
            f'<li class="cell" title="{text(said)}">{shown}<b>{hit.rank}</b><br>{"<br>".join(map(text, lines))}</li>'
        )


def _strangers(hit: Hit) -> str:
    return "not calibrated" if hit.strangers is None else f"{number(hit.strangers, hit.at_most)} strangers"


def _box(hit: Hit) -> str:
    return " ".join(f"{side:g}" for side in hit.row.box or ())


def _line(hit: Hit) -> list[object]:
    """Return a hit's line of the table."""
    row = hit.row
    times = ["" if time_ms is None else moment(time_ms) for time_ms in (row.first_ms, row.last_ms)]
    seen = [row.camera, *times, row.images, row.track, row.image, _box(hit), row.number]
    strangers = ""
    if hit.strangers is not None:  # begins with the number, by which the page sorts the column
        digits, at_most = limited(hit.strangers, hit.at_most)
        strangers = f"{digits}{' or fewer' * at_most}"
    return [hit.rank, f"{hit.similarity:.3f}", strangers, *seen]
