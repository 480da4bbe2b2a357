"""Numba's compiled code kept on disk, for both packages: in the user's folder, and never a reason to stop.

Numba alone ends every later run with an EOFError or the like where a loss of power left a file of its cache cut, and
ends with an error where it cannot write one: the disk is full, the folder read-only, or there is no home. Here what
does not load is removed and compiled anew, and what cannot be kept is used from memory.

What is to be kept must be declared after this was imported, so take njit from here.
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
    """Without a home it is where nothing can be written: a folder that all share would let others put code there."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return Path(os.devnull)


FOLDER = Path(numba.config.CACHE_DIR or _cache_home() / "dns-ffcv" / "numba")
numba.config.CACHE_DIR = str(FOLDER)


class _Locator(caching.UserProvidedCacheLocator):
    """Always that folder. Numba's own asks whether it can be written, and goes on to the program's folder if not."""

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> "_Locator":
        return cls(py_func, py_file)


class _CheckedCode(caching.CompileResultCacheImpl):
    """With a checksum: machine code with a hole in it would be run."""

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
        """Index and code of the function: Numba writes the index first, which may name code of an older one."""
        with suppress(OSError):
            for path in Path(self.cache_path).glob(f"{self._impl.filename_base}.*nb[ic]"):
                path.unlink(missing_ok=True)


@cache  # said once
def _note(folder: str, why: str) -> None:
    print(
        printable(
            f"note: {folder}: compiled code cannot be kept there ({why}), so every start compiles anew. Make room, or "
            "name another folder: NUMBA_CACHE_DIR"
        ),
        file=sys.stderr,
    )


dispatcher.FunctionCache = _ForgivingCache  # type: ignore[attr-defined]  # what cache=True makes
