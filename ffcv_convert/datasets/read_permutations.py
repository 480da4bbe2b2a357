"""Reads rand_perm_cam.mat for sysu.py in a process of its own, with bounded memory, and prints it as JSON.

The file may be hostile: 300 kB can unpack to 300 MB, and 300 bytes can claim a hundred million cells. SciPy's reader
checks neither. Usage: read_permutations.py FILE MAX_BYTES. If reading fails, the program prints the error's name to
standard error and exits with code 1.
"""

import json
import resource
import sys
from contextlib import suppress
from pathlib import Path

from scipy.io import loadmat


def bound_memory(more_bytes: int) -> None:
    """Limit memory: from now on, allocating more than `more_bytes` raises MemoryError."""
    bound = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize() + more_bytes
    with suppress(ValueError):  # a lower limit is set already
        resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))


def main(path: str, max_bytes: str) -> None:
    bound_memory(int(max_bytes))
    try:
        cells = loadmat(path, variable_names=["rand_perm_cam"])["rand_perm_cam"]
        json.dump([[cell[0].tolist() for cell in cells[camera, 0]] for camera in range(6)], sys.stdout)
    except Exception as error:  # loadmat raises errors of any kind for a damaged file
        sys.exit(type(error).__name__)


if __name__ == "__main__":
    main(*sys.argv[1:])
