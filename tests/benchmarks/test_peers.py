"""Every installed peer yields whole epochs of the stored images, and leaves nothing running."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.peers import PEERS, Peer, installed, open_peers, stored_pixels
from benchmarks.peers.prefetch import made_ahead, made_once
from pipelines.subset import open_subset

BATCH = 12
SLACK = 4.0  # largest mean error of a JPEG image, in grey levels


@pytest.fixture(scope="module")
def images_NHWC(beton_root: Path) -> np.ndarray:
    return stored_pixels(open_subset(beton_root / "synthetic", "train"))


def plan_of(images_NHWC: np.ndarray, epoch: int) -> np.ndarray:
    """Every row once, in an order that depends on the epoch: int64 (iterations, BATCH)."""
    return np.random.default_rng(epoch).permutation(len(images_NHWC)).reshape(-1, BATCH)


def check(peer: Peer, got_NHWC: np.ndarray, wanted_NHWC: np.ndarray) -> None:
    if peer.exact:
        assert np.array_equal(got_NHWC, wanted_NHWC)
    else:
        error = np.abs(got_NHWC.astype(np.int16) - wanted_NHWC).mean(axis=(1, 2, 3))
        assert error.max() < SLACK


pytestmark = [
    # WebDataset and Mosaic Streaming leave the files that they read to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    # Arrays of Mosaic Streaming and LitData are read-only views; torch warns of them once per process.
    pytest.mark.filterwarnings("ignore:The given (NumPy array|buffer) is not writable:UserWarning"),
]


MADE: set[tuple[str, int]] = set()  # name and inode of this process's shared memory; another may reuse the name


@pytest.fixture(autouse=True)
def _shared_memory_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    make = SharedMemory.__init__

    def noted(block: SharedMemory, name: str | None = None, create: bool = False, *more: Any, **options: Any) -> None:
        make(block, name, create, *more, **options)
        if create:
            MADE.add((block.name, os.stat(f"/dev/shm/{block.name}").st_ino))

    monkeypatch.setattr(SharedMemory, "__init__", noted)


def is_there(name: str, inode: int) -> bool:
    try:
        return os.stat(f"/dev/shm/{name}").st_ino == inode
    except FileNotFoundError:
        return False


def running() -> set[object]:
    """Threads, child processes, and shared memory made by this process, as by Mosaic Streaming."""
    shared = {block for block in MADE if is_there(*block)}
    return {*threading.enumerate(), *multiprocessing.active_children(), *shared}


def left_since(before: set[object]) -> set[object]:
    """What was started since and does not end within 10 s: a library's threads may need a moment."""
    late = time.monotonic() + 10
    while (left := running() - before) and time.monotonic() < late:
        time.sleep(0.01)
    return left


def test_every_tool_has_both_forms() -> None:
    forms = {(peer.module, peer.form) for peer in PEERS.values()}
    assert forms == {(peer.module, form) for peer in PEERS.values() for form in ("documented", "by hand")}
    assert all((peer.form == "by hand") == name.endswith(", by hand") for name, peer in PEERS.items())


@pytest.mark.parametrize("name", sorted(installed()))
def test_a_peer_delivers_the_images_epoch_after_epoch(name: str, images_NHWC: np.ndarray, tmp_path: Path) -> None:
    peer, before = PEERS[name], running()
    row_of = {image.tobytes(): row for row, image in enumerate(images_NHWC)}
    assert len(row_of) == len(images_NHWC)
    with peer.open(images_NHWC, tmp_path / "files") as batches:
        for epoch in range(2):
            plan = plan_of(images_NHWC, epoch)
            got = np.stack([batch.copy() for batch in batches(plan)])
            assert got.dtype == np.uint8
            assert got.shape == (*plan.shape, *images_NHWC.shape[1:])
            rows = plan.ravel()
            images = got.reshape(-1, *images_NHWC.shape[1:])
            if not peer.planned:
                rows = np.array([row_of[image.tobytes()] for image in images])
                assert sorted(rows) == list(range(len(images_NHWC)))
                assert not np.array_equal(rows, np.sort(rows))
            check(peer, images, images_NHWC[rows])
    assert not left_since(before)


@pytest.mark.parametrize("name", sorted(installed()))
def test_a_plan_may_be_left_and_the_files_are_used_again(name: str, images_NHWC: np.ndarray, tmp_path: Path) -> None:
    peer, plan, before = PEERS[name], plan_of(images_NHWC, 0), running()
    for _ in range(2):
        with peer.open(images_NHWC, tmp_path / "files") as batches:
            files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
            for _ in range(8):  # more than any peer has buffers
                left = batches(plan)
                next(left)
                left.close()
            assert files
            got = [batch.copy() for batch in batches(plan[1:])]
            assert len(got) == len(plan) - 1
            if peer.planned:
                check(peer, np.concatenate(got), images_NHWC[plan[1:].ravel()])
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert not left_since(before)


def test_shared_memory_of_this_process_counts_as_left_and_that_of_others_does_not() -> None:
    before, name = running(), f"999999_{os.getpid()}"
    other = Path("/dev/shm", f"{name}_other")
    block = SharedMemory(name, True, 1)
    try:
        other.touch()
        (left,) = running() - before
        assert left == (name, os.stat(f"/dev/shm/{name}").st_ino)
    finally:
        other.unlink()
        block.close()
        block.unlink()
    assert running() == before


def test_every_installed_peer_is_opened(images_NHWC: np.ndarray, tmp_path: Path) -> None:
    assert installed().items() <= PEERS.items()
    with open_peers(images_NHWC, tmp_path) as peers:
        assert list(peers) == list(installed())


def test_files_of_other_images_or_half_made_ones_are_made_again(tmp_path: Path) -> None:
    made: list[int] = []

    def make_of(images: np.ndarray) -> Callable[[Path], None]:
        def make(folder: Path) -> None:
            made.append(int(images.sum()))
            (folder / f"{len(made)}").touch()

        return make

    one, two = np.ones((2, 1, 1, 3), np.uint8), np.full((2, 1, 1, 3), 2, np.uint8)
    for images in (one, one, two):
        made_once(tmp_path / "files", images, make_of(images))
    assert made == [6, 12]
    assert [path.name for path in (tmp_path / "files").iterdir()] == ["2"]

    def stopped(folder: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made_once(tmp_path / "files", one, stopped)
    made_once(tmp_path / "files", two, make_of(two))
    assert made == [6, 12, 12]


def test_an_error_in_a_filling_thread_is_raised() -> None:
    def fill(rows: np.ndarray, out: np.ndarray) -> None:
        raise ValueError(f"row {rows[0]}")

    with made_ahead(fill, (1, 1, 3), threads=1) as batches, pytest.raises(ValueError, match="row 7"):
        next(batches(np.array([[7, 8]])))
