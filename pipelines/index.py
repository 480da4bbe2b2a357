"""What each sample of a `.beton` is, from the file's own metadata."""

from dataclasses import dataclass

import numpy as np

from ffcv_convert.schema import Converted


@dataclass(frozen=True)
class Index:
    """Columns over the N samples, int64: person (training label, or original id in test files), camera, modality."""

    person_N: np.ndarray
    camera_N: np.ndarray
    modality_N: np.ndarray

    def __len__(self) -> int:
        return len(self.person_N)


def read_index(converted: Converted) -> Index:
    return Index(*(np.ascontiguousarray(converted.structure.column(name)) for name in ("person", "camera", "modality")))
