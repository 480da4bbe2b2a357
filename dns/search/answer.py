"""Answers a query: the most similar of the rows that the filters choose, and how far each can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from dns.search.calibration import Calibration, Decision, Direction, decide
from dns.search.candidates import Candidates
from dns.search.exact import Found, most_similar
from dns.search.rows import Filters, Row
from dns.search.store import Index
from ffcv_convert.beton.labels import Modality


@dataclass(frozen=True)
class Hit:
    """A row that was found. rank: from 1; similarity: cosine; strangers: how many rows of other people are expected to
    be as similar among those that were searched, None without a calibration; at_most: too few pairs tell, and it is
    at most so many; thumbnail: a JPEG, empty where the index keeps none."""

    rank: int
    similarity: float
    strangers: float | None
    at_most: bool
    row: Row
    thumbnail: bytes


@dataclass(frozen=True)
class Answer:
    """What was found among the rows of one modality. searched: how many rows the filters chose; decision: whether the
    best hit is somebody, "unknown" where no calibration can tell; threshold: the similarity from which it is, None
    where that is unknown; reason: a sentence on the decision; hits: by falling similarity."""

    modality: Modality
    searched: int
    decision: Decision
    threshold: float | None
    reason: str
    hits: list[Hit]


class Question(NamedTuple):
    """vector_D: float32, of length 1, of an image of `modality`; hits: how many rows to return at most; fpir: the share
    of queries of people who are not there that may find somebody."""

    vector_D: np.ndarray
    modality: Modality
    hits: int
    fpir: float


def answer(
    index: Index, query_D: np.ndarray, modality: Modality, filters: Filters, *, hits: int, fpir: float,
    calibration: Calibration | None, device: torch.device, candidates: Candidates | None = None,
) -> list[Answer]:  # fmt: skip
    """Answer one question, as `answer_together` does."""
    question = Question(query_D, modality, hits, fpir)
    (answers,) = answer_together(
        index, [question], filters, calibration=calibration, device=device, candidates=candidates
    )
    return answers


def answer_together(
    index: Index, questions: Sequence[Question], filters: Filters, *, calibration: Calibration | None,
    device: torch.device, candidates: Candidates | None = None,
) -> list[list[Answer]]:  # fmt: skip
    """Search the rows that the filters choose, modality by modality: similarities of two modalities cannot be compared.

    Every row is read once for all questions. candidates: chooses the rows to compare with a single question, by default
    all that the filters choose. Returns the answers to each question, one a modality. Raises DataError where rows are
    damaged.
    """
    wanted = [filters.modality] if filters.modality is not None else list(Modality)
    query_QD = np.stack([question.vector_D for question in questions])
    answers: list[list[Answer]] = [[] for _ in questions]
    for rows in wanted:
        chosen = replace(filters, modality=rows)
        parts = index.parts(chosen)
        searched = sum(map(len, parts))
        if searched or filters.modality is not None:
            hits = max(question.hits for question in questions)
            compared = candidates.narrow(query_QD[0], chosen, parts, hits) if candidates else parts
            found = most_similar(query_QD, compared, hits, device)
            known = _looked_up(index, found)
            for question, best, own in zip(questions, found, answers, strict=True):
                direction = calibration.directions.get((question.modality, rows)) if calibration else None
                own.append(_among(question, best, known, rows, searched, direction))
    return answers


def _looked_up(index: Index, found: Sequence[Found]) -> dict[tuple[int, int], tuple[Row, bytes]]:
    """Return row and thumbnail of each hit by part and position. A table is read in large groups of rows, so the hits
    of a segment are looked up together."""
    part_K, position_K = (np.concatenate(columns) for columns in list(zip(*found, strict=True))[:2])
    known = {}
    for part in np.unique(part_K).tolist():
        segment, positions = index.segments[part], np.unique(position_K[part_K == part])
        rows, thumbnails = segment.rows(positions), segment.thumbnails(positions)
        for position, row, thumbnail in zip(positions.tolist(), rows, thumbnails, strict=True):
            known[part, position] = (row, thumbnail)
    return known


def _among(
    question: Question, best: Found, known: dict[tuple[int, int], tuple[Row, bytes]], modality: Modality, searched: int,
    direction: Direction | None,
) -> Answer:  # fmt: skip
    hits: list[Hit] = []
    for part, position, similarity in zip(*(column[: question.hits].tolist() for column in best), strict=True):
        strangers, at_most = direction.expected(similarity, searched) if direction else (None, False)
        hits.append(Hit(len(hits) + 1, similarity, strangers, at_most, *known[part, position]))
    decision, threshold, reason = decide(hits[0].similarity if hits else None, searched, question.fpir, direction)
    return Answer(modality, searched, decision, threshold, reason, hits)
