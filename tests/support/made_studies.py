"""Studies of random embeddings: what a report makes of a protocol's rankings."""

import numpy as np
import torch

from dns.evaluation.protocols import PROTOCOLS
from dns.evaluation.ranking import rank_trials
from dns.evaluation.trial import TestSet
from dns.report.study import Study, study
from tests.support.made_sets import random_set

SYSU = [(1, 0), (2, 0), (3, 1), (4, 0), (5, 0), (6, 1)]
LLCM = [(camera, modality) for camera in range(1, 5) for modality in (0, 1)]
SKETCHES = [(1, 2), (2, 2), (1, 0), (2, 0)]
CASES = [("sysu-all", SYSU), ("llcm-i2v", LLCM), ("llcm-v2i-transposed", LLCM), ("mask1k", SKETCHES)]


def made_study(protocol: str, cameras: list[tuple[int, int]], seed: int = 3, digits: int = 3) -> tuple[Study, TestSet]:
    """A study of random embeddings; few digits make equal distances."""
    test = random_set(cameras, seed, persons=12)
    embedding = np.random.default_rng(seed).normal(size=(len(test.person_N), 4)).round(digits)
    embedding_ND = torch.from_numpy(embedding)
    return study(test, rank_trials(PROTOCOLS[protocol], test, embedding_ND), embedding_ND), test
