"""A set larger than the memory allowed is streamed: its pages are the kernel's to keep or to drop.

Two limits: RLIMIT_DATA bounds what a process may allocate, for root and others alike, and files that are mapped do not
count. A control group bounds the pages of files as well, as a cluster's job or a container has it; it needs root.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ffcv_convert.beton import Modality
from ffcv_convert.images import ImageFormat
from ffcv_convert.records import Record
from ffcv_convert.writer import BetonJob, write_betons
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow
IMAGE_MB = 288 * 144 * 3 / 1e6
IDENTITIES = 12
ALLOWED_MB = 24  # beyond what the program has after its first batches
FLOOR = 250  # images/s, from a disk or from the page cache

# Reads two epochs by the loader, and keeps every image if it is told to: more than it may.
STREAM = """
import json, os, re, resource, sys, time
from pathlib import Path
import numpy as np
import torch
from ffcv_convert.beton import open_beton
from pipelines.augment.recipes import RECIPES
from pipelines.epoch_plan import PlanOptions
from pipelines.subset import subset_of
from ffcv_convert.common.world import World
from pipelines.streamed import StreamedLoader

def mb_of(name):
    return int(re.search(name + r":\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) / 1000

if __name__ == "__main__":
    beton, augment_on, kept, allowed_mb = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "keep", float(sys.argv[4])
    group = sys.argv[5] and Path(sys.argv[5])
    torch.set_num_threads(1)
    converted = open_beton(beton)
    options = PlanOptions(persons=6, pictures=2, recipe=RECIPES["sysu"], seed=0)
    loader = StreamedLoader(
        subset_of(converted, np.arange(len(converted))), options, world=World(torch.device("cpu")), workers=1,
        augment_on=augment_on,
    )  # fmt: skip
    with loader.epoch(0) as batches:
        for _ in zip(range(3), batches):
            pass
    before, peak, images, keeping = mb_of("RssAnon"), 0.0, 0, []
    if group:  # it counts what is allocated or read from now on
        (group / "cgroup.procs").write_text(str(os.getpid()))
    else:
        limit = int(mb_of("VmData") * 1000 * 1024 + allowed_mb * 1e6)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    begin = time.monotonic()
    for epoch in (1, 2):
        with loader.epoch(epoch) as batches:
            for batch in batches:
                keeping += [batch.images.clone()] if kept else []
                images += batch.count
                peak = max(peak, mb_of("RssAnon"))
    seconds = time.monotonic() - begin
    seen = {"images_per_s": images / seconds, "images": images, "grew_mb": peak - before, "peak_mb": peak}
    print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, times: Callable[[int, int], int]) -> Iterator[Path]:
    """A raw .beton of 64 MB (256 in `make faults`), of noise."""
    root = tmp_path_factory.mktemp("large")
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 256, (288, 144, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
    count = int(times(64, 256) / IMAGE_MB)
    modalities = (Modality.VISIBLE, Modality.INFRARED)
    records = [
        Record(f"{n % 8}.png", n % IDENTITIES, 0, modalities[n // IDENTITIES % 2], "train") for n in range(count)
    ]
    write_betons([BetonJob(root / "train.beton", "custom", "train", records)], root, ImageFormat(288, 144), workers=2)
    yield root / "train.beton"
    (root / "train.beton").unlink()


def streamed(beton: Path, augment_on: str, kept: str, group: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Of a file that the kernel was asked to forget."""
    with open(beton, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    command = [sys.executable, "-c", STREAM, str(beton), augment_on, kept, str(ALLOWED_MB), str(group or "")]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)


def _no_swap(group: Path) -> bool:
    """Keep the group from swapping what it may not have. Returns whether it swaps nevertheless."""
    for name, allowed in (("memory.memsw.limit_in_bytes", ALLOWED_MB * 1_000_000), ("memory.swap.max", 0)):
        if (group / name).exists():
            (group / name).write_text(str(allowed))
            return False
    return len(Path("/proc/swaps").read_text().splitlines()) > 1


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group (version 1 or 2) that may use ALLOWED_MB, files' pages included."""
    top = Path("/sys/fs/cgroup")
    for parent, name in ((top / "memory", "memory.limit_in_bytes"), (top, "memory.max")):
        path = parent / f"dns-ffcv-{os.getpid()}"
        try:
            path.mkdir()
            (path / name).write_text(str(ALLOWED_MB * 1_000_000))
            swaps = _no_swap(path)
        except OSError:
            with suppress(OSError):
                path.rmdir()
            continue
        if swaps:
            path.rmdir()
            pytest.skip("the group would swap instead of being stopped, and it cannot be told not to")
        yield path
        path.rmdir()
        return
    pytest.skip("no control group for memory can be made here; it takes root")


def check_streamed(done: "subprocess.CompletedProcess[str]", large: Path, how: str) -> None:
    size_mb = large.stat().st_size / 1e6
    assert size_mb > 2 * ALLOWED_MB
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    print(json.dumps({"size_mb": size_mb, "allowed_mb": ALLOWED_MB, "how": how, **seen}))
    assert seen["images"] * IMAGE_MB > size_mb - ALLOWED_MB
    assert seen["grew_mb"] < ALLOWED_MB
    assert seen["images_per_s"] > FLOOR


@pytest.mark.parametrize("augment_on", ["device", "host"])
def test_a_set_larger_than_the_memory_allowed_is_streamed(large: Path, augment_on: str) -> None:
    check_streamed(streamed(large, augment_on, "stream"), large, augment_on)


def test_a_set_larger_than_the_page_cache_allowed_is_streamed(large: Path, group: Path) -> None:
    done = streamed(large, "host", "stream", group)
    check_streamed(done, large, "control group")
    peak = next(path for name in ("memory.max_usage_in_bytes", "memory.peak") if (path := group / name).exists())
    assert int(peak.read_text()) / 1e6 < 1.01 * ALLOWED_MB


def test_who_keeps_the_pictures_meets_the_limit(large: Path) -> None:
    """The tests above could not fail otherwise."""
    done = streamed(large, "device", "keep")
    assert done.returncode == 1
    assert "can't allocate memory" in done.stderr


def test_who_keeps_the_pictures_is_killed_by_the_group(large: Path, group: Path) -> None:
    assert streamed(large, "device", "keep", group).returncode == -signal.SIGKILL
