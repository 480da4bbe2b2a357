"""Takes the mean of a tracklet's embeddings for the tracklet, which a protocol of video searches for and finds.

                    frames that are averaged                               shortest tracklet
HITSZ-VCM           6: the first of each of six parts of ceil(n / 6)       12 frames
BUPTCampus          10 at equal steps: floor(i n / 10)                     1
  ...-all-frames    all                                                    1

The mean is L2-normalised. A published method joins the frames in a network of its own, and this is none. Frames of a
short tracklet may be averaged twice, as its network would take them twice. In the rows of a trial, the row of its first
frame stands for a tracklet. Where conversion thinned a set, n counts the frames that are stored, and the shortest
tracklet those that the set has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dns.evaluation.some_rows import EmbeddedRows
from ffcv_convert.beton.labels import Modality
from ffcv_convert.beton.tracklets import Tracklets

FRAMES_AT_ONCE = 1 << 14  # of which float64 copies are held
Role = Literal["query", "gallery"]


def first_of_parts(length_T: np.ndarray, parts: int) -> np.ndarray:
    """Return the first frame of each part, int64 (T, parts), as MITML and M3-ReID test HITSZ-VCM: all parts are as long
    as the longest, and beyond the end the last frame stands."""
    step_T1 = -(-length_T[:, None] // parts)
    return np.minimum(np.arange(parts) * step_T1, length_T[:, None] - 1)


def at_equal_steps(length_T: np.ndarray, frames: int) -> np.ndarray:
    """Return frames at equal steps from the first one on, int64 (T, frames), as BUPTCampus's own code tests."""
    return np.arange(frames) * length_T[:, None] // frames


@dataclass(frozen=True)
class TrackletMean:
    """What stands for a tracklet. frames: lengths int64 (T,) -> numbers of the frames that are averaged, from 0, int64
    (T, F); None: all. shortest: tracklets of fewer frames are left out."""

    frames: Callable[[np.ndarray], np.ndarray] | None = None
    shortest: int = 1

    def chosen(self, found: Tracklets, modality: Modality, role: Role) -> np.ndarray:
        """Return the first rows of a list's tracklets in this modality, in the order of the list."""
        marked_T = found.query_T if role == "query" else found.gallery_T
        return found.sample_T[marked_T & (found.modality_T == modality) & (found.frames_T >= self.shortest)]

    def members(self, found: Tracklets, row_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of the frames that are averaged, and for each its place in row_T. row_T: the first rows of
        tracklets."""
        length_T = found.samples_T[np.searchsorted(found.sample_T, row_T)]
        if self.frames is None:
            group_M = np.repeat(np.arange(len(row_T)), length_T)
            frame_M = np.arange(len(group_M)) - np.repeat(np.cumsum(length_T) - length_T, length_T)
        else:
            frame_TF = self.frames(length_T)
            group_M, frame_M = np.repeat(np.arange(len(row_T)), frame_TF.shape[1]), frame_TF.ravel()
        return row_T[group_M] + frame_M, group_M

    def means(self, found: Tracklets, row_T: np.ndarray, embedding_ND: EmbeddedRows) -> Tensor:
        """Return the L2-normalised mean of each tracklet's embeddings, float64 (T, D)."""
        row_M, group_M = self.members(found, row_T)
        device, shape = embedding_ND.device, (len(row_T), embedding_ND.shape[1])
        total_TD = torch.zeros(shape, dtype=torch.float64, device=device)
        for begin in range(0, len(row_M), FRAMES_AT_ONCE):
            some = slice(begin, begin + FRAMES_AT_ONCE)
            group = torch.from_numpy(group_M[some]).to(device)
            total_TD.index_add_(0, group, embedding_ND[row_M[some]].double())
        return functional.normalize(total_TD, dim=1)  # the sum has the direction of the mean
