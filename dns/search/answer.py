"""Answers a query: the most similar of the rows that the filters choose, and how far each can be trusted."""

from dataclasses import dataclass
from typing import Literal

from dns.search.rows import Row
from ffcv_convert.beton.labels import Modality

Decision = Literal["somebody", "nobody", "unknown"]


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
