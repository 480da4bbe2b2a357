"""SYSU-MM01's listing, against a made-up tree and against lists and folders with mistakes."""

import json
from pathlib import Path

import pytest

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.convert import convert
from ffcv_convert.datasets import sysu
from ffcv_convert.images import ImageFormat
from ffcv_convert.records import Record, check_records
from tests.conftest import REPOSITORY
from tests.support.refusals import refusal
from tests.support.trees import touch, write

PROTOCOL = json.loads((REPOSITORY / "tests" / "data" / "protocol.json").read_text(encoding="utf-8"))["sysu"]
TRAIN_IDS, VAL_IDS, TEST_IDS = (PROTOCOL["lists"][f"exp/{name}_id.txt"] for name in ("train", "val", "test"))
ON_DISK = {int(name.split("/")[1]) for name in PROTOCOL["files"]}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The tree of protocol.json, below a folder named like a camera; empty files."""
    root = tmp_path / "cam3" / "SYSU-MM01"
    touch(root, *PROTOCOL["files"])
    for name, text in PROTOCOL["lists"].items():
        write(root, name, text)
    return root


def listed(root: Path, split: str, modality: Modality) -> list[Record]:
    records = sysu.list_records(root)
    check_records(records, root)
    return [record for record in records if (record.split, record.modality) == (split, modality)]


@pytest.mark.parametrize("modality", [Modality.VISIBLE, Modality.INFRARED])
def test_training_images_are_the_published_ones_in_their_order(tree: Path, modality: Modality) -> None:
    records = listed(tree, "train", modality)
    assert [record.image for record in records] == PROTOCOL[f"train_{modality.name.lower()}"]
    for record in records:
        assert record.image.startswith(f"cam{record.camera}/{record.person:04d}/")
        assert (record.camera in (3, 6)) == (modality == Modality.INFRARED)


def test_test_images_are_the_published_queries_and_the_whole_gallery(tree: Path) -> None:
    queries = listed(tree, "test", Modality.INFRARED)
    assert [[r.image for r in queries], [r.person for r in queries], [r.camera for r in queries]] == PROTOCOL["query"]
    gallery = {record.image for record in listed(tree, "test", Modality.VISIBLE)}
    persons = {int(field) for field in TEST_IDS.split(",")}
    assert gallery == {
        name for name in PROTOCOL["files"] if name[3] in "1245" and int(name.split("/")[1]) in persons
    }  # fmt: skip
    for trial in range(10):
        assert gallery >= set(PROTOCOL[f"gallery_all_{trial}"])


def test_the_root_is_found_below_a_folder_named_like_a_camera(tree: Path) -> None:
    assert sysu.DATASET.find(tree.parent) == tree
    with refusal(DataError, tree.parent.parent / "SYSU-MM01"):
        convert(sysu.DATASET, tree.parent.parent, tree.parent / "Beton", ImageFormat(32, 16), workers=1)


def test_nothing_but_the_lists_says_who_belongs_to_the_set(tree: Path) -> None:
    before = sysu.list_records(tree)
    assert 533 not in ON_DISK
    touch(tree, "cam1/0533/0001.jpg", "cam3/0533/0001.jpg", "cam1/backup/0001.jpg", "cam7/0021/0001.jpg", "cam2/0.jpg")
    assert sysu.list_records(tree) == before
    # Identities that are on the disk and in no list do not train or test; taken out of a list, they are gone.
    write(tree, "exp/val_id.txt", "399")
    records = sysu.list_records(tree)
    assert {r.person for r in before} - {r.person for r in records} == {416, 505} <= ON_DISK


@pytest.mark.parametrize("name", ["Thumbs.db", ".DS_Store", "._0001.jpg", "0001.jpg.part", "folder.jpg/0001.jpg"])
def test_stray_files_are_left_out(tree: Path, name: str) -> None:
    before = sysu.list_records(tree)
    touch(tree, f"cam1/0021/{name}", f"cam3/0091/{name}")
    assert sysu.list_records(tree) == before


@pytest.mark.parametrize("name", ["0000.JPG", "0000.jpeg", "0000.PNG", "0000.Bmp"])
def test_any_usual_ending_is_taken(tree: Path, name: str) -> None:
    touch(tree, f"cam1/0021/{name}")
    assert listed(tree, "test", Modality.VISIBLE)[0].image == f"cam1/0021/{name}"


def test_a_link_that_leads_nowhere_stops_the_conversion(tree: Path) -> None:
    """Ignoring it would shrink the set silently."""
    (tree / "cam1/0021/0000.jpg").symlink_to(tree / "moved.jpg")
    with refusal(DataError, tree / "cam1/0021/0000.jpg", tree / "moved.jpg"):
        convert(sysu.DATASET, tree.parent, tree.parent / "Beton", ImageFormat(32, 16), workers=1)


@pytest.mark.parametrize("text", ["505, 399,\r\n416\r\n", "\ufeff399,416,505", "0399,0416\n\n505,505"])
def test_lists_from_other_editors_read_the_same(tree: Path, text: str) -> None:
    expected = sysu.list_records(tree)
    write(tree, "exp/val_id.txt", text)
    assert sysu.list_records(tree) == expected


@pytest.mark.parametrize("name", ["train", "val", "test"])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "no such"),
        ("", "no identity"),
        (" ,\n,", "no identity"),
        ("1;2", "'1;2'"),
        ("21,-45", "'-45'"),
        ("21,\u00b2", "'\u00b2'"),
        ("9" * 19, f"'{'9' * 19}'"),
        (b"\xff\xfe1\0", "UTF-16"),
    ],
)
def test_bad_lists_are_refused(tree: Path, name: str, text: str | bytes | None, told: str) -> None:
    write(tree, f"exp/{name}_id.txt", text)
    with refusal(DataError, tree / "exp" / f"{name}_id.txt", told):
        sysu.list_records(tree)


@pytest.mark.parametrize("name", ["train", "val"])
def test_an_identity_that_trains_and_tests_is_refused(tree: Path, name: str) -> None:
    write(tree, f"exp/{name}_id.txt", PROTOCOL["lists"][f"exp/{name}_id.txt"].strip() + ",424,96")
    with refusal(DataError, tree / "exp" / "test_id.txt", "identity 96"):
        sysu.list_records(tree)


def test_test_identities_without_a_image_stop_the_conversion(tree: Path) -> None:
    write(tree, "exp/test_id.txt", "5000")
    with refusal(DataError, tree, "test"):
        convert(sysu.DATASET, tree.parent, tree.parent / "Beton", ImageFormat(32, 16), workers=1)
    assert not (tree.parent / "Beton").exists()


@pytest.mark.parametrize("name", ["1", "21", "00021"])
def test_a_folder_without_four_digits_is_refused(tree: Path, name: str) -> None:
    touch(tree, f"cam6/{name}/0001.jpg")
    if int(name) == 21:
        with refusal(DataError, tree / "cam6" / name, "0021"):
            sysu.list_records(tree)
    else:  # nobody lists identity 1, so nothing is lost
        sysu.list_records(tree)
