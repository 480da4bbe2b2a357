"""Numba's cache on disk: a damaged cache or an unwritable folder costs time, nothing else."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from ffcv_convert import images
from ffcv_convert.images import ImageFormat, load_image
from tests.conftest import REPOSITORY

# Resizes an image with each cache folder named, or else with that of the environment: a process that has compiled once
# compiles again in half the time. Prints [checksum, number of compiled functions] of each.
RESIZE = """
import importlib, json, sys, zlib
from ffcv_convert import lanczos
import numba, numpy as np
pixels = np.random.default_rng(0).integers(0, 256, (40, 20, 3), dtype=np.uint8)
for folder in sys.argv[1:] or [numba.config.CACHE_DIR]:
    numba.config.CACHE_DIR = folder
    importlib.reload(lanczos)  # functions that have loaded nothing
    stored = zlib.crc32(lanczos.resize(pixels, 32, 16))
    functions = lanczos._transposed, lanczos._weighted
    print(json.dumps([stored, sum(sum(function.stats.cache_misses.values()) for function in functions)]))
"""
NOTE = "compiled code cannot be saved there"


def run(*folders: Path, before: list[str] | None = None, **environment: str) -> tuple[list[list[int]], str]:
    """Run RESIZE, compiled without optimising, which is quicker. Returns what it printed and standard error."""
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    done = subprocess.run(
        [*(before or []), sys.executable, "-W", "error", "-c", RESIZE, *map(str, folders)],
        env={**kept, "NUMBA_OPT": "0", **environment}, cwd=REPOSITORY, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def resize(before: list[str] | None = None, **environment: str) -> tuple[list[int], str]:
    """Resize an image in a process. Returns [checksum, number of compiled functions] and standard error."""
    (result,), errors = run(before=before, **environment)
    return result, errors


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A cache written by a process, and the checksum of its result."""
    folder = tmp_path_factory.mktemp("numba")
    (checksum, compiled), errors = resize(NUMBA_CACHE_DIR=str(folder))
    assert (compiled, errors) == (2, "")
    assert resize(NUMBA_CACHE_DIR=str(folder)) == ([checksum, 0], "")
    return folder, checksum


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def hole(path: Path) -> None:
    """Zeros in the machine code, as after a power loss."""
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[: middle - 50] + bytes(100) + content[middle + 50 :])


DAMAGES: dict[str, Callable[[Path], None]] = {"empty": lambda path: os.truncate(path, 0), "cut": cut, "hole": hole}


def test_a_damaged_cache_is_made_again(kept: tuple[Path, int], tmp_path: Path) -> None:
    """Every damage, in the index of one function and in the code of the other: neither may be used."""
    for name, damage in DAMAGES.items():
        folder = shutil.copytree(kept[0], tmp_path / name)
        for pattern in ("*_transposed*.nbi", "*_weighted*.nbc"):
            (path,) = folder.rglob(pattern)
            damage(path)
    folders = sorted(tmp_path.iterdir())
    for compiled in (2, 0):
        assert run(*folders) == ([[kept[1], compiled]] * len(folders), "")


def test_a_cache_that_cannot_be_written_is_passed_over(kept: tuple[Path, int], tmp_path: Path) -> None:
    """One note, and no file is written to the cache folder or beside the program."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    full = ["bash", "-c", 'ulimit -f 4; exec "$@"', "bash"]  # an index fits, code does not
    program = {path: path.stat().st_mtime_ns for path in (REPOSITORY / "ffcv_convert").rglob("*.nb[ic]")}
    for before, name in (([], "file"), (full, "folder")):
        result, errors = resize(before, NUMBA_CACHE_DIR=str(tmp_path / name))
        assert result == [kept[1], 2]
        assert errors.startswith(f"note: {tmp_path / name}: {NOTE} (")
        assert "NUMBA_CACHE_DIR" in errors
        assert errors.count("\n") == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "file"]
    assert {path: path.stat().st_mtime_ns for path in (REPOSITORY / "ffcv_convert").rglob("*.nb[ic]")} == program


def test_a_cache_that_may_only_be_read_is_read(kept: tuple[Path, int], tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    root = os.access(tmp_path / "locked", os.W_OK)  # passes over permissions by a right of its own
    before = ["setpriv", "--bounding-set", "-dac_override"] if root else []
    shutil.copytree(kept[0], tmp_path / "numba")
    folders = [tmp_path / "numba", *(path for path in (tmp_path / "numba").rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    assert resize(before, NUMBA_CACHE_DIR=str(tmp_path / "numba")) == ([kept[1], 0], "")
    for path in (tmp_path / "numba").rglob("*.nbi"):
        os.truncate(path, 0)
    result, errors = resize(before, NUMBA_CACHE_DIR=str(tmp_path / "numba"))
    for folder in folders:
        folder.chmod(0o755)
    assert result == [kept[1], 2]
    assert f"{NOTE} (Permission denied)" in errors


def test_without_a_home_nothing_is_kept(kept: tuple[Path, int], tmp_path: Path) -> None:
    """Neither HOME nor the user database names a home."""
    code = "import pwd, os; pwd.getpwuid = lambda user: {}[user]\n"
    wrapped = ["env", f"PYTHONPATH={tmp_path}"]
    (tmp_path / "sitecustomize.py").write_text(code)
    result, errors = resize(wrapped)
    assert result == [kept[1], 2]
    assert NOTE in errors
    assert resize(wrapped, XDG_CACHE_HOME=str(tmp_path / "cache")) == (result, "")
    assert resize(wrapped, XDG_CACHE_HOME=str(tmp_path / "cache")) == ([kept[1], 0], "")
    assert os.listdir(tmp_path / "cache") == ["dns-ffcv"]


def test_what_a_shell_left_in_the_environment_does_no_harm(kept: tuple[Path, int], tmp_path: Path) -> None:
    """A debugger's NUMBA_DISABLE_JIT, and a folder whose ~ no shell expanded."""
    left = {"NUMBA_DISABLE_JIT": "1", "NUMBA_CACHE_DIR": "~/numba", "HOME": str(tmp_path)}
    assert resize(**left) == ([kept[1], 2], "")
    assert list(tmp_path.rglob("*.nbi"))
    assert not (REPOSITORY / "~").exists()


def test_a_good_image_is_not_blamed_for_what_fails_behind_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    Image.new("RGB", (4, 8)).save(tmp_path / "a.png")
    monkeypatch.setattr(images, "resize", failing)
    with pytest.raises(OSError, match="No space left on device"):
        load_image(tmp_path / "a.png", ImageFormat(24, 12))
