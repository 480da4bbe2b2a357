"""An IVF-PQ index of a segment's rows, by FAISS: it finds rows that are probably the most similar.

IVF: each row is in the list whose centre is the most similar, and a query looks into the lists of the centres that are
most similar to it. PQ: of each row, its difference from the centre is kept as one byte for each 16 numbers. All sizes
follow from the number of rows N and their width D:

lists      4 sqrt(N), FAISS's own advice: finding the lists of a query then costs about as much as looking into them
bytes      D / 16: a thirty-second of the rows themselves, and few enough to stay in memory where the rows do not.
           They are too coarse to rank by, so that many more candidates than hits are taken (candidates.py)
looked at  a sixteenth of the lists, twice as many while the filters leave too few candidates in these
sample     32 rows a list, from which centres and bytes are learned; at most 1 GiB as float32, which allows fewer lists

The lists are chosen by the inner product, which is the cosine of rows of length 1. It needs no tables beside the lists;
those of the squared distance would take 4 lists x bytes x 256 bytes.
"""

import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from math import isqrt
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dns.export.description import missing
from dns.search.segment import Segment
from ffcv_convert.common.errors import ConfigError

NUMBERS_A_BYTE = 16
ROWS_A_LIST = 32  # of the sample
SAMPLE_BYTES = 1 << 30
SHARE = 16  # one of so many lists is looked into
BLOCK = 8192  # rows that are read and added at once


def library() -> Any:
    """Return the module faiss. Raises ConfigError where it is not installed."""
    if find_spec("faiss") is None:
        raise ConfigError(f"--approximate: {missing('faiss-cpu', 'faiss')}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of its wrapper, in some versions
        import faiss
    return faiss


def padded_width(width: int) -> int:
    """Return the next multiple of NUMBERS_A_BYTE: zeros are added to each row, which change no product."""
    return -(-width // NUMBERS_A_BYTE) * NUMBERS_A_BYTE


def sizes(rows: int, width: int) -> tuple[int, int]:
    """Return the number of lists, and of rows of the sample. width: a padded one."""
    sample = min(rows, SAMPLE_BYTES // (4 * width))
    lists = max(1, min(4 * isqrt(rows), sample // ROWS_A_LIST))
    return lists, min(sample, ROWS_A_LIST * lists)


def build(segment: Segment) -> Any:
    """Return a FAISS index of the rows of a segment, whose numbers in it are their positions. It takes at most about
    2 GiB of memory beside the index itself. Raises DataError for damaged rows, ConfigError without FAISS."""
    faiss = library()
    width = padded_width(segment.vectors_ND.shape[1])
    lists, sample = sizes(len(segment), width)
    index = faiss.index_factory(width, f"IVF{lists},PQ{width // NUMBERS_A_BYTE}x8np", faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = min(index.cp.min_points_per_centroid, ROWS_A_LIST)  # or it warns
    index.train(_sample(segment, sample, width))
    centres_LD = torch.from_numpy(index.quantizer.reconstruct_n(0, lists))
    with tqdm(total=len(segment), desc="adding", unit="rows", dynamic_ncols=True) as bar:
        for rows_BD in _blocks(segment, width):
            # index.add would find the lists itself, by products that take FAISS's wheel five times as long as torch.
            list_B = (torch.from_numpy(rows_BD) @ centres_LD.T).argmax(dim=1).numpy()
            index.add_core(len(rows_BD), faiss.swig_ptr(rows_BD), None, faiss.swig_ptr(list_B))
            bar.update(len(rows_BD))
    return index


def _sample(segment: Segment, size: int, width: int) -> np.ndarray:
    """Return some rows, float32 (size, width): the same ones each time."""
    positions = np.sort(np.random.default_rng(0).choice(len(segment), size, replace=False))
    found_SD = np.zeros((size, width), np.float32)
    for begin in range(0, size, BLOCK):
        some = positions[begin : begin + BLOCK]
        found_SD[begin : begin + len(some), : segment.vectors_ND.shape[1]] = segment.vectors_ND[some]
    return found_SD


def _blocks(segment: Segment, width: int) -> Iterator[np.ndarray]:
    for begin in range(0, len(segment), BLOCK):
        yield _padded(segment.vectors(begin, begin + BLOCK), width)


def _padded(rows_BD: np.ndarray, width: int) -> np.ndarray:
    return np.pad(rows_BD, ((0, 0), (0, width - rows_BD.shape[1])))


def nearest(index: Any, query_D: np.ndarray, chosen: np.ndarray | None, count: int) -> np.ndarray:
    """Return the positions, int64 and rising, of up to `count` rows that are probably the most similar to a query among
    those that were chosen: positions, None for all. query_D: float32, of length 1. Fewer than `count` come only where
    fewer were chosen."""
    faiss = library()
    available = index.ntotal
    restricted: dict[str, Any] = {}
    if chosen is not None:
        available = len(chosen)
        chosen_N = np.zeros(index.ntotal, bool)
        chosen_N[chosen] = True
        restricted = {"sel": faiss.IDSelectorBitmap(np.packbits(chosen_N, bitorder="little"))}
    looked_at = -(-index.nlist // SHARE)
    while True:
        options = faiss.SearchParametersIVF(nprobe=looked_at, **restricted)
        _, found_QK = index.search(_padded(query_D[None], index.d), min(count, available), params=options)
        found_K = found_QK[0][found_QK[0] >= 0]
        if len(found_K) == min(count, available) or looked_at == index.nlist:
            return np.sort(found_K)
        looked_at = min(index.nlist, 2 * looked_at)
