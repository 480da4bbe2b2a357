"""Writes the report of features that came without a network: dns.report, without speed and where a network looks."""

from collections.abc import Sequence
from pathlib import Path

import torch

from dns.evaluation.tables import Row
from dns.judge.conventions import Judged
from dns.judge.orders import Placed
from dns.judge.subject import Subject
from dns.report import subject as reported
from dns.report.write import write_page
from ffcv_convert.common.errors import ConfigError


def write_report(
    folder: Path, placed: Placed, judged: Sequence[Judged], subject: Subject, dataset: str, *, command: str,
    images: bool,
) -> Path:  # fmt: skip
    """Write the report of a file's features and rows into `folder`. Returns the page's path.

    Its figures show the first kind of features, by the first distance that the table has of them. images: whether the
    page shows those of the converted set, if there is one. Raises ConfigError where an image has no features,
    ReportError.
    """
    one = judged[0]
    if not placed.given_N.all():
        raise ConfigError(
            f"--report: {one.file} lacks features of some test images. Save a row of every one, or leave --report out"
        )
    first = (one.matrix, one.measure, False)
    shown = {other.protocol: other for other in judged if (other.matrix, other.measure, other.re_ranking) == first}
    how = {key: one.row[key] for key in ("feature", "flip", "re_ranking", "precision")}
    rankings = {name: other.rankings for name, other in shown.items()}
    pixels = subject.images.pixels if images and subject.images else None
    embedding_ND = torch.from_numpy(placed.matrices[one.matrix])
    about = reported.Subject(
        dataset, subject.about["dataset"], subject.test, embedding_ND, rankings, how, pixels, placed.file, command
    )
    own: dict[str, Row] = {name: other.row for name, other in shown.items()}
    return write_page(folder, about, [other.row for other in judged], own)
