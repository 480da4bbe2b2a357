"""What a protocol is made of: the test images, a trial's queries and gallery, and the pairs that do not count."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

import numpy as np
from torch import Tensor

from dns.evaluation.metrics import CMC
from dns.evaluation.some_rows import EmbeddedRows
from dns.evaluation.tracklets import TrackletMean
from ffcv_convert.beton.labels import UNKNOWN_CAMERA
from ffcv_convert.beton.tracklets import Tracklets


@dataclass(frozen=True)
class TestSet:
    """The N test images: identity, camera and modality, int64, and the source path, by which a folder's files are
    ordered. draws: rows that were drawn elsewhere, "official-1" to "official-10"; the preferred ones of each (identity,
    camera) come first. tracklets: of a set of video, whose samples are the rows."""

    __test__ = False  # pytest: not a test class

    person_N: np.ndarray
    camera_N: np.ndarray
    modality_N: np.ndarray
    path_N: Sequence[str]
    draws: Mapping[str, np.ndarray] = field(default_factory=dict)
    tracklets: Tracklets | None = None

    def folders(self, rows: Sequence[int] | np.ndarray) -> list[list[int]]:
        """Group neighbouring rows of the same (identity, camera)."""
        return [list(group) for _, group in groupby(rows, lambda row: (self.person_N[row], self.camera_N[row]))]


class Images(NamedTuple):
    """Identities and cameras of the queries or of a gallery, int64."""

    person: Tensor
    camera: Tensor


class Compared(NamedTuple):
    """All pairs of a trial. query, gallery: their identities and cameras; distance_QG: the smaller, the more alike;
    excluded_QG: mask of the pairs that do not count, None where all do."""

    query: Images
    gallery: Images
    distance_QG: Tensor
    excluded_QG: Tensor | None


Excluded = Callable[[Images, Images], Tensor]  # (query, gallery) -> mask (Q, G) of what does not count


def camera_2_for_camera_3(query: Images, gallery: Images) -> Tensor:
    """Return a mask of SYSU-MM01's excluded pairs: its cameras 2 and 3 stand in one room."""
    return (query.camera == 3)[:, None] & (gallery.camera == 2)


def same_person_and_camera(query: Images, gallery: Images) -> Tensor:
    """Return a mask of LLCM's excluded pairs; an unknown camera may be any."""
    camera = query.camera[:, None]
    may_be_one = (camera == gallery.camera) | (camera == UNKNOWN_CAMERA) | (gallery.camera == UNKNOWN_CAMERA)
    return (query.person[:, None] == gallery.person) & may_be_one


@dataclass(frozen=True)
class Trial:
    """One search: the query and gallery rows of the test set. excluded: what does not count, if anything. mean_query: a
    query is the mean of an identity's images, not an image. tracklet: a row stands for a tracklet that begins there."""

    protocol: str
    number: int
    query_rows: np.ndarray
    gallery_rows: np.ndarray
    excluded: Excluded | None = None
    cmc: CMC = "images"
    mean_query: bool = False
    tracklet: TrackletMean | None = None

    def rows(self, test: TestSet) -> np.ndarray:
        """Return the rows of the test set whose embeddings are compared or averaged, perhaps some of them twice."""
        ranked = np.concatenate([self.query_rows, self.gallery_rows])
        return self.tracklet.members(test.tracklets, ranked)[0] if self.tracklet and test.tracklets else ranked

    def features(self, test: TestSet, row_N: np.ndarray, embedding_ND: EmbeddedRows) -> Tensor:
        """Return what stands for these rows: their embeddings, or the means of the tracklets that begin there."""
        if self.tracklet and test.tracklets:
            return self.tracklet.means(test.tracklets, row_N, embedding_ND)
        return embedding_ND[row_N]
