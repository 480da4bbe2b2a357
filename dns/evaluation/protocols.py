"""Who is searched for in what: the published test protocols, by name.

llcm-i2v, llcm-v2i   gallery: one image drawn per (identity, camera) of the other modality, ten trials; left out for a
                     query: images of the same identity and the same camera; CMC on identities in order of appearance.

Draws are those of the published code: `random.seed(trial)`, identities ascending, cameras ascending inside, files by
name, `random.choice` in each folder.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from dns.evaluation.metrics import CMC, Metrics, rank_metrics

VISIBLE, INFRARED = 0, 1
TRIALS = 10


@dataclass(frozen=True)
class TestSet:
    """The N test samples: person, camera and modality, int64, and the source path that orders a folder's files."""

    __test__ = False  # pytest: not a test class

    person_N: np.ndarray
    camera_N: np.ndarray
    modality_N: np.ndarray
    path_N: Sequence[str]


@dataclass(frozen=True)
class Protocol:
    """query and gallery are modality codes; same_camera: leave out the same identity in the same camera."""

    name: str
    query: int
    gallery: int
    cmc: CMC = "identities"
    same_camera: bool = True

    def queries(self, test: TestSet) -> np.ndarray:
        """Sample numbers, by identity, camera and name."""
        return _sorted(test, self.query)

    def galleries(self, test: TestSet) -> list[np.ndarray]:
        """One array of sample numbers a trial."""
        pool = _sorted(test, self.gallery)
        folders = [list(group) for _, group in groupby(pool, lambda n: (test.person_N[n], test.camera_N[n]))]
        return [_draw(folders, trial) for trial in range(TRIALS)]


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("llcm-i2v", query=INFRARED, gallery=VISIBLE),
        Protocol("llcm-v2i", query=VISIBLE, gallery=INFRARED),
    )
}


def run_protocol(
    protocol: Protocol, test: TestSet, embedding_ND: Tensor, trials: Sequence[int] = range(TRIALS)
) -> list[Metrics]:
    """Metrics of each trial. embedding_ND: row n embeds sample n, on any device; similarity is the dot product."""
    query, galleries = protocol.queries(test), protocol.galleries(test)
    device = embedding_ND.device
    person, camera = (torch.from_numpy(column).to(device) for column in (test.person_N, test.camera_N))
    results = []
    for trial in trials:
        gallery = galleries[trial]
        excluded = None
        if protocol.same_camera:
            excluded = (person[query][:, None] == person[gallery]) & (camera[query][:, None] == camera[gallery])
        distance = -embedding_ND[query] @ embedding_ND[gallery].T
        results.append(rank_metrics(distance, person[query], person[gallery], excluded_QG=excluded, cmc=protocol.cmc))
    return results


def _sorted(test: TestSet, modality: int) -> np.ndarray:
    chosen = np.flatnonzero(test.modality_N == modality)
    rows = sorted((test.person_N[n], test.camera_N[n], test.path_N[n], n) for n in chosen.tolist())
    return np.array([row[-1] for row in rows], dtype=np.int64)


def _draw(folders: Sequence[Sequence[int]], trial: int) -> np.ndarray:
    generator = random.Random(trial)
    return np.array([generator.choice(folder) for folder in folders], dtype=np.int64)
