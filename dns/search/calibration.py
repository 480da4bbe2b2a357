"""Says how many rows of strangers are expected to be as similar to a query as a hit, and when "nobody" is the answer.

Calibration takes embeddings whose identities are known. For each direction, from queries of one modality to rows of
another or the same, every query is compared with every row of another identity. The share of these pairs that are at
least as similar as s, times the number of rows that are searched, is the number of strangers expected at s.

The false alarms at s are the share of queries that find at least one stranger as similar among N rows (FPIR, ISO/IEC
19795-1). The N rows are taken to be of N people, drawn without replacement from the M that a query was compared with,
with one of the rows of each. Of these people k have rows as similar, a share f of their rows: the chance that none is
found is about the product of 1 - f N / (M - j) over j = 0 to k - 1. The mean over the queries counts those once who
look like many others. Among more than M rows, N / M times the chance among M: no less than the true one, which grows
more slowly. Several rows of one person resemble each other, and give fewer alarms than as many people. The best hit is
somebody where at most the FPIR that was asked for is expected.

Pairs of identities decide (dns/evaluation/strangers.py): above the similarity that ten of them reach, too few tell, and
what is expected there is a limit: "at most". Twice the rows, or half the FPIR, need about 1.4 times as many identities.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from dns.evaluation import results
from dns.evaluation.open_set import DECIDING
from dns.evaluation.strangers import count_strangers
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import DataError

FILE, FORMAT, VERSION = "calibration.npz", "dns-ffcv-search-calibration", 1
ABOUT, ARRAYS = "about", ("similarity", "people", "images", "others", "rows", "identities")
FEWEST = 1e-4  # smaller numbers say no more than that
Decision = Literal["somebody", "nobody", "unknown"]
AGAIN = "Calibrate again: make index CALIBRATE=labelled.csv"


class Labelled(NamedTuple):
    """Embeddings of known people, rows of length 1, float32 (N, D); identity and modality of each, int64."""

    embedding_ND: np.ndarray
    person_N: np.ndarray
    modality_N: np.ndarray

    def of(self, modality: Modality) -> "Labelled":
        """Return those of one modality."""
        own = self.modality_N == modality
        return Labelled(self.embedding_ND[own], self.person_N[own], self.modality_N[own])


class Expected(NamedTuple):
    """strangers: as many rows of other people as are expected; at_most: too few pairs tell, and it is no more."""

    strangers: float
    at_most: bool


@dataclass(frozen=True)
class Direction:
    """How similar strangers are, from queries of one modality to rows of another or the same. similarity: P values that
    fall; people_QP, images_QP: strangers with a row at least as similar, and such rows, by query; others_Q, rows_Q:
    strangers and rows of strangers that it was compared with; identities: how many there were (queries, rows)."""

    similarity: np.ndarray
    people_QP: np.ndarray
    images_QP: np.ndarray
    others_Q: np.ndarray
    rows_Q: np.ndarray
    identities: tuple[int, int]

    def expected(self, similarity: float, rows: int) -> Expected:
        """Return how many of so many rows are expected to be strangers at least as similar."""
        point = self._point(similarity)
        if point is None:
            return Expected(float(rows), False)
        share = float(self.images_QP[:, point].sum() / self.rows_Q.sum())
        return Expected(rows * share, bool(similarity > self.similarity[0]))

    def alarms(self, similarity: float, rows: int) -> float:
        """Return the share of queries of absent people that find a row at least as similar among so many."""
        point = self._point(similarity)
        return 1.0 if point is None else self._alarms(point, rows)

    def threshold(self, rows: int, fpir: float) -> float | None:
        """Return the lowest similarity at which at most the share `fpir` of absent people find somebody among so many
        rows; None where too few pairs tell."""
        low, high = 0, len(self.similarity)  # the last point with few enough alarms is before `high`
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self._alarms(middle, rows) <= fpir else (low, middle)
        return float(self.similarity[low - 1]) if low else None

    def needed(self, rows: int, fpir: float) -> int:
        """Return about how many identities, in as many images of each, would tell: pairs grow with their square."""
        return int(np.ceil(min(self.identities) * (self._alarms(0, rows) / fpir) ** 0.5))

    def _point(self, similarity: float) -> int | None:
        """Return the next lower similarity that was measured, where a little too many are expected rather than too few;
        None below all of them."""
        below = np.flatnonzero(self.similarity <= similarity)
        return int(below[0]) if len(below) else None

    def _alarms(self, point: int, rows: int) -> float:
        people_Q, drawn_Q = self.people_QP[:, point], np.minimum(rows, self.others_Q)
        each_Q = self.rows_Q / self.others_Q  # rows of a person
        share_Q = self.images_QP[:, point] / np.maximum(people_Q, 1) / each_Q
        found_Q = 1 - _none(people_Q, share_Q * drawn_Q, self.others_Q)
        return min(1.0, float((found_Q * (rows / drawn_Q)).mean()))


def _none(people_Q: np.ndarray, drawn_Q: np.ndarray, others_Q: np.ndarray) -> np.ndarray:
    """Return the chance that none of some people is drawn: the product of 1 - drawn / (others - j) over j = 0 to
    people - 1. drawn: how many of the others are drawn, times the share of a person's rows that count."""
    from scipy.special import gammaln  # not above: takes a while

    left_Q = others_Q - drawn_Q - people_Q + 1
    logarithm_Q = (
        gammaln(others_Q - drawn_Q + 1) - gammaln(np.maximum(left_Q, 1e-9))
        + gammaln(others_Q - people_Q + 1) - gammaln(others_Q + 1)
    )  # fmt: skip
    return np.where(left_Q > 0, np.exp(logarithm_Q), 0.0)


@dataclass(frozen=True)
class Calibration:
    """source: what it was made of, in words; directions: by (query's modality, rows' modality)."""

    source: str
    directions: Mapping[tuple[Modality, Modality], Direction]


def calibrate(queries: Labelled, rows: Labelled, source: str) -> Calibration:
    """Compare all pairs of strangers, in every direction that has DECIDING pairs of identities. queries, rows: the same
    where each image is both. Raises DataError where no direction has enough."""
    found = {}
    asked, searched = ([Modality(number) for number in np.unique(one.modality_N)] for one in (queries, rows))
    for pair in ((query, row) for query in asked for row in searched):
        direction = _direction(queries.of(pair[0]), rows.of(pair[1]), twice=pair[0] == pair[1])
        if len(direction.similarity):
            found[pair] = direction
    if not found:
        raise DataError(
            f"{source}: has {len(np.unique(rows.person_N))} identities, too few to calibrate on: fewer than "
            f"{DECIDING} pairs of two. Label more people"
        )
    return Calibration(source, found)


def _direction(queries: Labelled, rows: Labelled, *, twice: bool) -> Direction:
    """Compare queries with rows, each of one modality. twice: each pair of people is met in both ways."""
    person_Q, person_G = queries.person_N, rows.person_N
    deciding = 2 * DECIDING if twice else DECIDING
    counted = count_strangers(queries.embedding_ND, person_Q, rows.embedding_ND, person_G, deciding=deciding)
    identities, images = np.unique(person_G, return_counts=True)
    own = dict(zip(identities.tolist(), images.tolist(), strict=True))
    rows_Q = np.array([len(person_G) - own.get(person, 0) for person in person_Q.tolist()], dtype=np.int64)
    others_Q = len(identities) - np.isin(person_Q, identities).astype(np.int64)
    met = rows_Q > 0
    people_QP, images_QP = (counts[met].astype(np.int32) for counts in (counted.people_QP, counted.images_QP))
    known = len(np.unique(person_Q)), len(identities)
    return Direction(counted.similarity, people_QP, images_QP, others_Q[met], rows_Q[met], known)


def decide(
    best: float | None, searched: int, fpir: float, direction: Direction | None
) -> tuple[Decision, float | None, str]:
    """Decide whether the most similar row is somebody. Also returns the similarity from which it is, and the reason in
    a sentence. best: the similarity of that row, None where no row was searched."""
    if best is None:
        return "nobody", None, "No row fits the filters."
    if direction is None:
        return "unknown", None, "Nothing is calibrated for these modalities: nobody knows how strangers score."
    threshold, alarms = direction.threshold(searched, fpir), direction.alarms(best, searched)
    at_most = bool(best > direction.similarity[0])
    if at_most and alarms > fpir:
        needed, known = direction.needed(searched, fpir), min(direction.identities)
        return "unknown", threshold, (
            f"{known} people were calibrated on, too few to tell among {searched:,} rows at an FPIR of {fpir:g}. About "
            f"{needed:,} would do: label more, search fewer rows, or raise the FPIR."
        )  # fmt: skip
    reason = (
        f"Of 100 people who are not among the {searched:,} rows, {number(100 * alarms, at_most)} would find one as "
        "similar as the best."
    )
    return ("somebody" if alarms <= fpir else "nobody"), threshold, reason


def number(value: float, at_most: bool) -> str:
    """Return an expected number in words: "0.042", "at most 12"."""
    digits, at_most = limited(value, at_most)
    return f"{'at most ' * at_most}{digits}"


def limited(value: float, at_most: bool) -> tuple[str, bool]:
    """Return an expected number in two digits, and whether there are at most so many; below FEWEST, there are at most
    that."""
    shown = max(value, FEWEST)
    return f"{shown:.0f}" if shown >= 10 else f"{shown:.2g}", at_most or value < FEWEST


def save(folder: Path, calibration: Calibration, network: Mapping[str, Any]) -> None:
    """Write the calibration of a network into an index. Raises ReportError."""
    about = {"format": FORMAT, "version": VERSION, "source": calibration.source, "network": _of(network)}
    arrays: dict[str, Any] = {ABOUT: np.array(json.dumps(about))}
    for (query, rows), one in calibration.directions.items():
        own = (one.similarity, one.people_QP, one.images_QP, one.others_Q, one.rows_Q, np.array(one.identities))
        arrays |= {f"{query.name}.{rows.name}.{name}": array for name, array in zip(ARRAYS, own, strict=True)}
    with results.replacing(folder / FILE) as file:
        np.savez_compressed(file, **arrays)


def load(folder: Path, network: Mapping[str, Any]) -> Calibration | None:
    """Read the calibration of an index, None without one. Raises DataError where it is damaged, or of another
    network."""
    path = folder / FILE
    try:
        content = path.read_bytes()
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            about = json.loads(str(file[ABOUT]))
            known = about["format"] == FORMAT and about["version"] == VERSION
            own, source = about["network"] == _of(network), str(about["source"])
            found = {
                key: _read([file[f"{key[0].name}.{key[1].name}.{name}"] for name in ARRAYS]) for key in _keys(file)
            }
    except FileNotFoundError:
        return None
    except Exception as error:  # zip, zlib, value, key and type errors, by the kind of damage
        raise DataError(f"{path}: cannot be read ({type(error).__name__}: {error}). {AGAIN}") from None
    if not known:
        raise DataError(f"{path}: is of another version of this program. {AGAIN}")
    if not own:
        raise DataError(f"{path}: was made with another network than the rows. {AGAIN}")
    return Calibration(source, found)


def _of(network: Mapping[str, Any]) -> dict[str, Any]:
    return {name: network.get(name) for name in ("sha256", "feature")}


def _keys(file: Any) -> list[tuple[Modality, Modality]]:
    names = {tuple(name.split(".")[:2]) for name in file.files if name != ABOUT}
    return [(Modality[query], Modality[rows]) for query, rows in sorted(names)]


def _read(arrays: list[np.ndarray]) -> Direction:
    similarity, people_QP, images_QP, others_Q, rows_Q, identities = arrays
    shape = (len(rows_Q), len(similarity))
    shapes = people_QP.shape == images_QP.shape == shape and len(others_Q) == len(rows_Q) and 0 not in shape
    if not shapes or not (np.diff(similarity) < 0).all() or not (np.diff(images_QP, axis=1) >= 0).all():
        raise ValueError("no curve")
    if not (images_QP[:, -1] <= rows_Q).all() or not (people_QP <= images_QP).all() or not (others_Q > 0).all():
        raise ValueError("more strangers than rows")
    query, rows = identities.tolist()
    return Direction(similarity, people_QP, images_QP, others_Q, rows_Q, (query, rows))
