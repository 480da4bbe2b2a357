"""Keeps Numba's compiled code in the user's cache folder, and never lets the cache stop a run.

Plain Numba fails on every run after a power loss truncated a cache file, and whenever it cannot write one: disk full,
folder read-only, no home. Here, files that do not load are removed and the code is compiled again; code that cannot be
saved stays in memory.

Only functions declared after this import are affected, so import njit from here.
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

from ffcv_convert.common.errors import printable

__all__ = ["FOLDER", "njit"]


def _cache_home() -> Path:
    """Return the user's cache folder; without a home directory, a path that cannot be written, because other users
    could inject code into a shared folder."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return Path(os.devnull)


FOLDER = Path(numba.config.CACHE_DIR or _cache_home() / "dns-ffcv" / "numba")
numba.config.CACHE_DIR = str(FOLDER)


class _Locator(caching.UserProvidedCacheLocator):
    """A locator that always uses FOLDER. Numba's own falls back to the program's folder if it cannot write there."""

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> "_Locator":
        return cls(py_func, py_file)


class _CheckedCode(caching.CompileResultCacheImpl):
    """Compiled code with a checksum, because Numba would execute damaged machine code."""

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
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # a damaged pickle may raise anything
            self._forget()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            self._forget()
            _note(numba.config.CACHE_DIR, error.strerror or str(error))

    def _forget(self) -> None:
        """Remove the function's index and code. Numba writes the index first, so it may name older code."""
        with suppress(OSError):
            for path in Path(self.cache_path).glob(f"{self._impl.filename_base}.*nb[ic]"):
                path.unlink(missing_ok=True)


@cache  # print it once
def _note(folder: str, why: str) -> None:
    print(
        printable(
            f"note: {folder}: compiled code cannot be saved there ({why}), so every start compiles it again. Make "
            "room, or set NUMBA_CACHE_DIR to another folder"
        ),
        file=sys.stderr,
    )


dispatcher.FunctionCache = _ForgivingCache  # type: ignore[attr-defined]  # cache=True creates this class
