"""Says how many rows of strangers are expected to be as similar to a query as a hit, and when "nobody" is the answer.

Calibration takes embeddings whose identities are known. For each direction, from queries of one modality to rows of
another or the same, every query is compared with every row of another identity; the share of these pairs that are at
least as similar as s, times the number of rows that are searched, is the number of strangers expected at s. The chance
that at least one is found is no larger than this number (Markov), whether or not strangers resemble each other: a best
hit counts as somebody where it is at most the FPIR that was asked for. So the FPIR is kept, and may be lower.

Pairs of identities decide (dns/evaluation/strangers.py): above the similarity that ten of them reach, too few tell, and
"at most" as many strangers as there are expected. Twice the rows, or half the FPIR, need 1.4 times as many identities.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from dns.evaluation import results
from dns.evaluation.open_set import DECIDING
from dns.evaluation.strangers import expected_strangers
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import DataError

FILE, FORMAT, VERSION = "calibration.json", "dns-ffcv-search-calibration", 1
Decision = Literal["somebody", "nobody", "unknown"]
AGAIN = "Calibrate again: make index CALIBRATE=labelled.csv"


class Labelled(NamedTuple):
    """Embeddings of known people, rows of length 1, float32 (N, D); identity and modality of each, int64."""

    embedding_ND: np.ndarray
    person_N: np.ndarray
    modality_N: np.ndarray


class Expected(NamedTuple):
    """strangers: as many rows of other people as are expected; at_most: too few pairs tell, and it is no more."""

    strangers: float
    at_most: bool


@dataclass(frozen=True)
class Direction:
    """How similar strangers are, from queries of one modality to rows of another or the same. similarity: falling;
    share: of the pairs of strangers that are at least as similar; identities: how many were compared (query, rows)."""

    similarity: np.ndarray
    share: np.ndarray
    identities: tuple[int, int]

    def expected(self, similarity: float, rows: int) -> Expected:
        """Return how many of so many rows are expected to be strangers at least as similar."""
        below = np.flatnonzero(self.similarity <= similarity)
        if not len(below):
            return Expected(float(rows), False)
        # The next lower similarity that was measured: a little too many rather than too few.
        return Expected(rows * float(self.share[below[0]]), bool(similarity > self.similarity[0]))

    def threshold(self, rows: int, fpir: float) -> float | None:
        """Return the lowest similarity at which at most `fpir` strangers are expected among so many rows; None where
        too few pairs tell."""
        enough = np.flatnonzero(rows * self.share <= fpir)
        return float(self.similarity[enough[-1]]) if len(enough) else None

    def needed(self, rows: int, fpir: float) -> int:
        """Return about how many identities, in as many images of each, would tell: pairs grow with their square."""
        return int(np.ceil(min(self.identities) * (rows * float(self.share[0]) / fpir) ** 0.5))


@dataclass(frozen=True)
class Calibration:
    """source: what it was made of, in words; directions: by (query's modality, rows' modality)."""

    source: str
    directions: Mapping[tuple[Modality, Modality], Direction]


def calibrate(labelled: Labelled, source: str) -> Calibration:
    """Compare all pairs of strangers, in every direction that has DECIDING pairs of identities. Raises DataError where
    none has."""
    found = {}
    modalities = [Modality(number) for number in np.unique(labelled.modality_N).tolist()]
    for query, rows in ((query, rows) for query in modalities for rows in modalities):
        direction = _direction(labelled, query, rows)
        if len(direction.similarity):
            found[query, rows] = direction
    if not found:
        raise DataError(
            f"{source}: has {len(np.unique(labelled.person_N))} identities, too few to calibrate on: fewer than "
            f"{DECIDING} pairs of two. Label more people"
        )
    return Calibration(source, found)


def _direction(labelled: Labelled, query: Modality, rows: Modality) -> Direction:
    asked, searched = (np.flatnonzero(labelled.modality_N == one) for one in (query, rows))
    person_Q, person_G = labelled.person_N[asked], labelled.person_N[searched]
    curve = expected_strangers(labelled.embedding_ND[asked], person_Q, labelled.embedding_ND[searched], person_G)
    identities, images = np.unique(person_G, return_counts=True)
    own = dict(zip(identities.tolist(), images.tolist(), strict=True))
    pairs = sum(len(person_G) - own.get(person, 0) for person in person_Q.tolist())
    share = curve.images * len(person_Q) / max(pairs, 1)
    return Direction(curve.similarity, share, (len(np.unique(person_Q)), len(identities)))


def decide(
    best: float | None, searched: int, fpir: float, direction: Direction | None
) -> tuple[Decision, float | None, str]:
    """Decide whether the most similar row is somebody. Also returns the similarity from which it is, and the reason in
    a sentence. best: the similarity of that row, None where no row was searched."""
    if best is None:
        return "nobody", None, "No row fits the filters."
    if direction is None:
        return (
            "unknown",
            None,
            "Nothing is calibrated for these modalities: nobody knows how strangers score.",
        )
    threshold = direction.threshold(searched, fpir)
    strangers, at_most = direction.expected(best, searched)
    if at_most and strangers > fpir:
        needed, known = direction.needed(searched, fpir), min(direction.identities)
        return "unknown", threshold, (
            f"Too few people were calibrated on to tell at {searched:,} rows and an FPIR of {fpir:g}: {known}, and "
            f"about {needed:,} are needed."
        )  # fmt: skip
    reason = (
        f"Among {searched:,} rows {number(strangers, at_most)} strangers are expected to be as similar as the best."
    )
    return ("somebody" if strangers <= fpir else "nobody"), threshold, reason


def number(strangers: float, at_most: bool) -> str:
    """Return how many strangers are expected, in words."""
    return f"{'at most ' * at_most}{strangers:.2g}"


def save(folder: Path, calibration: Calibration, network: Mapping[str, Any]) -> None:
    """Write the calibration of a network into an index. Raises ReportError."""
    directions = [
        {"query": query.name.lower(), "rows": rows.name.lower(), "identities": list(one.identities),
         "similarity": one.similarity.tolist(), "share": one.share.tolist()}
        for (query, rows), one in calibration.directions.items()
    ]  # fmt: skip
    about = {"format": FORMAT, "version": VERSION, "source": calibration.source, "network": _of(network)}
    results.write_json(folder / FILE, {**about, "directions": directions})


def load(folder: Path, network: Mapping[str, Any]) -> Calibration | None:
    """Read the calibration of an index, None without one. Raises DataError where it is damaged, or of another
    network."""
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        known = content["format"] == FORMAT and content["version"] == VERSION
        own = content["network"] == _of(network)
        found = {
            (Modality[one["query"].upper()], Modality[one["rows"].upper()]): _read(one) for one in content["directions"]
        }
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read ({type(error).__name__}: {error}). {AGAIN}") from None
    if not known:
        raise DataError(f"{path}: is of another version of this program. {AGAIN}")
    if not own:
        raise DataError(f"{path}: was made with another network than the rows. {AGAIN}")
    return Calibration(content["source"], found)


def _of(network: Mapping[str, Any]) -> dict[str, Any]:
    return {name: network.get(name) for name in ("sha256", "feature")}


def _read(one: Mapping[str, Any]) -> Direction:
    similarity, share = (np.array(one[name], dtype=np.float64) for name in ("similarity", "share"))
    falls = len(similarity) == len(share) > 0 and (np.diff(similarity) < 0).all() and (np.diff(share) >= 0).all()
    if not falls or not (share <= 1).all():
        raise ValueError("no curve")
    query, rows = one["identities"]
    return Direction(similarity, share, (int(query), int(rows)))
