"""What a search is calibrated on: every image of a test set, or the first frame of each tracklet."""

from types import SimpleNamespace

import numpy as np
import pytest

from dns.search.labelled import of_test_set
from ffcv_convert.beton.labels import Modality


def embed(crops_BHWC: np.ndarray, modality: Modality) -> np.ndarray:
    """Give each image its own number, and its modality."""
    numbers_B = crops_BHWC[:, 0, 0, 0].astype(np.float32)
    return np.stack([numbers_B, np.full(len(numbers_B), float(modality), np.float32)], axis=1)


@pytest.mark.parametrize("first", [None, [0, 2, 5]])
def test_of_video_the_first_frame_of_each_tracklet_is_embedded(first: list[int] | None) -> None:
    images = SimpleNamespace(
        person_N=np.array([7, 7, 7, 7, 7, 9]),
        modality_N=np.array([1, 1, 0, 0, 0, 1]),
        tracklets=first and SimpleNamespace(sample_T=np.array(first)),
        pixels=lambda row_N: [np.full((2, 1, 3), row, np.uint8) for row in row_N],
    )
    found = of_test_set(images, SimpleNamespace(width=2, embed=embed))  # type: ignore[arg-type]
    rows = first or [0, 1, 2, 3, 4, 5]
    assert found.embedding_ND.tolist() == [[row, images.modality_N[row]] for row in rows]
    assert found.person_N.tolist() == images.person_N[rows].tolist()
    assert found.modality_N.tolist() == images.modality_N[rows].tolist()
