"""Keeps Numba's compiled code in the user's cache folder, and never lets the cache stop a run. Import njit from here.

Plain Numba stops where it cannot write (full disk, read-only folder, no home), and at every start after a power loss
cut a file short. Here, what does not load is compiled again, and what cannot be saved stays in memory. Code of another
processor never loads: Numba's index tells processors apart.
"""

import os
import pickle
import sys
import zlib
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba import njit
from numba.core import caching, dispatcher
from numba.core.serialize import dumps

__all__ = ["FOLDER", "njit"]
# Without a home ("~" stays as it is) nothing is kept: in a shared folder, other users could add code.
_HOME = os.path.expanduser("~")
_CACHE = os.environ.get("XDG_CACHE_HOME") or (os.devnull if _HOME == "~" else f"{_HOME}/.cache")
# A ~ that no shell expanded, as in a container's environment, is the home folder too.
FOLDER = Path(os.path.expanduser(numba.config.CACHE_DIR or f"{_CACHE}/dns-ffcv/numba"))
numba.config.CACHE_DIR = str(FOLDER)


class _Locator(caching.UserProvidedCacheLocator):
    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> "_Locator":
        return cls(py_func, py_file)  # Numba's own turns to the program's folder where FOLDER can only be read


class _CheckedCode(caching.CompileResultCacheImpl):
    """Adds a checksum: Numba would run damaged machine code, which may crash or resize images to wrong pixels."""

    _locator_classes = (_Locator,)

    def reduce(self, data: Any) -> Any:
        stored = dumps(super().reduce(data))
        return zlib.crc32(stored), stored

    def rebuild(self, target_context: Any, reduced_data: Any) -> Any:
        checksum, stored = reduced_data
        if zlib.crc32(stored) != checksum:
            raise ValueError("damaged")
        return super().rebuild(target_context, pickle.loads(stored))


class _ForgivingCache(caching.FunctionCache):
    _impl_class = _CheckedCode

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        with suppress(Exception):  # a damaged pickle may raise anything
            return super().load_overload(sig, target_context)
        self._forget()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            self._forget()  # Numba writes the index first: it may name a file of older code
            _note(f"compiled code cannot be saved there ({error.strerror or error}), so every start compiles it again")

    def _forget(self) -> None:
        with suppress(OSError):
            os.unlink(self._cache_file._index_path)


@cache  # print it once
def _note(what: str) -> None:
    print(f"note: {numba.config.CACHE_DIR}: {what}. Make room, or set NUMBA_CACHE_DIR elsewhere", file=sys.stderr)


dispatcher.FunctionCache = _ForgivingCache  # type: ignore[attr-defined]  # cache=True creates this class
