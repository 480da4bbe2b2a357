"""Starts a Python module on the stand-in: `environment()` for a child process, or

python -m tests.cuda_stand_in.run MODULE [ARGUMENTS ...]
"""

import os
import sys

from tests.cuda_stand_in.build import FOLDER, build


def environment() -> dict[str, str]:
    """The variables with which a child process finds the stand-in in the place of CUDA. Raises CannotBuild."""
    library = build()
    return {
        **os.environ,
        "LD_PRELOAD": str(library),
        "LD_LIBRARY_PATH": str(FOLDER),
        "TRITON_LIBCUDA_PATH": str(FOLDER),
        "CUDA_VISIBLE_DEVICES": "0",
    }


if __name__ == "__main__":
    os.execve(sys.executable, [sys.executable, "-m", *sys.argv[1:]], environment())
