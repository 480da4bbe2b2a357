"""What is replaced in FFCV 1.0.2 as it is imported. Nothing else in this project imports ffcv.

| FFCV alone | here |
| --- | --- |
| importing it fills a numba.typed.Dict for 3 s, sets torch to one thread | a plain dict meanwhile; threads put back |
| everything is compiled again in every process, 2 s and more | Numba's cache on disk, for what can be cached |
| declaring its state makes Numba's type of uint8 arrays read-only in place: compiled code is lost | a type of its own |
| the file is read again, though it may have changed since it was checked | the tables that were checked are used |
| custom orders cannot be passed | an ORDER_MAP factory |

decoder.py and prefetch.py list what they do in the place of FFCV's own decoder and iterator.
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
            warnings.simplefilter("ignore", DeprecationWarning)  # distutils, ast.Index: FFCV's, not ours
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
    from ffcv.pipeline.allocation_query import AllocationQuery
    from ffcv.pipeline.compiler import Compiler
    from ffcv.reader import Reader
    from ffcv.traversal_order.base import TraversalOrder
    from ffcv.types import get_handlers

__all__ = ["AllocationQuery", "Compiler", "IntDecoder", "SimpleRGBImageDecoder", "ffcv_loader"]

llvmlite.binding.load_library_permanently(ffcv._libffcv.__file__)


def _set_num_threads(cls: type[Compiler], count: int) -> None:
    """Numba's threads only: FFCV also sets torch's, for the whole process."""
    cls.num_threads = count
    numba.set_num_threads(count)


def _compile(cls: type[Compiler], code: Callable, signature: Any = None) -> Callable:
    """As FFCV's, with the cache on disk. Numba's cache does not tell parallel code from serial, so parallel code
    is cached only where it is a function of its own, as those of decoder.py."""
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
    """FFCV asks it for an order while it sets itself up; the epochs' orders come through Prefetcher.epoch."""

    def sample_order(self, epoch: int) -> np.ndarray:
        return self.indices


ffcv_loader.ORDER_MAP["planned"] = _PlannedOrder


class _CheckedReader(Reader):
    """The tables as they were checked at opening, not as the file may hold them by now."""

    def __init__(self, structure: Structure, custom_fields: Any):
        self._fname, self.page_size = str(structure.path), PAGE_BYTES
        self.metadata, self.alloc_table = structure.metadata_N, structure.allocation_N
        self.num_samples = len(self.metadata)
        self.handlers = dict(zip(FIELDS, get_handlers(field_descriptors()), strict=True))


ffcv_loader.Reader = _CheckedReader
