"""Other loaders on a CPU, each in two forms, for benchmarks/pipeline.py to compare with ours, with our augmentation
after all of them. Tools that augment with operators of their own are in benchmarks/own_operators.

As documented: the tool's own loader, as its documentation shows it for training from a local disk, with the settings
that were fastest on two cores. It allocates batches and prefetches as that loader does. A user of the tool would run
this.

By hand: only the tool's storage and reading. Threads, reused batches and prefetching of two batches are ours, unless
the tool's own are as fast. No documentation shows this form: it is the most that the tool can give.

Both deliver the stored images as uint8 batches, from files in the tool's format in the page cache, if the tool is
installed (pip install '.[bench]'). The files hold raw pixels if the tool can store them. There are no worker processes:
passing batches of 6 MB between processes was slower than making them in the process that uses them.

With NumPy 2.2 or newer, mosaicml-streaming is 0.10.0, because its later releases do not allow such a NumPy; the code
used here is the same.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.peers import (
    dali_cpu,
    litdata_indexed,
    mosaic_local,
    simplejpeg_threads,
    spdl_pipeline,
    tensordict_mapped,
    webdataset_stream,
)
from benchmarks.peers.prefetch import Batches
from pipelines.subset import Subset


@dataclass(frozen=True)
class Peer:
    """module: must be importable. form: see above. open: (images uint8 (N, H, W, 3), folder for its files) -> batches.
    planned: whether the batches follow the plan, not the peer's own shuffle. exact: whether the pixels equal the stored
    ones."""

    module: str
    form: Literal["documented", "by hand"]
    open: Callable[[np.ndarray, Path], AbstractContextManager[Batches]]
    planned: bool = True
    exact: bool = True


PEERS: Mapping[str, Peer] = {
    "simplejpeg": Peer("simplejpeg", "documented", simplejpeg_threads.documented, exact=False),
    "simplejpeg, by hand": Peer("simplejpeg", "by hand", simplejpeg_threads.by_hand, exact=False),
    "tensordict": Peer("tensordict", "documented", tensordict_mapped.documented),
    "tensordict, by hand": Peer("tensordict", "by hand", tensordict_mapped.by_hand),
    "DALI (CPU)": Peer("nvidia.dali", "documented", dali_cpu.documented, planned=False),
    "DALI (CPU), by hand": Peer("nvidia.dali", "by hand", dali_cpu.by_hand),
    "SPDL": Peer("spdl", "documented", spdl_pipeline.documented),
    "SPDL, by hand": Peer("spdl", "by hand", spdl_pipeline.by_hand),
    "WebDataset": Peer("webdataset", "documented", webdataset_stream.documented, planned=False),
    "WebDataset, by hand": Peer("webdataset", "by hand", webdataset_stream.by_hand, planned=False),
    "LitData": Peer("litdata", "documented", litdata_indexed.documented, planned=False),
    "LitData, by hand": Peer("litdata", "by hand", litdata_indexed.by_hand),
    "Mosaic Streaming": Peer("streaming", "documented", mosaic_local.documented, planned=False),
    "Mosaic Streaming, by hand": Peer("streaming", "by hand", mosaic_local.by_hand),
}


def installed() -> dict[str, Peer]:
    """The peers that can be imported here, by their name in the tables."""
    return {name: peer for name, peer in PEERS.items() if importable(peer.module)}


@contextmanager
def open_peers(images_NHWC: np.ndarray, folder: Path) -> Iterator[dict[str, Batches]]:
    """Open every installed peer, with its files below `folder`. Leaving the block ends their threads."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(peer.open(images_NHWC, folder / peer.module))
            for name, peer in installed().items()
        }


def stored_pixels(subset: Subset) -> np.ndarray:
    """Read the subset's stored images into memory: uint8 (N, H, W, 3)."""
    manifest = subset.converted.manifest
    stored = [subset.converted.structure.stored_bytes(int(sample)) for sample in subset.sample_N]
    return np.frombuffer(b"".join(stored), np.uint8).reshape(-1, manifest.height_px, manifest.width_px, 3)


def importable(module: str) -> bool:
    """Whether the module is installed, without importing it."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package is missing
        return False
