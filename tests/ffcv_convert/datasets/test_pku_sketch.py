"""PKU-Sketch's listing, against made-up lists, good and wrong."""

from pathlib import Path

import pytest

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.convert import convert
from ffcv_convert.datasets import pku_sketch
from ffcv_convert.datasets.pku_sketch import list_records
from ffcv_convert.images import ImageFormat
from ffcv_convert.records import Record, check_records
from tests.support.refusals import refusal
from tests.support.trees import write

LISTS = {
    "trainPKUList_train.txt": "0 12 1 sketch/12.jpg\n1 12 2 photo/12_01_4.jpg\n2 12 2 photo/12_02_9.jpg\n"
    "3 7 1 sketch/7.jpg\n4 7 2 photo/7_01_31.jpg\n5 7 2 photo/7_02_2.jpg\n",
    "trainPKUList_test.txt": "6 200 1 sketch/200.jpg\n7 200 2 photo/200_01_4.jpg\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in LISTS.items():
        write(tmp_path / "PKU-Sketch", name, text)
    return tmp_path / "PKU-Sketch"


def test_records_come_in_the_order_of_the_lists(tree: Path) -> None:
    records = list_records(tree)
    check_records(records, tree)
    assert records == [
        Record("sketch/12.jpg", 12, 0, Modality.SKETCH, "train"),
        Record("photo/12_01_4.jpg", 12, 0, Modality.VISIBLE, "train"),
        Record("photo/12_02_9.jpg", 12, 0, Modality.VISIBLE, "train"),
        Record("sketch/7.jpg", 7, 0, Modality.SKETCH, "train"),
        Record("photo/7_01_31.jpg", 7, 0, Modality.VISIBLE, "train"),
        Record("photo/7_02_2.jpg", 7, 0, Modality.VISIBLE, "train"),
        Record("sketch/200.jpg", 200, 0, Modality.SKETCH, "test"),
        Record("photo/200_01_4.jpg", 200, 0, Modality.VISIBLE, "test"),
    ]


@pytest.mark.parametrize("change", [("\n", "\r\n"), (" ", "   "), (" ", "\t"), ("\n", "\n\n"), ("12 1 ", "12 0 x 1 ")])
def test_fields_are_counted_from_both_ends(tree: Path, change: tuple[str, str]) -> None:
    expected = list_records(tree)
    write(tree, "trainPKUList_train.txt", "\ufeff" + LISTS["trainPKUList_train.txt"].replace(*change))
    assert list_records(tree) == expected


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    ("added", "told"),
    [
        ("9 x 1 a.jpg", ["'9 x 1 a.jpg'"]),
        ("9 -3 1 a.jpg", ["'9 -3 1 a.jpg'"]),
        ("9 3 3 a.jpg", ["'9 3 3 a.jpg'"]),
        ("9 3 sketch a.jpg", ["'9 3 sketch a.jpg'"]),
        ("3 1 a.jpg", ["'3 1 a.jpg'"]),
        ("a.jpg", ["'a.jpg'"]),
        ("9 3 1 ../a.jpg", ["'../a.jpg'", "inside"]),
        ("9 3 1 /a.jpg", ["'/a.jpg'", "absolute"]),
    ],
)
def test_a_wrong_line_is_refused_with_its_number(tree: Path, name: str, added: str, told: list[str]) -> None:
    write(tree, name, f"\n{LISTS[name]}{added}\n")
    line = LISTS[name].count("\n") + 2
    with refusal(DataError, f"{name} line {line}", *told) as caught:
        list_records(tree)
    assert str(tree) in str(caught.value)


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    ("text", "word"),
    [(None, "no such"), ("\n \n", "empty"), (b"\xff", "UTF-8")],
)
def test_a_list_that_says_nothing_is_refused(tree: Path, name: str, text: str | bytes | None, word: str) -> None:
    write(tree, name, text)
    with refusal(DataError, tree / name, word):
        list_records(tree)


@pytest.mark.parametrize(
    ("added", "names", "told"),
    [
        ("6 7 2 photo/7_02_2.jpg\n", "photo/7_02_2.jpg", ["twice", "train"]),
        ("6 9 2 photo/9_01_2.jpg\n", ".", ["identity 9", "visible"]),
        ("", "sketch/12.jpg", ["not found"]),
    ],
)
def test_lists_that_break_an_invariant_stop_the_conversion(tree: Path, added: str, names: str, told: list[str]) -> None:
    write(tree, "trainPKUList_train.txt", LISTS["trainPKUList_train.txt"] + added)
    with refusal(DataError, tree / names, *told):
        convert(pku_sketch.DATASET, tree.parent, tree.parent / "Beton", ImageFormat(32, 16), workers=1)
