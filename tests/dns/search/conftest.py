"""Footage of the drawn set, and an index of it."""

from pathlib import Path

import pytest

from ffcv_convert.synthetic import draw_footage
from tests.conftest import MadeOnce


@pytest.fixture(scope="session")
def footage(data_root: Path, made_once: MadeOnce) -> Path:
    """Frames of nine cameras with the 5 test identities, and boxes.csv: 85 tracks of one box. Read only."""
    return made_once("search-footage", lambda top: draw_footage(data_root, top / "Footage")) / "Footage"


@pytest.fixture(scope="session")
def footage_index(footage: Path, small_run: Path, beton_root: Path, made_once: MadeOnce) -> Path:
    """An index of it by last.pt of the small run, calibrated on its test set. Read only."""

    def make(top: Path) -> None:
        from tests.support.search_commands import index  # not above: it imports the networks

        boxes, network = f"--boxes={footage / 'boxes.csv'}", f"--checkpoint={small_run / 'last.pt'}"
        index(top / "Index", boxes, f"--frames={footage}", network, f"--beton-root={beton_root}")

    return made_once("search-index", make) / "Index"
