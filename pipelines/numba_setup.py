"""Sets up Numba: compiled code cached on disk, threads by TBB. Import this before anything is compiled."""

import hashlib
import os
from pathlib import Path

import numba

from ffcv_convert.common import numba_cache

TOP = Path(__file__).parent.parent
# Files with compiled functions, and files whose constants are compiled into them. Numba checks only a function's own
# file for changes, and would go on using code with another file's old constants.
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
    """Return the number of threads: `asked`, or all (0), up to the cores of this process and the threads of Numba."""
    most = min(len(os.sched_getaffinity(0)), numba.config.NUMBA_NUM_THREADS)
    return min(asked, most) if asked > 0 else most
