"""Every layout, drawn and converted once per session."""

from pathlib import Path

import pytest

from ffcv_convert.convert import convert
from ffcv_convert.datasets import DATASETS
from ffcv_convert.images import ImageFormat
from ffcv_convert.synthetic import FOLDERS, Options
from tests.conftest import MadeOnce
from tests.support.drawing import draw_here
from tests.support.trees import DRAWN


@pytest.fixture(scope="session")
def drawn_root(made_once: MadeOnce) -> Path:
    """A DATA_ROOT with every layout in its folder: 4 + 2 identities, images of about 64 x 32. Read only."""

    def draw(root: Path) -> None:
        for layout, folder in FOLDERS.items():
            draw_here(root / folder, Options(**DRAWN, layout=layout))

    return made_once("drawn-data", draw)


@pytest.fixture(scope="session")
def drawn_betons(drawn_root: Path, made_once: MadeOnce) -> Path:
    """A BETON_ROOT with these sets, 64 x 32; the LLCM layout is the set `synthetic`. Read only."""

    def convert_all(root: Path) -> None:
        for dataset in DATASETS.values():
            if dataset.find(drawn_root) is not None:
                convert(dataset, drawn_root, root, ImageFormat(64, 32), workers=1)

    return made_once("drawn-betons", convert_all)
