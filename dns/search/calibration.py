"""Says how many rows of strangers are expected to be as similar to a query as a hit, and when "nobody" is the answer.

Calibration takes embeddings whose identities are known. For each direction, from queries of one modality to rows of
another or the same, every query is compared with every row of another identity. The share of these pairs that are at
least as similar as s, times the number of rows that are searched, is the number of strangers expected at s.

The false alarms at s are the share of queries that find at least one stranger as similar among N rows (FPIR, ISO/IEC
19795-1): of each query, the chance that N of the rows which it was compared with, drawn without replacement, hold one
of those as similar; the mean over the queries. Some people look like many others, and this mean counts their alarms
once. Among more rows than there were identities, N / M times the chance among M: no less than the true one, which grows
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
ABOUT, ARRAYS = "about", ("similarity", "images", "rows", "identities")
FEWEST = 1e-4  # smaller numbers say no more than that
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
    """How similar strangers are, from queries of one modality to rows of another or the same. similarity: P values that
    fall; images_QP: rows of strangers that are at least as similar, by query; rows_Q: rows of strangers that it was
    compared with; identities: how many there were (queries, rows)."""

    similarity: np.ndarray
    images_QP: np.ndarray
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
        # No more rows than there were other identities: of the same person, they would resemble each other.
        drawn_Q = np.minimum(self.rows_Q, max(1, min(rows, self.identities[1] - 1)))
        met_Q = _met(self.images_QP[:, point], self.rows_Q, drawn_Q)
        return min(1.0, float((met_Q * (rows / drawn_Q)).mean()))


def _met(similar_Q: np.ndarray, rows_Q: np.ndarray, drawn_Q: np.ndarray) -> np.ndarray:
    """Return the chance that some of the drawn rows are similar ones: 1 - C(rows - similar, drawn) / C(rows, drawn).
    scipy.stats.hypergeom gives the same, a hundred times as slowly."""
    from scipy.special import gammaln  # not above: takes a while

    left_Q = rows_Q - similar_Q - drawn_Q  # not similar, and not drawn
    none_Q = (
        gammaln(rows_Q - similar_Q + 1) + gammaln(rows_Q - drawn_Q + 1)
        - gammaln(left_Q.clip(min=0) + 1) - gammaln(rows_Q + 1)
    )  # fmt: skip
    return np.where(left_Q < 0, 1.0, 1 - np.exp(none_Q))


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
    counted = count_strangers(labelled.embedding_ND[asked], person_Q, labelled.embedding_ND[searched], person_G)
    identities, images = np.unique(person_G, return_counts=True)
    own = dict(zip(identities.tolist(), images.tolist(), strict=True))
    rows_Q = np.array([len(person_G) - own.get(person, 0) for person in person_Q.tolist()], dtype=np.int64)
    met = rows_Q > 0
    return Direction(
        counted.similarity, counted.images_QP[met].astype(np.int32), rows_Q[met],
        (len(np.unique(person_Q)), len(identities)),
    )  # fmt: skip


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
            f"Too few people were calibrated on to tell at {searched:,} rows and an FPIR of {fpir:g}: {known}, and "
            f"about {needed:,} are needed."
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
        own = (one.similarity, one.images_QP, one.rows_Q, np.array(one.identities))
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
    similarity, images_QP, rows_Q, identities = arrays
    shapes = images_QP.shape == (len(rows_Q), len(similarity)) and 0 not in images_QP.shape
    if not shapes or not (np.diff(similarity) < 0).all() or not (np.diff(images_QP, axis=1) >= 0).all():
        raise ValueError("no curve")
    if not (images_QP[:, -1] <= rows_Q).all() or not (rows_Q > 0).all():
        raise ValueError("more strangers than rows")
    query, rows = identities.tolist()
    return Direction(similarity, images_QP, rows_Q, (query, rows))
