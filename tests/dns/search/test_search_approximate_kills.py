"""What FAISS makes of the rows is there whole or not at all, whenever the process that builds it is killed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dns.search.approximate import files
from dns.search.store import Index
from tests.conftest import REPOSITORY
from tests.support.clustered_rows import append, drawn

FEWEST = 400
# Each moment is a child of one process that has imported what is needed, with an index of its own.
KILLED = """
import os, signal, sys
from pathlib import Path
from dns.search.approximate import files, ivf_pq

files.FEWEST = int(sys.argv[1])
faiss = ivf_pq.library()
write, rename = faiss.write_index, os.rename

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def half(index, path):
    write(index, path)
    os.truncate(path, os.path.getsize(path) // 2)
    kill()

def later(*names):
    rename(*names)
    kill()

MOMENTS = {
    "learning": (ivf_pq, "build", kill), "half written": (faiss, "write_index", half), "written": (os, "fsync", kill),
    "described": (os, "rename", kill), "in place": (os, "rename", later),
}
for name, (owner, function, instead) in MOMENTS.items():
    child = os.fork()
    if not child:
        setattr(owner, function, instead)
        files.build(Path(sys.argv[2], name))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (name, status)
"""
MOMENTS = ("learning", "half written", "written", "described", "in place")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index a moment, whose builder was killed then."""
    top = tmp_path_factory.mktemp("killed")
    append(top / "start", drawn(500, 0))
    for name in MOMENTS:
        shutil.copytree(top / "start", top / name)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", KILLED, str(FEWEST), str(top)], check=True, cwd=REPOSITORY, env=environment)
    return top


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_next_search_builds_it_and_leaves_nothing_else(
    moment: str, killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "FEWEST", FEWEST)
    folder = killed / moment
    (segment,) = Index.open(folder).segments
    assert (files._read(folder, segment) is not None) == (moment == "in place")
    files.opened(Index.open(folder))
    assert files._read(folder, segment) is not None
    assert [path.name for path in (folder / "made" / "faiss").iterdir()] == ["000001"]
    assert {path.name for path in folder.iterdir()} - {"writer.partial"} == {"manifest.json", "segments", "made"}
