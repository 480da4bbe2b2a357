"""Makes test sets from a few lines, or draws them at random."""

from collections.abc import Iterable, Mapping

import numpy as np

from dns.evaluation.protocols import TestSet

Sample = tuple[int, int, int, str]  # person, camera, modality, path


def make_set(samples: Iterable[Sample], draws: Mapping[str, np.ndarray] | None = None) -> TestSet:
    """Make a test set in the order given: row n is sample n."""
    *columns, paths = zip(*samples, strict=True)
    person, camera, modality = (np.array(column, dtype=np.int64) for column in columns)
    return TestSet(person, camera, modality, paths, draws or {})


def shuffled(samples: Iterable[Sample], seed: int = 0) -> list[Sample]:
    samples = list(samples)
    return [samples[n] for n in np.random.default_rng(seed).permutation(len(samples))]


def random_set(cameras: Iterable[tuple[int, int]], seed: int, *, persons: int = 9, most: int = 4) -> TestSet:
    """Draw a shuffled set whose names sort neither by person nor by camera. cameras: (number, modality). Each camera
    sees two persons in three, in 1 to `most` pictures, so that some persons have one camera and some queries no match.
    Person 1 is in every camera."""
    rng = np.random.default_rng(seed)
    samples = [
        (person, camera, modality, f"{number:04d}_cam{camera}_{modality}_{person}.jpg")
        for person in range(1, persons + 1)
        for camera, modality in cameras
        if person == 1 or rng.random() < 2 / 3
        for number in range(rng.integers(1, most + 1))
    ]
    return make_set(shuffled(samples, seed))
