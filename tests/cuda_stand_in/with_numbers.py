"""Runs a Python module on the stand-in with numbers.

python -m tests.cuda_stand_in.run tests.cuda_stand_in.with_numbers MODULE [ARGUMENTS ...]
"""

import runpy
import sys

from tests.cuda_stand_in import computing  # noqa: F401

if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
