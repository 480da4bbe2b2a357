"""Writes a report: report.html, and the folder report/ with each figure as SVG and PDF and its numbers as CSV."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from dns.evaluation import results
from dns.evaluation.tables import OF_TRACKLETS, Measured, Row
from dns.report import html, paper, sections
from dns.report.page import MOST_BYTES, Parts, document
from dns.report.study import study
from dns.report.subject import Subject
from ffcv_convert.common import atomic
from ffcv_convert.common.errors import ReportError

PAGE, FIGURES = "report.html", "report"
TERMS = {  # under which a report shows people, by the name of the set
    "sysu": "The agreement of SYSU-MM01 that you signed",
    "regdb": "The agreement of RegDB (Dongguk University) that you signed",
    "llcm": "The release agreement of LLCM that you signed",
    "market_sketch_1k": "The licence of Market-Sketch-1K (CC BY-NC-SA 4.0), whose photos are those of Market-1501,",
    "pku_sketch": "The agreement of PKU-Sketch that you made with its authors",
    "hitsz_vcm": "The terms of HITSZ-VCM (for academic purposes only), which you accepted,",
    "buptcampus": "The licence of BUPTCampus (academic, no redistribution), which you accepted by downloading it,",
}


def write_report(folder: Path, subject: Subject, tested: Measured) -> Path:
    """Write the report of a network whose rows stand in the folder's result.json. Returns the page's path. Raises
    ReportError."""
    rows = results.read_rows(folder / "result.json", "evaluation")
    own = {row["protocol"]: row for row in rows if _is_of(row, subject, tested)}
    if missing := [name for name in subject.protocols if name not in own]:
        raise ReportError(
            f"{folder / 'result.json'}: lacks the row of {tested.checkpoint} under {missing[0]}. Test it again"
        )
    return write_page(folder, subject, rows, own)


def write_page(folder: Path, subject: Subject, rows: Sequence[Row], own: Mapping[str, Row]) -> Path:
    """Write a report. rows: those that it lists; own: those of the subject, by protocol. Returns the page's path.

    The old page and the old figures stand until the new ones are whole. Raises ReportError.
    """
    studies = [
        study(subject.test, found, subject.embedding_ND, re_ranking=subject.re_ranking)
        for found in subject.rankings.values()
    ]
    parts, findings = Parts(), sections.Findings(subject, rows, own, studies)
    for show in sections.SECTIONS:
        show(parts, findings)
    first = own[subject.protocols[0]]
    lead, facts = _lead(subject, first["checkpoint"]), _facts(first, subject)
    return write(folder, document(folder.absolute().name, lead, facts, parts.sections), parts.files())


def _facts(row: Row, subject: Subject) -> dict[str, str]:
    """Return the numbers to see first, by name. row: that of the first protocol."""
    person_N = subject.test.person_N
    shares = {f"Rank-1, {row['protocol']}": "rank1", "mAP": "mAP", "mINP": "mINP", "chance": "chance"}
    return {
        **{name: f"{100 * row[key]:.2f} %" for name, key in shares.items()},
        "queries with a match": f"{row['matched']:,} of {row['queries']:,}" if row.get("queries") else "",
        "identities": str(len(set(person_N.tolist()))),
        "test images": f"{len(person_N):,}",
    }


def _lead(subject: Subject, tested: str) -> str:
    """Say what the page is about, whose terms apply to its images, and what lies beside it."""
    parts = [html.paragraph(f"{subject.dataset}, tested with {tested}.")]
    if subject.pixels:
        parts.append(html.paragraph(terms(subject.set_name, subject.dataset)))
    drawn = "SVG and PDF" if paper.available() else "SVG"
    beside = f"The folder {FIGURES}/ beside this page has each figure as {drawn}, 84 mm wide, and all numbers as CSV."
    missing = "" if paper.available() else f"PDF {sections.MISSING.format('matplotlib')}"
    return "".join([*parts, html.paragraph(beside, missing)])


def terms(set_name: str, dataset: str) -> str:
    """Say in a sentence under whose terms the page shows people. dataset: the set's name in reports, which says where
    its people are drawn."""
    if is_drawn(dataset):
        return "The people in the images are drawn by a program: nobody's terms apply."
    whose = TERMS.get(set_name, "What you agreed with the people in these images, or with who gave you the images,")
    return f"{whose} decides who may see the images on this page."


def is_drawn(dataset: str) -> bool:
    """Whether the people of a set are drawn by a program. dataset: the set's name in reports."""
    return "synthetic" in dataset


def _is_of(row: Row, subject: Subject, tested: Measured) -> bool:
    """Whether a row describes what the figures show. Its feature may be noted as that of tracklets."""
    row = {**row, "feature": str(row.get("feature", "")).removesuffix(OF_TRACKLETS)}
    # Rows of earlier versions have no digests.
    same = all(row.get(key, value) == value for key, value in tested._asdict().items())
    return same and all(row.get(key) == value for key, value in subject.how.items())


def write(folder: Path, page: str, files: Mapping[str, bytes]) -> Path:
    """Write the page, and the files into a folder of their own that replaces the former one. Raises ReportError."""
    path = folder / PAGE
    page_bytes = page.encode(errors="backslashreplace")  # a path of a data set may hold bytes that are no UTF-8
    if len(page_bytes) > MOST_BYTES:
        raise ReportError(f"{path}: would have {len(page_bytes):,} bytes. Leave the images out: --report.images=false")
    figures = folder / FIGURES
    unfinished = folder / f"{FIGURES}.unfinished"  # not .partial: a resumed run unlinks files of that name
    with results.results_lock(folder), results.writing(figures), atomic.partial_folder(unfinished):
        for name, content in files.items():
            atomic.write_flushed(unfinished / name, content)
        with results.replacing(path) as file:
            file.write(page_bytes)
        if figures.exists():
            shutil.rmtree(figures)
        unfinished.rename(figures)
    return path
