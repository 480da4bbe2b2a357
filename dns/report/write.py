"""Write a report: report.html, and the folder report/ with each figure as SVG and PDF and its numbers as CSV."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from dns.evaluation import results
from dns.evaluation.tables import Row
from dns.report import html, paper, sections
from dns.report.page import MOST_BYTES, document
from dns.report.parts import Parts
from dns.report.study import study
from dns.report.subject import Subject
from dns.report.terms import terms
from ffcv_convert.common import atomic
from ffcv_convert.common.errors import ReportError

PAGE, FIGURES = "report.html", "report"


def write_report(folder: Path, subject: Subject, tested: str) -> Path:
    """Write the report of a network whose rows stand in the folder's result.json, under the name `tested`. Returns the
    page's path.

    The old page and the old figures stand until the new ones are whole. Raises ReportError.
    """
    rows = results.read_rows(folder / "result.json", "evaluation")
    title = folder.absolute().name
    parts, asked = Parts(), subject.config
    re_ranking = asked.eval.re_ranking
    studies = [
        study(subject.evaluator, subject.embedding_ND, protocol, re_ranking=re_ranking)
        for protocol in subject.protocols
    ]
    own = {row["protocol"]: row for row in rows if _is_of(row, subject, tested)}
    sections.show_results(parts, rows)
    sections.show_accuracy(parts, subject, own, studies)
    sections.show_similarity(parts, subject)
    sections.show_ranked(parts, subject, studies)
    sections.show_training(parts, subject)
    sections.show_verification(parts, studies)
    sections.show_model(parts, subject, {"network": asked.model.architecture})
    test = subject.evaluator.test_set
    first = own[subject.protocols[0]]
    facts = {
        f"Rank-1, {first['protocol']}": f"{100 * first['rank1']:.2f} %",
        "mAP": f"{100 * first['mAP']:.2f} %",
        "mINP": f"{100 * first['mINP']:.2f} %",
        "chance": f"{100 * first['chance']:.2f} %",
        "identities": str(len(set(test.person_N.tolist()))),
        "test images": f"{len(test.person_N):,}",
    }
    lead = html.paragraph(f"{subject.evaluator.dataset}, tested with {tested}.")
    if asked.report.images:
        lead += html.paragraph(terms(asked.data.set, subject.evaluator.dataset))
    drawn = "SVG and PDF" if paper.available() else "SVG"
    beside = f"The folder {FIGURES}/ beside this page has each figure as {drawn}, 84 mm wide, and all numbers as CSV."
    lead += html.paragraph(beside, "" if paper.available() else f"PDF {sections.MISSING.format('matplotlib')}")
    return write(folder, document(title, lead, facts, parts.sections), parts.files())


def _is_of(row: Row, subject: Subject, tested: str) -> bool:
    """Whether a row tells of what the figures show."""
    evaluator, re_ranking = subject.evaluator, subject.config.eval.re_ranking
    how = (row["checkpoint"], row["feature"], row["flip"], row["precision"], row["re_ranking"] != "off")
    return how == (tested, subject.feature_name, evaluator.flip, evaluator.engine.precision, re_ranking)


def write(folder: Path, page: str, files: Mapping[str, bytes]) -> Path:
    """The page, and the files in a folder of their own that replaces the one before. Raises ReportError."""
    path = folder / PAGE
    page_bytes = page.encode(errors="backslashreplace")  # a path of a data set may hold bytes that are no UTF-8
    if len(page_bytes) > MOST_BYTES:
        raise ReportError(f"{path}: would have {len(page_bytes):,} bytes. Leave the images out: --report.images=false")
    figures = folder / FIGURES
    unfinished = folder / f"{FIGURES}.unfinished"  # not .partial: a resumed run unlinks files of that name
    with results.results_lock(folder), results.writing(figures), atomic.partial_folder(unfinished):
        for name, content in files.items():
            with open(unfinished / name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        with results.replacing(path) as file:
            file.write(page_bytes)
        if figures.exists():
            shutil.rmtree(figures)
        unfinished.rename(figures)
    return path
