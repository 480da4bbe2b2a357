"""Asks how much memory is free: of the machine, of the control groups that hold this process, of its own limits."""

import resource
from collections.abc import Iterator
from pathlib import Path

import torch

ROOT = Path("/")
GROUPS = {  # kind of control group -> its root, files with limit and use, and how the names of its file caches begin
    "": ("sys/fs/cgroup", "memory.max", "memory.current", ""),
    "memory": ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
}


def free_bytes(device: torch.device, root: Path = ROOT) -> int:
    """Return how many bytes more this process may use: of the device, or of the host's memory and swap. root: where
    /proc and /sys are."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return min([_of_machine(root), *_of_groups(root), *_of_limits(root)])


def _of_machine(root: Path) -> int:
    found = _numbers(root / "proc/meminfo")
    return 1024 * (found.get("MemAvailable:", found["MemFree:"]) + found.get("SwapFree:", 0))


def _of_groups(root: Path) -> Iterator[int]:
    """Yield what is left in each control group with a limit, from the process's own to the topmost one. In a container
    the own one may be the topmost."""
    groups = root / "proc/self/cgroup"
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, kind, own = line.split(":", 2)
        if kind not in GROUPS:
            continue
        top, limit, used, begin = GROUPS[kind]
        for part in (Path(own), *Path(own).parents):
            folder = root / top / part.relative_to("/")
            try:
                most, now = (int((folder / name).read_text()) for name in (limit, used))
                held = _numbers(folder / "memory.stat")
                # What files were read is given back where memory is needed.
                yield most - now + sum(held.get(f"{begin}{name}", 0) for name in ("inactive_file", "active_file"))
            except (OSError, ValueError):  # no such group here, or "max": no limit
                continue


def _of_limits(root: Path) -> Iterator[int]:
    """Yield what ulimit -v and ulimit -d leave."""
    found = _numbers(root / "proc/self/status")
    for limit, used in ((resource.RLIMIT_AS, "VmSize:"), (resource.RLIMIT_DATA, "VmData:")):
        most = resource.getrlimit(limit)[0]
        if most != resource.RLIM_INFINITY:
            yield most - 1024 * found[used]


def _numbers(path: Path) -> dict[str, int]:
    """Read lines of a name and a number."""
    rows = (line.split() for line in path.read_text().splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
