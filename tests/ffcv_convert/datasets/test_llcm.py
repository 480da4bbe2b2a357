"""LLCM's listing, against a made-up tree and against lists and folders with mistakes."""

import json
from pathlib import Path

import pytest

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.convert import convert
from ffcv_convert.datasets import llcm
from ffcv_convert.images import ImageFormat
from ffcv_convert.records import Record, check_records
from tests.conftest import REPOSITORY
from tests.support.refusals import refusal
from tests.support.trees import touch, write

PROTOCOL = json.loads((REPOSITORY / "tests" / "data" / "protocol.json").read_text(encoding="utf-8"))["llcm"]
TRAIN = {
    "idx/train_vis.txt": "vis/0351/0351_c06_s200656_f4830_vis.jpg 1\nvis/0007/odd.jpg 0\n",
    "idx/train_nir.txt": "nir/0351/0351_c02_s1_f2_nir.jpg 1\nnir/0007/0007_c09_s1_f3_nir.jpg 0\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The tree of protocol.json with two training identities, below a folder named like a camera; empty files."""
    root = tmp_path / "cam3" / "LLCM"
    for name in PROTOCOL["files"]:
        touch(root, name)
    for text in TRAIN.values():
        for line in text.splitlines():
            touch(root, line.split()[0])
    for name, text in {**PROTOCOL["lists"], **TRAIN}.items():
        write(root, name, text)
    return root


def listed(root: Path, split: str, modality: Modality) -> list[Record]:
    records = llcm.list_records(root)
    check_records(records, root)
    return [record for record in records if (record.split, record.modality) == (split, modality)]


def test_training_images_come_in_the_order_of_the_lists(tree: Path) -> None:
    assert listed(tree, "train", Modality.VISIBLE) == [
        Record("vis/0351/0351_c06_s200656_f4830_vis.jpg", 1, 6, Modality.VISIBLE, "train"),
        Record("vis/0007/odd.jpg", 0, 0, Modality.VISIBLE, "train"),
    ]
    assert [record.camera for record in listed(tree, "train", Modality.INFRARED)] == [2, 9]


@pytest.mark.parametrize("modality", [Modality.VISIBLE, Modality.INFRARED])
def test_test_images_are_the_published_queries_in_their_order(tree: Path, modality: Modality) -> None:
    paths, persons, cameras = PROTOCOL[f"query_{modality.name.lower()}"]
    records = listed(tree, "test", modality)
    assert [record.image for record in records] == paths
    assert [record.person for record in records] == persons
    assert [record.camera for record in records] == cameras


def test_all_cameras_but_infrared_3_are_walked(tree: Path) -> None:
    for short in ("vis", "nir"):
        for camera in range(1, 11):
            touch(tree, f"test_{short}/cam{camera}/0064/0064_c{camera:02d}_s9_f9_{short}.jpg")
    assert {record.camera for record in listed(tree, "test", Modality.VISIBLE)} == set(range(1, 10))
    assert {record.camera for record in listed(tree, "test", Modality.INFRARED)} == set(range(1, 10)) - {3}


@pytest.mark.parametrize("name", ["A.JPG", "a.jpeg", "a.PNG", "a.Bmp", "caf\udce9.jpg"])
def test_any_usual_ending_is_taken(tree: Path, name: str) -> None:
    touch(tree, f"test_vis/cam1/0064/{name}")
    assert listed(tree, "test", Modality.VISIBLE)[0].image == f"test_vis/cam1/0064/{name}"


@pytest.mark.parametrize(
    "name", ["Thumbs.db", ".DS_Store", "._0064_c01_s1_f1_vis.jpg", "a.jpg.part", "list.txt", "jpg"]
)
def test_stray_files_are_left_out(tree: Path, name: str) -> None:
    touch(tree, f"test_vis/cam1/0064/{name}")
    assert len(listed(tree, "test", Modality.VISIBLE)) == len(PROTOCOL["query_visible"][0])


def test_identities_that_are_not_listed_are_left_out(tree: Path) -> None:
    before = llcm.list_records(tree)
    touch(tree, "test_vis/cam1/0065/0065_c01_s1_f1_vis.jpg")
    assert llcm.list_records(tree) == before
    write(tree, "idx/test_id.txt", "143, 0064,\n")
    assert {r.person for r in llcm.list_records(tree) if r.split == "test"} == {64, 143}


@pytest.mark.parametrize(
    "text",
    [
        TRAIN["idx/train_vis.txt"].replace("\n", "\r\n"),
        TRAIN["idx/train_vis.txt"].replace(" ", "\t"),
        TRAIN["idx/train_vis.txt"].replace(" ", "  "),
        "\ufeff" + TRAIN["idx/train_vis.txt"],
        "\n" + TRAIN["idx/train_vis.txt"].replace("\n", "\n\n"),
        TRAIN["idx/train_vis.txt"].replace("vis/0007", "./vis//0007"),
    ],
    ids=["CRLF", "tab", "two spaces", "byte order mark", "blank lines", "dots and slashes"],
)
def test_lists_from_other_editors_read_the_same(tree: Path, text: str) -> None:
    expected = llcm.list_records(tree)
    write(tree, "idx/train_vis.txt", text)
    assert llcm.list_records(tree) == expected


def test_names_with_spaces_and_impossible_cameras(tree: Path) -> None:
    write(tree, "idx/train_vis.txt", f"vis/a b/c d.jpg 0\nvis/1_c{'9' * 20}_s.jpg 1\n")
    records = listed(tree, "train", Modality.VISIBLE)
    assert [(record.image, record.camera) for record in records] == [
        ("vis/a b/c d.jpg", 0),
        (f"vis/1_c{'9' * 20}_s.jpg", 0),
    ]


GOOD = "vis/0007/odd.jpg 0\n"


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("train_vis.txt", None, ["no such"]),
        ("train_nir.txt", None, ["no such"]),
        ("test_id.txt", None, ["no such"]),
        ("train_vis.txt", "", ["empty"]),
        ("train_nir.txt", " \n\n", ["empty"]),
        ("test_id.txt", "", ["no identity"]),
        ("test_id.txt", ",\n,", ["no identity"]),
        ("test_id.txt", "64;143", ["'64;143'"]),
        ("test_id.txt", "64,-143", ["'-143'"]),
        ("train_vis.txt", GOOD + "vis/0007/odd.jpg", ["line 2", "'vis/0007/odd.jpg'"]),
        ("train_vis.txt", GOOD + "vis/0007/odd.jpg one", ["line 2", "'vis/0007/odd.jpg one'"]),
        ("train_vis.txt", GOOD + "vis/0007/odd.jpg -1", ["line 2", "'vis/0007/odd.jpg -1'"]),
        ("train_vis.txt", "7\n", ["line 1", "'7'"]),
        ("train_vis.txt", GOOD + "../x.jpg 0", ["line 2", "'../x.jpg'", "inside"]),
        ("train_vis.txt", GOOD + "vis/../../x.jpg 0", ["line 2", "'vis/../../x.jpg'", "inside"]),
        ("train_vis.txt", GOOD + "/etc/passwd 0", ["line 2", "'/etc/passwd'", "absolute"]),
        ("train_vis.txt", GOOD + ". 0", ["line 2", "'.'", "inside"]),
        ("train_vis.txt", GOOD + "vis/a\0b.jpg 0", ["line 2", r"'vis/a\x00b.jpg'", "inside"]),
        ("train_vis.txt", b"\xff\xfev\0i\0s\0", ["line 1", "UTF-16"]),
    ],
)
def test_bad_lists_are_refused(tree: Path, name: str, text: str | bytes | None, told: list[str]) -> None:
    write(tree, f"idx/{name}", text)
    with refusal(DataError, name, *told):
        llcm.list_records(tree)


@pytest.mark.parametrize(
    ("text", "names", "told"),
    [
        (GOOD + GOOD, "vis/0007/odd.jpg", ["twice", "train"]),
        (GOOD + "vis/./0007//odd.jpg 0\n", "vis/0007/odd.jpg", ["twice", "train"]),
        (GOOD, ".", ["identity 1", "infrared"]),
        (GOOD + "vis/x.jpg 1\nvis/y.jpg 2\nvis/z.jpg 3\n", ".", ["identity 2", "visible", "2 such"]),
        (TRAIN["idx/train_vis.txt"] + "vis/0007/lost.jpg 0\n", "vis/0007/lost.jpg", ["not found"]),
    ],
)
def test_lists_that_break_an_invariant_stop_the_conversion(tree: Path, text: str, names: str, told: list[str]) -> None:
    write(tree, "idx/train_vis.txt", text)
    with refusal(DataError, tree / names, *told):
        convert(llcm.DATASET, tree.parent, tree.parent / "Beton", ImageFormat(32, 16), workers=1)
    assert not (tree.parent / "Beton").exists()


@pytest.mark.parametrize("name", ["vis", "nir"])
def test_lists_that_number_a_folder_differently_are_refused(tree: Path, name: str) -> None:
    """Lists that a user made again with os.listdir; also one list that gives a folder two labels."""
    rows = [line.rsplit(" ", 1) for line in TRAIN[f"idx/train_{name}.txt"].splitlines()]
    write(tree, f"idx/train_{name}.txt", "".join(f"{path} {int(label) + 1}\n" for path, label in rows))
    both = [TRAIN[f"idx/train_{short}.txt"].split()[0] for short in ("vis", "nir")]
    with refusal(DataError, tree / "idx", "folder 0351", *both):
        llcm.list_records(tree)
    text = TRAIN[f"idx/train_{name}.txt"] + f"{rows[0][0]}.jpg {int(rows[0][1]) + 5}\n"
    write(tree, f"idx/train_{name}.txt", text)
    with refusal(DataError, tree / "idx", "folder 0351"):
        llcm.list_records(tree)


def test_swapped_lists_and_folders_are_refused(tree: Path) -> None:
    """Also where the names of some images tell nothing."""
    write(tree, "idx/train_vis.txt", TRAIN["idx/train_nir.txt"])
    write(tree, "idx/train_nir.txt", TRAIN["idx/train_vis.txt"])
    with refusal(DataError, tree / "idx/train_vis.txt", "2 of its 2", "nir", "nir/0351/0351_c02_s1_f2_nir.jpg"):
        llcm.list_records(tree)
    for name, text in TRAIN.items():
        write(tree, name, text)
    (tree / "test_vis").rename(tree / "away")
    (tree / "test_nir").rename(tree / "test_vis")
    (tree / "away").rename(tree / "test_nir")
    with refusal(DataError, tree / "test_vis", "nir"):
        llcm.list_records(tree)


@pytest.mark.parametrize(("file", "line"), [("train_vis.txt", "path label"), ("train_nir.txt", "image,id")])
def test_a_header_is_named_as_one(tree: Path, file: str, line: str) -> None:
    write(tree, f"idx/{file}", f"{line}\n" + TRAIN[f"idx/{file}"])
    with refusal(DataError, tree / "idx" / file, "line 1", f"'{line}'", "header"):
        llcm.list_records(tree)


def test_root_is_found_under_both_spellings(tree: Path) -> None:
    assert llcm.DATASET.find(tree.parent) == tree
    tree.rename(tree.with_name("llcm"))
    assert llcm.DATASET.find(tree.parent) == tree.with_name("llcm")
    with refusal(DataError, tree.parent.parent / "LLCM"):
        convert(llcm.DATASET, tree.parent.parent, tree.parent / "Beton", ImageFormat(32, 16), workers=1)
