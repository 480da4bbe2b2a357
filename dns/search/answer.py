"""Answers a query: the most similar of the rows that the filters choose, and how far each can be trusted."""

from dataclasses import dataclass, replace

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


def answer(
    index: Index, query_D: np.ndarray, modality: Modality, filters: Filters, *, hits: int, fpir: float,
    calibration: Calibration | None, device: torch.device, candidates: Candidates | None = None,
) -> list[Answer]:  # fmt: skip
    """Search the rows that the filters choose, modality by modality: similarities of two modalities cannot be compared.

    query_D: float32, of length 1, of an image of `modality`; hits: how many rows to return at most; fpir: the share of
    queries of people who are not there that may find somebody; candidates: chooses the rows to compare, by default all
    that the filters choose. Raises DataError where rows are damaged.
    """
    wanted = [filters.modality] if filters.modality is not None else list(Modality)
    found = []
    for rows in wanted:
        chosen = replace(filters, modality=rows)
        parts = index.parts(chosen)
        searched = sum(map(len, parts))
        if searched or filters.modality is not None:
            compared = candidates.narrow(query_D, chosen, parts, hits) if candidates else parts
            (best,) = most_similar(query_D[None], compared, hits, device)
            direction = calibration.directions.get((modality, rows)) if calibration else None
            found.append(_answer(index, best, rows, searched=searched, fpir=fpir, direction=direction))
    return found


def _answer(
    index: Index, best: Found, modality: Modality, *, searched: int, fpir: float, direction: Direction | None
) -> Answer:
    found: list[Hit] = []
    for part, position, similarity in zip(*(column.tolist() for column in best), strict=True):
        strangers, at_most = direction.expected(similarity, searched) if direction else (None, False)
        segment = index.segments[part]
        (row,), (thumbnail,) = segment.rows([position]), segment.thumbnails([position])
        found.append(Hit(len(found) + 1, similarity, strangers, at_most, row, thumbnail))
    decision, threshold, reason = decide(found[0].similarity if found else None, searched, fpir, direction)
    return Answer(modality, searched, decision, threshold, reason, found)
