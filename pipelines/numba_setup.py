"""Numba as this project uses it: code kept on disk, threads by TBB. To be imported before anything compiles."""

import hashlib
import os
from pathlib import Path

import numba

from ffcv_convert.common import numba_cache

TOP = Path(__file__).parent.parent
# What is compiled, and whose constants are compiled in. Numba looks at a function's own file only, and would go on
# using code that has what another file held before.
COMPILED = (
    "pipelines/augment/cpu.py", "pipelines/augment/recipes.py", "pipelines/decoder.py", "pipelines/ffcv_patches.py",
    "ffcv_convert/beton/layout.py",
)  # fmt: skip
SOURCES = hashlib.sha256(b"".join((TOP / name).read_bytes() for name in COMPILED))
numba.config.CACHE_DIR = str(numba_cache.FOLDER / SOURCES.hexdigest()[:16])
if "NUMBA_THREADING_LAYER" not in os.environ:
    # workqueue aborts with two parallel loaders and omp kills forked children; tbb does neither.
    numba.config.THREADING_LAYER = "tbb"


def allowed_workers(asked: int) -> int:
    """Threads: `asked`, or all (0), but never more than this process may use or Numba started with."""
    most = min(len(os.sched_getaffinity(0)), numba.config.NUMBA_NUM_THREADS)
    return min(asked, most) if asked > 0 else most
