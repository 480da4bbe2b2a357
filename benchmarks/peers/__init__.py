"""Other loaders, each in its own fastest way on a CPU: what benchmarks/pipeline.py compares ours with.

Every one delivers the stored pictures as uint8 batches, from files of its own format in the page cache, prefetches, and
is used where it is installed (pip install '.[bench]'). Raw pixels wherever a tool can store them, and threads rather
than worker processes. Tried on two cores and slower, our augmentation behind them: StreamingDataLoader of LitData and
of Mosaic, with and without workers; WebLoader with one and two workers; DALI's numpy reader, file reader and JPEG
decoder. Those with workers were less than half as fast as the thread, for each batch of 6 MB passes between processes.

mosaicml-streaming is 0.10.0 where NumPy is 2.2 or newer, which its later releases do not allow; what is used of it is
the same there.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

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
from benchmarks.peers.ahead import Batches
from pipelines.index import Part


@dataclass(frozen=True)
class Peer:
    """module: what must be importable. open: (images uint8 (N, H, W, 3), a folder for its files) -> its batches.
    planned: the batches are the plan's, not the peer's own shuffle. exact: the pixels are the stored ones."""

    module: str
    open: Callable[[np.ndarray, Path], AbstractContextManager[Batches]]
    planned: bool = True
    exact: bool = True


PEERS: Mapping[str, Peer] = {
    "simplejpeg in a thread pool": Peer("simplejpeg", simplejpeg_threads.batches, exact=False),
    "tensordict memory-mapped": Peer("tensordict", tensordict_mapped.batches),
    "DALI (CPU)": Peer("nvidia.dali", dali_cpu.batches),
    "SPDL": Peer("spdl", spdl_pipeline.batches),
    "WebDataset": Peer("webdataset", webdataset_stream.batches, planned=False),
    "LitData": Peer("litdata", litdata_indexed.batches),
    "Mosaic Streaming": Peer("streaming", mosaic_local.batches),
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


def stored_pixels(part: Part) -> np.ndarray:
    """The part's pictures as they are stored: uint8 (N, H, W, 3), in memory."""
    manifest = part.converted.manifest
    stored = [part.converted.structure.stored_bytes(int(sample)) for sample in part.sample_N]
    return np.frombuffer(b"".join(stored), np.uint8).reshape(-1, manifest.height_px, manifest.width_px, 3)


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it lies in
        return False
