"""Imports FFCV 1.0.2 and replaces what follows in it. No other module of this project imports ffcv.

| FFCV by itself | here |
| --- | --- |
| its import fills a numba.typed.Dict for 3 s and sets torch to one thread | uses a plain dict; restores the threads |
| compiles everything again in every process, 2 s or more | Numba's cache on disk, for what can be cached |
| makes Numba's shared type of uint8 arrays read-only, which loses compiled code | a type of our own |
| reads the file's tables again, which may have changed since we checked them | uses the tables we checked |
| accepts no custom sample order | an entry in ORDER_MAP |

decoder.py and prefetch.py list how they differ from FFCV's own decoder and iterator.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import llvmlite.binding
import numba
import numba.typed
import numpy as np
import torch
from numba import njit, types
from numba.extending import is_jitted

from ffcv_convert.beton.layout import FIELDS, PAGE_BYTES, Structure, field_descriptors


@contextmanager
def _quiet_import() -> Iterator[None]:
    threads, typed_dict = torch.get_num_threads(), numba.typed.Dict
    numba.typed.Dict = dict
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # FFCV uses distutils and ast.Index; we do not
            yield
    finally:
        numba.typed.Dict = typed_dict
        torch.set_num_threads(threads)


with _quiet_import():
    import ffcv._libffcv
    from ffcv.fields.basics import IntDecoder
    from ffcv.fields.rgb_image import SimpleRGBImageDecoder
    from ffcv.loader import loader as ffcv_loader
    from ffcv.memory_managers.os_cache import OSCacheManager
    from ffcv.pipeline.allocation_query import AllocationQuery, allocate_query
    from ffcv.pipeline.compiler import Compiler
    from ffcv.reader import Reader
    from ffcv.traversal_order.base import TraversalOrder
    from ffcv.types import get_handlers

__all__ = ["AllocationQuery", "Compiler", "IntDecoder", "SimpleRGBImageDecoder", "allocate_query", "ffcv_loader"]

llvmlite.binding.load_library_permanently(ffcv._libffcv.__file__)


def _set_num_threads(cls: type[Compiler], count: int) -> None:
    """Set Numba's threads only: FFCV would also set torch's, for the whole process."""
    cls.num_threads = count
    numba.set_num_threads(count)


def _compile(cls: type[Compiler], code: Callable, signature: Any = None) -> Callable:
    """Compile as FFCV does, but cache on disk. Numba's cache confuses the parallel and serial code of one function, so
    parallel code is not cached here; decoder.py caches its own, in separate functions."""
    if is_jitted(code) or not cls.is_enabled:
        return code
    parallel = getattr(code, "is_parallel", False) and cls.num_threads > 1
    return njit(signature, fastmath=True, nogil=True, error_model="numpy", parallel=parallel, cache=not parallel)(code)


Compiler.set_num_threads = classmethod(_set_num_threads)
Compiler.compile = classmethod(_compile)

_FILE = types.Array(types.uint8, 1, "C", readonly=True)
_STORAGE = types.Tuple([_FILE, types.uint64[::1], types.uint64[::1]])


def _read(address, storage):
    size = storage[2][np.searchsorted(storage[1], address)]
    return storage[0][address : address + size]


OSCacheManager.state_type = property(lambda manager: _STORAGE)
OSCacheManager.compile_reader = lambda manager: Compiler.compile(_read, _FILE(types.uint64, _STORAGE))


class _PlannedOrder(TraversalOrder):
    """The order that FFCV asks for only while it sets itself up; Prefetcher.epoch gives the order of each epoch."""

    def sample_order(self, epoch: int) -> np.ndarray:
        return self.indices


ffcv_loader.ORDER_MAP["planned"] = _PlannedOrder


class _CheckedReader(Reader):
    """A reader with the tables that were checked at opening; the file may have changed since then."""

    def __init__(self, structure: Structure, custom_fields: Any):
        self._fname, self.page_size = str(structure.path), PAGE_BYTES
        self.metadata, self.alloc_table = structure.metadata_N, structure.allocation_N
        self.num_samples = len(self.metadata)
        self.handlers = dict(zip(FIELDS, get_handlers(field_descriptors()), strict=True))


ffcv_loader.Reader = _CheckedReader
