"""Numba as this project uses it: code kept on disk, threads by TBB. To be imported before anything compiles."""

import hashlib
import os
from pathlib import Path

import numba

HERE = Path(__file__).parent
# Numba looks at a function's own file only, and would go on using code that calls what another file had before.
SOURCES = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in ("augment_jit.py", "ffcv_mended.py")))
CACHE_HOME = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
CACHE_FOLDER = CACHE_HOME / "dns-ffcv" / "numba" / SOURCES.hexdigest()[:16]
if not numba.config.CACHE_DIR:
    numba.config.CACHE_DIR = str(CACHE_FOLDER)
if "NUMBA_THREADING_LAYER" not in os.environ:
    # workqueue aborts with two parallel loaders and omp kills forked children; tbb does neither.
    numba.config.THREADING_LAYER = "tbb"


def allowed_workers(asked: int) -> int:
    """Threads: `asked`, or all (0), but never more than this process may use or Numba started with."""
    most = min(len(os.sched_getaffinity(0)), numba.config.NUMBA_NUM_THREADS)
    return min(asked, most) if asked > 0 else most
