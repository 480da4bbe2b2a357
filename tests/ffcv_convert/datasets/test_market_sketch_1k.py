"""Market-Sketch-1K's listing, against a made-up tree and against folders with mistakes."""

import re
import shutil
from pathlib import Path

import pytest

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets import market_sketch_1k
from ffcv_convert.datasets.market_sketch_1k import list_records
from ffcv_convert.records import Record, check_records
from ffcv_convert.survey import Part, see, shortfalls
from tests.support.refusals import refusal
from tests.support.trees import touch

FILES = [
    "photo/train/0002_c1s1_000451_03.jpg",
    "photo/train/0007_c6s4_001277_01.jpg",
    "photo/query/0003_c3s2_000001_00.jpg",
    "sketch/A/train/0002.jpg",
    "sketch/C/train/0002.jpg",
    "sketch/C/train/0007.jpg",
    "sketch/F/train/0007_b.jpg",
    "sketch/B/query/0003.png",
    "sketch/F/query/0003.jpg",
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "cam3" / "Market-Sketch-1K"
    touch(root, *FILES)
    for style in "ABCDEF":
        for folder in ("train", "query"):
            (root / "sketch" / style / folder).mkdir(parents=True, exist_ok=True)
    return root


def test_identities_cameras_and_artists_follow_from_the_names(tree: Path) -> None:
    records = list_records(tree)
    check_records(records, tree)
    assert records == [
        Record("photo/train/0002_c1s1_000451_03.jpg", 2, 1, Modality.VISIBLE, "train"),
        Record("photo/train/0007_c6s4_001277_01.jpg", 7, 6, Modality.VISIBLE, "train"),
        Record("sketch/A/train/0002.jpg", 2, 1, Modality.SKETCH, "train"),
        Record("sketch/C/train/0002.jpg", 2, 3, Modality.SKETCH, "train"),
        Record("sketch/C/train/0007.jpg", 7, 3, Modality.SKETCH, "train"),
        Record("sketch/F/train/0007_b.jpg", 7, 6, Modality.SKETCH, "train"),
        Record("photo/query/0003_c3s2_000001_00.jpg", 3, 3, Modality.VISIBLE, "test"),
        Record("sketch/B/query/0003.png", 3, 2, Modality.SKETCH, "test"),
        Record("sketch/F/query/0003.jpg", 3, 6, Modality.SKETCH, "test"),
    ]


def test_a_photo_whose_name_tells_no_camera_has_camera_0(tree: Path) -> None:
    touch(tree, "photo/query/0003.JPG")
    assert Record("photo/query/0003.JPG", 3, 0, Modality.VISIBLE, "test") in list_records(tree)


@pytest.mark.parametrize("name", ["Thumbs.db", "._0002.jpg", "folder.jpg/0002.jpg", "notes.txt", "G/0002.jpg"])
def test_stray_files_are_left_out(tree: Path, name: str) -> None:
    before = list_records(tree)
    touch(tree, f"photo/train/{name}", f"sketch/A/train/{name}", f"sketch/{name}", f"photo/{name}")
    assert list_records(tree) == before


@pytest.mark.parametrize(
    "folder",
    ["photo/train", "photo/query", *(f"sketch/{style}/{part}" for style in "ABCDEF" for part in ("train", "query"))],
)
def test_a_missing_folder_is_seen(tree: Path, folder: str) -> None:
    shutil.rmtree(tree / folder)
    rows = [(r.person, r.camera, int(r.modality), r.split) for r in list_records(tree)]
    lacks = shortfalls(market_sketch_1k.DATASET, ("train", "test"), see([Part(rows, {})]))
    part = "train" if folder.endswith("train") else "test"
    words = (
        "no visible image"
        if folder[0] == "p"
        else rf"no sketch image of cameras?[ \d]* {'ABCDEF'.index(folder[7]) + 1}"
    )
    assert re.search(f"{part} has {words}", "; ".join(lacks.untrainable + lacks.untestable + lacks.missing))


@pytest.mark.parametrize("folder", ["photo/train", "sketch/D/query"])
@pytest.mark.parametrize("name", ["-1_c1s1_000401_03.jpg", "A002.jpg", "2.jpg", "002_1.jpg", "000\u0662.jpg"])
def test_a_name_without_an_identity_is_refused(tree: Path, folder: str, name: str) -> None:
    touch(tree, f"{folder}/{name}")
    with refusal(DataError, tree / folder / name):
        list_records(tree)


def test_an_identity_that_nobody_drew_cannot_train(tree: Path) -> None:
    (tree / "sketch/A/train/0002.jpg").unlink()
    (tree / "sketch/C/train/0002.jpg").unlink()
    with refusal(DataError, tree, "identity 2", "visible"):
        check_records(list_records(tree), tree)


@pytest.mark.parametrize("name", ["Market-Sketch-1K", "market_sketch_1k", "MaSk1K"])
def test_root_is_found_under_its_names(tree: Path, name: str) -> None:
    tree.rename(tree.with_name(name))
    assert market_sketch_1k.DATASET.find(tree.parent) == tree.with_name(name)
