"""The other loader yields the planned images, epoch after epoch, and leaves no thread running."""

import threading
from pathlib import Path

import numpy as np
import pytest

from benchmarks.harness import importable
from benchmarks.peers import opened, stored_pixels
from pipelines.subset import open_subset

BATCH = 12
pytestmark = pytest.mark.skipif(not importable("tensordict"), reason="needs pip install '.[bench]'")


@pytest.fixture(scope="module")
def images_NHWC(beton_root: Path) -> np.ndarray:
    return stored_pixels(open_subset(beton_root / "synthetic", "train"))


def plan_of(images_NHWC: np.ndarray, epoch: int) -> np.ndarray:
    """Every row once, in an order that depends on the epoch: int64 (iterations, BATCH)."""
    return np.random.default_rng(epoch).permutation(len(images_NHWC)).reshape(-1, BATCH)


def test_the_planned_images_come_epoch_after_epoch(images_NHWC: np.ndarray, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with opened(images_NHWC, BATCH, tmp_path / "files") as batches:
        for epoch in range(3):
            plan = plan_of(images_NHWC, epoch)
            left = batches(plan[::-1])  # a plan may be left before its end
            next(left)
            left.close()
            got = [batch.copy() for batch in batches(plan)]
            assert np.array_equal(got, images_NHWC[plan])
        assert [len(list(batches(plan[:count]))) for count in (0, 1, 2)] == [0, 1, 2]
    assert set(threading.enumerate()) == before


def test_files_of_other_images_are_written_again(images_NHWC: np.ndarray, tmp_path: Path) -> None:
    plan = plan_of(images_NHWC, 0)
    for images in (images_NHWC, 255 - images_NHWC):
        with opened(images, BATCH, tmp_path / "files") as batches:
            assert np.array_equal(next(batches(plan)), images[plan[0]])


def test_an_error_in_a_thread_is_raised(images_NHWC: np.ndarray, tmp_path: Path) -> None:
    with opened(images_NHWC, BATCH, tmp_path / "files") as batches, pytest.raises(ValueError, match="output array"):
        next(batches(np.zeros((1, BATCH + 1), np.int64)))
