"""Numba as this project uses it: code kept on disk, threads by TBB. To be imported before anything compiles."""

import os
from pathlib import Path

import numba

CACHE_FOLDER = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dns-ffcv" / "numba"
if not numba.config.CACHE_DIR:
    numba.config.CACHE_DIR = str(CACHE_FOLDER)
if "NUMBA_THREADING_LAYER" not in os.environ:
    # workqueue aborts with two parallel loaders and omp kills forked children; tbb does neither.
    numba.config.THREADING_LAYER = "tbb"


def allowed_workers(asked: int) -> int:
    """Threads: `asked`, or all (0), but never more than this process may use or Numba started with."""
    most = min(len(os.sched_getaffinity(0)), numba.config.NUMBA_NUM_THREADS)
    return min(asked, most) if asked > 0 else most
