"""Makes test sets from a few lines, or draws them at random."""

from collections.abc import Iterable, Mapping

import numpy as np

from dns.evaluation.trial import TestSet
from ffcv_convert.beton.tracklets import Tracklets

Sample = tuple[int, int, int, str]  # person, camera, modality, path
Tracklet = tuple[int, int, int, int, str]  # person, camera, modality, frames, "query" or "gallery"


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


def make_video_set(tracklets: Iterable[Tracklet]) -> TestSet:
    """Make a test set of video in the order given."""
    *columns, roles = zip(*tracklets, strict=True)
    person_T, camera_T, modality_T, frames_T = (np.array(column, dtype=np.int64) for column in columns)
    number_N = np.repeat(np.arange(len(frames_T)), frames_T)
    roles_T = np.array(roles)
    return TestSet(
        person_T[number_N], camera_T[number_N], modality_T[number_N],
        [f"{number}/{row}.jpg" for row, number in enumerate(number_N.tolist())],
        tracklets=Tracklets(
            np.cumsum(frames_T) - frames_T, frames_T, modality_T, roles_T == "query", roles_T == "gallery", frames_T,
        ),
    )  # fmt: skip


def random_video_set(seed: int, *, persons: int = 7, longest: int = 30) -> TestSet:
    """Draw a set of 5 cameras, in which each identity has some tracklets of both modalities in both lists."""
    rng = np.random.default_rng(seed)
    tracklets = [
        (person, int(rng.integers(1, 6)), modality, int(rng.integers(1, longest)), role)
        for person in range(1, persons + 1)
        for modality in (0, 1)
        for role in ("query", "gallery")
        for _ in range(rng.integers(1, 5))
    ]
    return make_video_set([tracklets[n] for n in rng.permutation(len(tracklets))])
