"""Footage of the drawn set, and an index of it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ffcv_convert.synthetic import draw_footage
from tests.conftest import MadeOnce
from tests.support.search_commands import index, lines_of, other_checkpoint

Add = Callable[..., Path]


@pytest.fixture(scope="session")
def footage(data_root: Path, made_once: MadeOnce) -> Path:
    """Frames of nine cameras with the 5 test identities, and boxes.csv: 85 tracks of one box. Read only."""
    return made_once("search-footage", lambda top: draw_footage(data_root, top / "Footage")) / "Footage"


@pytest.fixture(scope="session")
def footage_index(footage: Path, small_run: Path, beton_root: Path, made_once: MadeOnce) -> Path:
    """An index of it by last.pt of the small run, calibrated on its test set. Read only."""

    def make(top: Path) -> None:
        boxes, network = f"--boxes={footage / 'boxes.csv'}", f"--checkpoint={small_run / 'last.pt'}"
        index(top / "Index", boxes, f"--frames={footage}", network, f"--beton-root={beton_root}")

    return made_once("search-index", make) / "Index"


@pytest.fixture
def add(small_run: Path, tmp_path: Path) -> Add:
    """add(option, ...): the folder of an index with what the options name, by last.pt of the small run unless another
    checkpoint is given; not calibrated."""

    def run(*options: object, checkpoint: Path = small_run / "last.pt") -> Path:
        index(tmp_path / "Index", *options, f"--checkpoint={checkpoint}", f"--beton-root={tmp_path / 'none'}")
        return tmp_path / "Index"

    return run


@pytest.fixture(scope="session")
def other_network(small_run: Path, made_once: MadeOnce) -> Path:
    """A checkpoint that did not make the index. Read only."""
    return made_once("search-other", lambda top: other_checkpoint(small_run / "last.pt", top / "other.pt")) / "other.pt"


@pytest.fixture
def at(
    footage: Path, footage_index: Path, small_run: Path, other_network: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:  # fmt: skip
    """A working folder: Index, the checkpoints last.pt, which made it, and other.pt, Footage, and files that a mistake
    may name."""
    shutil.copytree(footage_index, tmp_path / "Index")
    for name, target in {"Footage": footage, "last.pt": small_run / "last.pt", "other.pt": other_network}.items():
        (tmp_path / name).symlink_to(target)
    Image.new("RGB", (40, 90), (90, 40, 10)).save(tmp_path / "photo.jpg")
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    np.savez(tmp_path / "a.npz", features=np.ones((3, 256), np.float32))
    np.savez(tmp_path / "narrow.npz", features=np.ones((1, 5), np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def query(footage: Path, tmp_path: Path) -> Path:
    """An infrared frame with two people. Other processes may read the footage."""
    line = next(one for one in lines_of(footage) if one["modality"] == "infrared")
    with Image.open(footage / line["frame"]) as frame:
        frame.save(tmp_path / "query.png")
    return tmp_path / "query.png"
