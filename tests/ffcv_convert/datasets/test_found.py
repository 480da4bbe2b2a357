"""A set's folder is found under other spellings, nested once more, or as DATA_ROOT itself; else the way is shown."""

from pathlib import Path

import pytest

from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets import DATASETS
from tests.support.refusals import refusal
from tests.support.trees import touch

MARKS = {name: dataset.marks[0] + "/x.jpg" if "." not in dataset.marks[0] else dataset.marks[0]
         for name, dataset in DATASETS.items() if dataset.marks}  # fmt: skip
SPELLINGS = [
    ("sysu", "Sysu-mm01"), ("sysu", "SYSU MM01"), ("sysu", "sysu_mm01"), ("regdb", "REGDB"), ("regdb", "Reg-DB"),
    ("llcm", "Llcm"), ("market_sketch_1k", "market-sketch-1k"), ("market_sketch_1k", "Mask1k"),
    ("pku_sketch", "PKU_Sketch"), ("hitsz_vcm", "VCM_HITSZ"), ("hitsz_vcm", "Vcm"), ("buptcampus", "bupt-campus"),
    ("custom", "Custom"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "folder"), SPELLINGS)
def test_other_spellings_are_taken(tmp_path: Path, name: str, folder: str) -> None:
    touch(tmp_path / folder, MARKS[name])
    assert DATASETS[name].find(tmp_path) == tmp_path / folder
    others = [other for other, dataset in DATASETS.items() if other != name and dataset.find(tmp_path) is not None]
    assert others == []


@pytest.mark.parametrize("name", MARKS)
def test_a_set_that_its_archive_nested_once_more_is_taken(tmp_path: Path, name: str) -> None:
    root = tmp_path / DATASETS[name].folders[0]
    touch(root / "inside", MARKS[name])
    touch(root / "__MACOSX", "._inside")
    assert DATASETS[name].find(tmp_path) == root / "inside"


@pytest.mark.parametrize("name", MARKS)
def test_data_root_may_be_the_set_itself(tmp_path: Path, name: str) -> None:
    touch(tmp_path, MARKS[name])
    assert DATASETS[name].find(tmp_path) == tmp_path


def test_two_spellings_are_refused_by_name(tmp_path: Path) -> None:
    for folder in ("REGDB", "Regdb"):
        touch(tmp_path / folder, MARKS["regdb"])
    with refusal(DataError, tmp_path, "REGDB", "Regdb", "RegDB"):
        DATASETS["regdb"].find(tmp_path)
    touch(tmp_path / "RegDB", MARKS["regdb"])
    assert DATASETS["regdb"].find(tmp_path) == tmp_path / "RegDB"


def test_a_folder_of_another_name_that_looks_like_it_is_offered(tmp_path: Path) -> None:
    touch(tmp_path / "download", MARKS["sysu"])
    assert DATASETS["sysu"].find(tmp_path) is None
    assert DATASETS["sysu"].missing(tmp_path) == f"{tmp_path / 'download'} looks like it: rename it to SYSU-MM01"
    assert DATASETS["llcm"].missing(tmp_path).startswith("To get llcm: sign")
