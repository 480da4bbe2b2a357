"""Says which samples of a `.beton` are frames of one tracklet: a table in the manifest, with a row for each tracklet.

The samples of a tracklet follow each other, and tracklets come in the order of the set's lists. So a row only says how
many samples are its own, and the table is small: 460,000 frames have 22,000 rows. A set of still images has no table,
and neither has a manifest of an earlier version.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ffcv_convert.beton.manifest import Converted

# samples: how many frames are stored; query, gallery: 1 if the published test searches for it, or in it; frames: how
# many frames the set has of it, which is more where conversion thins.
TRACKLET_COLUMNS = ("samples", "query", "gallery", "frames")
LEAST = {"samples": 1, "query": 0, "gallery": 0, "frames": 1}
MOST = {"query": 1, "gallery": 1}


@dataclass(frozen=True)
class Tracklets:
    """T tracklets of N samples, in the order of the lists; int64, or bool for query and gallery. sample_T: the first
    sample of each; samples_T: how many are its own; frames_T: how many frames the set has of it."""

    sample_T: np.ndarray
    samples_T: np.ndarray
    modality_T: np.ndarray
    query_T: np.ndarray
    gallery_T: np.ndarray
    frames_T: np.ndarray

    def __len__(self) -> int:
        return len(self.sample_T)


def tracklets_of(converted: "Converted") -> Tracklets | None:
    """Return the tracklets of a `.beton`; None if it holds still images."""
    rows = converted.manifest.tracklets
    if not rows:
        return None
    table = dict(zip(TRACKLET_COLUMNS, np.array(rows, dtype=np.int64).T.copy(), strict=True))
    samples_T = table["samples"]
    sample_T = np.cumsum(samples_T) - samples_T
    return Tracklets(
        sample_T=sample_T,
        samples_T=samples_T,
        modality_T=np.ascontiguousarray(converted.structure.column("modality")[sample_T]),
        query_T=table["query"].astype(bool),
        gallery_T=table["gallery"].astype(bool),
        frames_T=table["frames"],
    )


def wrong_tracklets(rows: list[Any], samples: int) -> str | None:
    """Return what is wrong with a manifest's rows of tracklets, or None. samples: how many samples it has."""
    for row in rows:
        if type(row) is not list or len(row) != len(TRACKLET_COLUMNS) or {*map(type, row)} != {int}:
            return f"a row of tracklets that is not {', '.join(TRACKLET_COLUMNS)}"
        for name, value in zip(TRACKLET_COLUMNS, row, strict=True):
            if not LEAST[name] <= value <= MOST.get(name, 2**63 - 1):
                return f"a tracklet's {name} is {value}"
        if row[0] > row[3]:
            return "a tracklet that stores more frames than it has"
    if rows and sum(row[0] for row in rows) != samples:
        return f"tracklets of {sum(row[0] for row in rows)} samples, and {samples} samples"
    return None
