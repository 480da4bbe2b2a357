"""Small synthetic sets, drawn and converted once a session, and helpers to call the command-line programs."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ffcv_convert.common.errors import user_errors
from ffcv_convert.convert import convert
from ffcv_convert.datasets import DATASETS, synthetic
from ffcv_convert.images import ImageFormat
from ffcv_convert.synthetic import Options
from tests.support.drawing import draw_here
from tests.support.scripts import run_scripts

IN_PARALLEL = "PYTEST_XDIST_WORKER" in os.environ
os.environ.setdefault("PYTHONWARNINGS", "error")  # in the processes that tests start, as in pytest's own
if IN_PARALLEL:  # threads of several processes would wait for each other, ten times as long
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

REPOSITORY = Path(__file__).parent.parent
FAULTS = "--faults"
SMALL = Options(train_identities=8, test_identities=5, train_images=6, test_images=1, height_px=96)
SMALL_FORMAT = ImageFormat(height_px=96, width_px=48)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        FAULTS, metavar="JSON", help="run every kill and damage of tests/faults, not a few; write the counts to JSON"
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Put torch's number of threads back, whether a test changed it or one of its fixtures."""
    threads = torch.get_num_threads()
    try:
        return (yield)
    finally:
        torch.set_num_threads(threads)


MAY_CHANGE = {
    ".git", ".venv", ".pytest_cache", ".mypy_cache", ".ruff_cache", "__pycache__", "build", "faults.json",
    "Dataset", "Beton", "runs",
}  # fmt: skip


def _files_outside() -> set[str]:
    """What lies in the checkout, golden files with size and time. Libraries may keep caches in the user's folder."""
    found = set()
    for folder, folders, files in os.walk(REPOSITORY):
        folders[:] = set(folders) - MAY_CHANGE
        found |= {os.path.join(folder, name) for name in {*folders, *files} - MAY_CHANGE}
    for path in (REPOSITORY / "tests" / "data").rglob("*.*"):
        found.add(f"{path} ({path.stat().st_size} bytes, {path.stat().st_mtime_ns})")
    return found


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_written_elsewhere() -> Iterator[None]:
    """Tests write below tmp_path. Looked at under CI alone: an editor may write in the checkout meanwhile."""
    before = _files_outside() if "CI" in os.environ else set()
    yield
    changed = sorted(before ^ _files_outside()) if "CI" in os.environ else []
    assert not changed, f"written or removed while the tests ran: {', '.join(changed)}"


MadeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """made_once(name, make): the folder of this name, after make(folder). One of pytest-xdist's processes makes it, and
    all of them use it. Read only."""
    own = tmp_path_factory.getbasetemp()
    top = (own.parent if IN_PARALLEL else own) / "made-once"
    top.mkdir(exist_ok=True)

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        path, made = top / name, top / f"{name}.made"
        with open(top / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                shutil.rmtree(path, ignore_errors=True)  # of a process that failed
                path.mkdir()
                make(path)
                made.touch()
        return path

    return folder


@pytest.fixture(scope="session")
def data_root(made_once: MadeOnce) -> Path:
    """A DATA_ROOT with `synthetic/` in LLCM's layout: 8 + 5 identities, pictures of about 96 x 48. Read only."""
    return made_once("data", lambda root: draw_here(root / "synthetic", SMALL))


@pytest.fixture(scope="session")
def beton_root(data_root: Path, made_once: MadeOnce) -> Path:
    """A BETON_ROOT with synthetic/train.beton (96 pictures) and test.beton, 96 x 48. Read only."""
    return made_once("beton", lambda root: convert(synthetic.DATASET, data_root, root, SMALL_FORMAT, workers=2))


@pytest.fixture(scope="session")
def small_run(beton_root: Path, made_once: MadeOnce) -> Path:
    """The folder of a finished run on this set, an epoch long, with the report that training wrote. Read only."""

    def train(root: Path) -> None:
        import train_ffcv  # not above: most tests need neither
        from tests.support.configs import SMALL_RUN

        assert train_ffcv.train([*SMALL_RUN, f"--data.beton_root={beton_root}", f"--run.root={root}"]) == 0

    return made_once("runs", train) / "run"


@pytest.fixture(scope="session")
def export(small_run: Path, beton_root: Path, made_once: MadeOnce) -> Path:
    """The exported networks of last.pt of the small run, made with the test set at hand. Read only."""

    def make(root: Path) -> None:
        from dns.export.__main__ import main
        from tests.support.configs import small_set

        assert (
            main([f"--eval.checkpoint={small_run / 'last.pt'}", *small_set(beton_root), f"--to={root / 'export'}"]) == 0
        )

    return made_once("export", make) / "export"


Run = Callable[..., "subprocess.CompletedProcess[str]"]
Refused = Callable[[Callable[[list[str]], int], list[object]], str]


@pytest.fixture(scope="session")
def program() -> Run:
    """Run a program as a user would: program("train_ffcv.py", "--help"), program("-m", "ffcv_convert")."""

    def run(*arguments: object, **options: object) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        return subprocess.run(
            command, cwd=options.get("cwd", REPOSITORY), env=environment, capture_output=True, text=True, timeout=240
        )

    return run


@pytest.fixture(scope="session")
def scripts(made_once: MadeOnce) -> Path:
    """What tests/support/scripts.py wrote: train_ffcv.py and eval.py, imported and run as commands that are refused."""
    return made_once("scripts", run_scripts)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture) -> Refused:
    """Call a program's function with arguments that it refuses; returns its message. In this process: starting another
    takes seconds."""

    def call(function: Callable[[list[str]], int], arguments: list[object]) -> str:
        with pytest.raises(SystemExit) as caught, user_errors():
            function([*map(str, arguments)])
        assert caught.value.code == 2
        return capsys.readouterr().err

    return call


@pytest.fixture(scope="session")
def data_root_of(made_once: MadeOnce) -> Callable[[str], Path]:
    """layout -> root of a small drawn set in the layout of a real one: 8 + 5 identities. Read only."""

    def root(layout: str) -> Path:
        options, name = replace(SMALL, layout=layout, train_images=4, height_px=64), DATASETS[layout].folders[0]
        return made_once(f"data-{layout}", lambda top: draw_here(top / name, options)) / name

    return root


@pytest.fixture(scope="session")
def converted_layout(data_root_of: Callable[[str], Path], made_once: MadeOnce) -> Callable[[str], Path]:
    """layout -> folder with the .beton files of its drawn set, 64 x 32. Its parent is a BETON_ROOT. Read only."""

    def folder(layout: str) -> Path:
        dataset, data_root, size = DATASETS[layout], data_root_of(layout).parent, ImageFormat(64, 32)
        return made_once(f"beton-{layout}", lambda top: convert(dataset, data_root, top, size, workers=2)) / layout

    return folder
