"""How much memory is free, and what re-ranking takes of it: told before the work begins."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dns.evaluation import ranking
from dns.evaluation.memory import free_bytes
from dns.evaluation.protocols import INFRARED, PROTOCOLS, VISIBLE
from dns.evaluation.ranking import check_memory
from dns.evaluation.rerank import needed_bytes
from ffcv_convert.common.errors import ConfigError
from tests.conftest import REPOSITORY
from tests.support.made_sets import make_set
from tests.support.refusals import assert_tells, refusal

CPU, KB = torch.device("cpu"), 1024


def machine(root: Path, files: dict[str, str]) -> Path:
    """A root with 8,000 kB that are available, 500 of swap, and a process that uses 3,000 kB of addresses."""
    common = {
        "proc/meminfo": "MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable: 8000 kB\nSwapFree: 500 kB\n",
        "proc/self/status": "Name:\tpython\nVmSize:\t3000 kB\nVmData:\t1000 kB\n",
        "proc/self/cgroup": "0::/\n",
    }
    for name, text in {**common, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/memory"


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 8500 * KB),
        ({f"{V2}/memory.max": "max\n", f"{V2}/memory.current": "5"}, 8500 * KB),
        (
            {
                f"{V2}/memory.max": "7000\n",
                f"{V2}/memory.current": "5000\n",
                f"{V2}/memory.stat": "anon 4000\ninactive_file 900\n",
            },
            2900,
        ),
        (
            {
                "proc/self/cgroup": "0::/job/step\n",
                f"{V2}/job/memory.max": "6000",
                f"{V2}/job/memory.current": "5000",
                f"{V2}/job/memory.stat": "anon 5000\n",
                f"{V2}/job/step/memory.max": "max",
                f"{V2}/job/step/memory.current": "5000",
            },
            1000,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu:/\n4:memory:/docker/elsewhere\n0::/\n",
                f"{V1}/memory.limit_in_bytes": "4000",
                f"{V1}/memory.usage_in_bytes": "3500",
                f"{V1}/memory.stat": "total_inactive_file 250\n",
            },
            750,
        ),
    ],
    ids=["no group", "no limit", "a container", "a job's group", "version 1 in a container"],
)
def test_the_narrowest_limit_counts(tmp_path: Path, files: dict[str, str], free: int) -> None:
    assert free_bytes(CPU, machine(tmp_path, files)) == free


def test_a_limit_of_the_process_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {resource.RLIMIT_AS: 4000 * KB, resource.RLIMIT_DATA: resource.RLIM_INFINITY}
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limits[which], resource.RLIM_INFINITY))
    assert free_bytes(CPU, machine(tmp_path, {})) == 1000 * KB


def test_here_some_memory_is_free() -> None:
    assert 1e7 < free_bytes(CPU) < 1e15


def test_re_ranking_that_cannot_be_is_refused_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    test = make_set([(n % 5 + 1, 0, (VISIBLE, INFRARED)[n % 2], f"{n:03d}") for n in range(30)])
    needed = needed_bytes(15, 15, 8)
    for free, refused in ((needed - 1, True), (needed, False)):
        monkeypatch.setattr(ranking, "free_bytes", lambda _, free=free: free)
        if refused:
            with refusal(ConfigError, "eval.re_ranking", 30, "regdb-t2v"):
                check_memory(PROTOCOLS["regdb-t2v"], test, 8, CPU)
        else:
            check_memory(PROTOCOLS["regdb-t2v"], test, 8, CPU)
    assert not capsys.readouterr().err  # as little as that goes without saying
    monkeypatch.setattr(ranking, "needed_bytes", lambda *_: 2_000_000_000)
    monkeypatch.setattr(ranking, "free_bytes", lambda _: 8_000_000_000)
    check_memory(PROTOCOLS["regdb-t2v"], test, 8, CPU)
    assert_tells(capsys.readouterr().err, "note", 30, "2.00 GB", "8.00 GB")


MEASURE = """
import re, sys
from pathlib import Path
import torch
from dns.evaluation import rerank

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])

torch.manual_seed(0)
rerank.BLOCK_BYTES = 8_000_000
rows = torch.randn(2000, 1, 32).mul(3).add(torch.randn(2000, 2, 32)).flatten(0, 1)
rerank.rerank(rows[:90], rows[90:180])
before = peak()
rerank.rerank(rows[:2000], rows[2000:])
print(peak() - before, rerank.needed_bytes(2000, 2000, 32))
"""


@pytest.mark.slow
def test_re_ranking_takes_no_more_than_it_says() -> None:
    """4,000 images, of which the distances alone are 64 MB; with every matrix whole it would be 500."""
    done = subprocess.run([sys.executable, "-c", MEASURE], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    took, said = map(int, done.stdout.split())
    assert 64_000_000 < took < said < 200_000_000
