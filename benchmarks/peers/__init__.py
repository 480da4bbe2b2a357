"""Other loaders on a CPU, each in two forms: what benchmarks/pipeline.py compares ours with.

As documented: the tool's own loader, as its documentation shows it for training from a local disk, in the setting that
was its fastest on two cores. It makes new batches and works ahead as far as that loader does. This is what somebody who
takes the tool would run.

By hand: only the tool's storage and reading; threads, reused batches and two batches ahead are ours where the tool has
none as fast. Nobody's documentation shows it: it is the most that could be had of the tool.

Both deliver the stored images as uint8 batches, from files of the tool's format in the page cache, and are used where
the tool is installed (pip install '.[bench]'). Raw pixels wherever a tool can store them. No worker processes: each
batch of 6 MB would pass between processes, which was slower than making it where it is used.

mosaicml-streaming is 0.10.0 where NumPy is 2.2 or newer, which its later releases do not allow; what is used of it is
the same there.
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
    """module: what must be importable. open: (images uint8 (N, H, W, 3), a folder for its files) -> its batches.
    form: see above. planned: the batches are the plan's, not the peer's own shuffle. exact: the pixels are the stored
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
    """The peers that can be imported here, by the name that a table gives them."""
    return {name: peer for name, peer in PEERS.items() if _importable(peer.module)}


@contextmanager
def open_peers(images_NHWC: np.ndarray, folder: Path) -> Iterator[dict[str, Batches]]:
    """The batches of every peer that is installed, files below `folder`; leaving the block ends their threads."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(peer.open(images_NHWC, folder / peer.module))
            for name, peer in installed().items()
        }


def stored_pixels(subset: Subset) -> np.ndarray:
    """The subset's images as they are stored: uint8 (N, H, W, 3), in memory."""
    manifest = subset.converted.manifest
    stored = [subset.converted.structure.stored_bytes(int(sample)) for sample in subset.sample_N]
    return np.frombuffer(b"".join(stored), np.uint8).reshape(-1, manifest.height_px, manifest.width_px, 3)


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it lies in
        return False
