"""An index of rows in clusters, as embeddings of people are: a few similar ones of each, and many others."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dns.search.answer import Answer, answer
from dns.search.candidates import Candidates
from dns.search.rows import Filters, Row
from dns.search.store import Index, appending
from ffcv_convert.beton.labels import Modality

NETWORK = {"sha256": "", "feature": "bn", "path": None, "file": "made.npz"}
A_PERSON = 20  # rows round a centre
CAMERAS = 100
WIDTH = 40  # no multiple of 16


def drawn(rows: int, seed: int, width: int = WIDTH) -> np.ndarray:
    """Return float32 (rows, width), of length 1."""
    rng = np.random.default_rng(seed)
    centre = np.repeat(rng.standard_normal((-(-rows // A_PERSON), width)), A_PERSON, axis=0)[:rows]
    vectors = centre + 0.5 * rng.standard_normal((rows, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def camera(number: int) -> str:
    return f'Hof "{number}" \\ süd'


def row(number: int) -> Row:
    """One of a hundred cameras after the other; each tenth row is infrared, each seventh of unknown time."""
    modality = Modality.VISIBLE if number % 10 else Modality.INFRARED
    seen = None if number % 7 == 0 else 1000 * number
    return Row(number, camera(number % CAMERAS), modality, seen, seen, 1, "", f"{number:05d}.jpg", None)


def append(folder: Path, vectors_ND: np.ndarray) -> None:
    """Add a segment."""
    first = len(Index.open(folder)) if (folder / "manifest.json").exists() else 0
    with appending(folder, NETWORK, vectors_ND.shape[1]) as writer:
        writer.add(vectors_ND, [row(first + one) for one in range(len(vectors_ND))], [b""] * len(vectors_ND))


def asked(
    folder: Path, query_D: np.ndarray, filters: Filters, candidates: Candidates | None = None, hits: int = 5
) -> list[Answer]:
    return answer(
        Index.open(folder), query_D, Modality.VISIBLE, filters, hits=hits, fpir=0.1, calibration=None,
        device=torch.device("cpu"), candidates=candidates,
    )  # fmt: skip


def near(folder: Path, count: int, seed: int = 5) -> np.ndarray:
    """Return queries near stored rows, float32 (count, D), of length 1."""
    rng = np.random.default_rng(seed)
    stored_ND = np.concatenate([segment.vectors_ND for segment in Index.open(folder).segments]).astype(np.float32)
    found = stored_ND[rng.integers(len(stored_ND), size=count)]
    found += 0.3 * rng.standard_normal(found.shape, dtype=np.float32) / found.shape[1] ** 0.5
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def recall(exact: Sequence[Answer], found: Sequence[Answer]) -> float:
    """Return the share of the exact answers' hits that are found; those that both have are the same in every bit."""
    of_exact, of_found = (
        {hit.row.number: hit.similarity for one in some for hit in one.hits} for some in (exact, found)
    )
    shared = of_exact.keys() & of_found.keys()
    assert all(of_exact[number] == of_found[number] for number in shared)
    assert [(one.modality, one.searched) for one in exact] == [(one.modality, one.searched) for one in found]
    return len(shared) / len(of_exact)
