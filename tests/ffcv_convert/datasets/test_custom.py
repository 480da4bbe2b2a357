"""Your own images, listed in a CSV file or by folders; every mistake is reported with its place."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ffcv_convert.beton import Modality, open_beton
from ffcv_convert.beton.labels import UNKNOWN_CAMERA
from ffcv_convert.common.errors import DataError
from ffcv_convert.convert import convert
from ffcv_convert.datasets import custom
from ffcv_convert.datasets.custom import list_records
from ffcv_convert.images import ImageFormat
from ffcv_convert.records import Record, check_records
from tests.support.refusals import refusal
from tests.support.trees import touch, write

HEAD = "path,person,camera,modality,split\n"
ROWS = (
    "a/1.jpg,17,2,visible,train\nb/1.png,17,,infrared,train\na/2.jpg,5,0,visible,test\nb/2.png,0005,3,infrared,test\n"
)
RECORDS = [
    Record("a/1.jpg", 17, 2, Modality.VISIBLE, "train"),
    Record("b/1.png", 17, UNKNOWN_CAMERA, Modality.INFRARED, "train"),
    Record("a/2.jpg", 5, 0, Modality.VISIBLE, "test"),
    Record("b/2.png", 5, 3, Modality.INFRARED, "test"),
]


def listed(root: Path, text: str | bytes) -> list[Record]:
    write(root, "records.csv", text)
    return list_records(root)


@pytest.mark.parametrize(
    "text",
    [
        HEAD + ROWS,
        "\ufeff" + HEAD + ROWS,
        (HEAD + ROWS).replace("\n", "\r\n"),
        HEAD + "\n" + ROWS.replace("\n", "\n\n"),
        HEAD + ROWS.replace(",", " , ").replace("visible", "Visible"),
        HEAD + ROWS.replace("a/1.jpg", '"./a//1.jpg"'),
        (HEAD + ROWS).replace(",", ";"),
        (HEAD + ROWS).replace(",", "\t"),
        HEAD.replace(",", " , ").title() + ROWS,
        HEAD.upper() + ROWS.replace("train", "Train"),
        HEAD + ROWS + ",,,,\n ,,, ,\n",
        "sep=;\n" + (HEAD + ROWS).replace(",", ";"),
        HEAD + ROWS.replace(",,infrared", ",NA,infrared"),
        HEAD + ROWS.replace(",,infrared", ",nan,infrared"),
        HEAD + ROWS.replace(",17,2,", ",17.0,2.0,").replace(",5,0,", ",5.,0.0,"),
        "note,split,path,modality,camera,person\n" + "".join(
            f'"a, b",{split},{path},{modality},{camera},{person}\n'
            for path, person, camera, modality, split in (row.split(",") for row in ROWS.splitlines())
        ),
    ],
    ids=["plain", "byte order mark", "CRLF", "blank lines", "spaces", "dots and slashes", "semicolons", "tabs",
         "blanks and capitals in the header", "capitals", "rows of commas", "sep=", "NA", "nan", "1.0",
         "other order, one more"],
)  # fmt: skip
def test_rows_become_records_in_their_order(tmp_path: Path, text: str) -> None:
    records = listed(tmp_path, text)
    check_records(records, tmp_path)
    assert records == RECORDS


def test_cameras_may_be_left_out(tmp_path: Path) -> None:
    """A part without cameras has 0 throughout, as the published sets; beside a camera, an unknown one has its value."""
    assert listed(tmp_path, "path,person,modality,split\nx.jpg,1,visible,train\n")[0].camera == 0
    rows = "x.jpg,1,,visible,train\ny.jpg,1,,visible,test\nz.jpg,1,0,visible,test\n"
    assert [record.camera for record in listed(tmp_path, HEAD + rows)] == [0, UNKNOWN_CAMERA, 0]


def test_images_beside_camera_folders_have_an_unknown_camera(tmp_path: Path) -> None:
    touch(tmp_path, "train/visible/0001/a.png", "test/visible/0001/a.png", "test/visible/0001/c0/b.png")
    cameras = {record.image: record.camera for record in list_records(tmp_path)}
    assert cameras == {
        "train/visible/0001/a.png": 0,
        "test/visible/0001/a.png": UNKNOWN_CAMERA,
        "test/visible/0001/c0/b.png": 0,
    }


def test_the_name_of_the_csv_may_have_capitals_and_there_is_one(tmp_path: Path) -> None:
    write(tmp_path, "Records.CSV", HEAD + ROWS)
    assert list_records(tmp_path) == RECORDS
    write(tmp_path, "records.csv", HEAD + ROWS)
    with refusal(DataError, tmp_path, "Records.CSV", "records.csv"):
        list_records(tmp_path)


@pytest.mark.parametrize(("one", "two"), [("0001", "1"), ("0001/c1", "0001/cam1"), ("p1", "id1")])
def test_two_folders_of_one_number_are_refused(tmp_path: Path, one: str, two: str) -> None:
    touch(tmp_path, f"train/visible/{one}/a.jpg", f"train/visible/{two}/b.jpg")
    with refusal(DataError, f"train/visible/{one}", f"train/visible/{two}"):
        list_records(tmp_path)


def test_absolute_paths_below_the_root_are_taken(tmp_path: Path) -> None:
    root = tmp_path / "disk" / "custom"
    rows = "".join(f"{root}/{row}\n" for row in ROWS.splitlines())
    assert listed(root, HEAD + rows) == RECORDS
    (tmp_path / "link").symlink_to(root)
    assert list_records(tmp_path / "link") == RECORDS
    with refusal(DataError, root, "records.csv line 2", "'/elsewhere/a/1.jpg'", "absolute"):
        listed(root, HEAD + rows.replace(str(root), "/elsewhere"))


@pytest.mark.parametrize(
    ("content", "line", "told"),
    [
        ((HEAD + ROWS).encode("utf-16"), 1, ["UTF-16"]),
        ((HEAD + ROWS).encode("utf-16-be").join([b"\xfe\xff", b""]), 1, ["UTF-16"]),
        ((HEAD + "\u7167\u7247/1.jpg,1,1,visible,train\n").encode("gbk"), 2, ["UTF-8"]),
        ((HEAD + ROWS + "caf\xe9.jpg,1,1,visible,train\n").encode("cp1252"), 6, ["UTF-8"]),
        (HEAD + ROWS.replace("/", "\\"), 2, [r"'a\\1.jpg'", "backslashes"]),
        (HEAD + "C:\\set\\1.jpg,1,1,visible,train\n", 2, [r"'C:\\set\\1.jpg'", "backslashes"]),
        (HEAD + "x.jpg,-1,1,visible,train\n", 2, ["person", "'-1'", "leave out"]),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line_and_reason(
    tmp_path: Path, content: str | bytes, line: int, told: list[str]
) -> None:
    with refusal(DataError, f"records.csv line {line}", *told):
        listed(tmp_path, content)


def test_a_name_that_holds_a_backslash_is_a_name(tmp_path: Path) -> None:
    touch(tmp_path, "a\\1.jpg")
    assert listed(tmp_path, HEAD + "a\\1.jpg,17,2,visible,train\n")[0].image == "a\\1.jpg"


def test_a_quoted_path_may_hold_commas_quotes_and_spaces(tmp_path: Path) -> None:
    (record,) = listed(tmp_path, HEAD + '"a, b/""c"" d.jpg",1,1,sketch,train\n')
    assert record == Record('a, b/"c" d.jpg', 1, 1, Modality.SKETCH, "train")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("x.jpg,,1,visible,train", ["person is ''"]),
        ("x.jpg,-1,1,visible,train", ["person is '-1'"]),
        ("x.jpg,1.5,1,visible,train", ["person is '1.5'"]),
        (f"x.jpg,{'9' * 19},1,visible,train", [f"person is '{'9' * 19}'"]),
        ("x.jpg,\u0663,1,visible,train", ["person is '\u0663'"]),
        ("x.jpg,1,c2,visible,train", ["camera is 'c2'"]),
        ("x.jpg,1,-2,visible,train", ["camera is '-2'"]),
        ("x.jpg,1,1,thermal,train", ["modality is 'thermal'", "visible, infrared, sketch"]),
        ("x.jpg,1,1,,train", ["modality is ''", "visible, infrared, sketch"]),
        ("x.jpg,1,1,1,train", ["modality is '1'", "visible, infrared, sketch"]),
        ("x.jpg,1,1,visible,val", ["split is 'val'", "train or test"]),
        ("x.jpg,1,1,visible,all", ["split is 'all'", "train or test"]),
        ("x.jpg,1,1,visible", ["split is ''", "train or test"]),
        ("x.jpg", ["person is ''"]),
        ("../x.jpg,1,1,visible,train", ["'../x.jpg'", "inside"]),
        ("a/../../x.jpg,1,1,visible,train", ["'a/../../x.jpg'", "inside"]),
        ("/etc/x.jpg,1,1,visible,train", ["'/etc/x.jpg'", "absolute"]),
        (",1,1,visible,train", ["''", "inside"]),
        (".,1,1,visible,train", ["'.'", "inside"]),
        ('"x.jpg"y,1,1,visible,train', ["CSV"]),
        ('"x.jpg,1,1,visible,train', ["CSV"]),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(tmp_path: Path, row: str, told: list[str]) -> None:
    with refusal(DataError, "records.csv line 7", *told) as caught:
        listed(tmp_path, f"{HEAD}{ROWS}\n{row}\n")
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (ROWS, "path, person, modality, split"),
        ("path,person,camera,modality\nx.jpg,1,2,visible\n", "split"),
        (HEAD.replace("person", "id") + ROWS, "person"),
    ],
)
def test_missing_columns_are_named(tmp_path: Path, text: str, missing: str) -> None:
    with refusal(DataError, tmp_path / "records.csv", f"column {missing}", HEAD.strip()):
        listed(tmp_path, text)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with refusal(DataError, tmp_path / "records.csv", "line 2", "UTF-8"):
        listed(tmp_path, (HEAD + "caf\xe9.jpg,1,1,visible,train").encode("latin-1"))


def test_folders_become_records(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *(f"train/visible/0010/c2/{name}" for name in ("b.jpg", "a.JPG", "Thumbs.db", "._a.jpg")),
        "train/visible/0010/cam11/a.png",
        "train/visible/2/none.bmp",
        "train/infrared/0010/3/a.jpg",
        "train/infrared/id2/c1/a.jpg",
        "train/.git/x/a.jpg",
        "train/visible/.cache/a.jpg",
        "train/visible/readme.txt",
        "test/visible/0003/c1/a.jpg",
        "test/sketch/0003/c4/a.jpeg",
        "val/visible/0003/c1/a.jpg",
    )
    records = list_records(tmp_path)
    check_records(records, tmp_path)
    assert records == [
        Record("train/visible/2/none.bmp", 2, UNKNOWN_CAMERA, Modality.VISIBLE, "train"),
        Record("train/visible/0010/c2/a.JPG", 10, 2, Modality.VISIBLE, "train"),
        Record("train/visible/0010/c2/b.jpg", 10, 2, Modality.VISIBLE, "train"),
        Record("train/visible/0010/cam11/a.png", 10, 11, Modality.VISIBLE, "train"),
        Record("train/infrared/id2/c1/a.jpg", 2, 1, Modality.INFRARED, "train"),
        Record("train/infrared/0010/3/a.jpg", 10, 3, Modality.INFRARED, "train"),
        Record("test/visible/0003/c1/a.jpg", 3, 1, Modality.VISIBLE, "test"),
        Record("test/sketch/0003/c4/a.jpeg", 3, 4, Modality.SKETCH, "test"),
    ]


@pytest.mark.parametrize(
    "folder", ["anna", "c1-2", "0001_left", "-3", "\u0663", "p" + "9" * 19, "0001/left", "0001/x.jpg"]
)
def test_a_folder_whose_name_is_no_number_is_refused(tmp_path: Path, folder: str) -> None:
    touch(tmp_path, "train/visible/0001/c1/a.jpg", f"train/visible/{folder}/a.jpg")
    with refusal(DataError, tmp_path / "train/visible" / folder, "number"):
        list_records(tmp_path)


def test_the_csv_wins_over_the_folders(tmp_path: Path) -> None:
    touch(tmp_path, "train/visible/0001/c1/a.jpg", "train/infrared/anna/a.jpg")
    assert listed(tmp_path, HEAD + ROWS) == RECORDS
    write(tmp_path, "records.csv", None)
    with refusal(DataError, tmp_path / "train/infrared/anna", "number"):
        list_records(tmp_path)


def test_a_set_of_ones_own_is_converted(tmp_path: Path) -> None:
    write(tmp_path / "custom", "records.csv", HEAD + ROWS)
    for number, record in enumerate(RECORDS):
        touch(tmp_path / "custom", record.image)
        Image.fromarray(np.full((8, 4, 3), 50 * number, np.uint8)).save(tmp_path / "custom" / record.image)
    written = convert(custom.DATASET, tmp_path, tmp_path / "Beton", ImageFormat(32, 16), workers=1)
    assert [open_beton(beton).manifest.column("path") for beton in written] == [
        ["a/1.jpg", "b/1.png"],
        ["a/2.jpg", "b/2.png"],
    ]


@pytest.mark.parametrize(
    ("text", "names", "told"),
    [
        (HEAD, ".", ["test"]),
        (HEAD + ROWS.replace("test", "train").replace("5", "17"), ".", ["test"]),
        (HEAD + ROWS + "a/1.jpg,17,1,visible,train\n", "a/1.jpg", ["twice", "train"]),
        (HEAD + ROWS + "./b//1.png,9,1,infrared,test\n", "b/1.png", ["train", "test"]),
        (None, ".", ["test"]),
    ],
)
def test_lists_that_break_an_invariant_stop_the_conversion(
    tmp_path: Path, text: str | None, names: str, told: list[str]
) -> None:
    (tmp_path / "custom").mkdir()
    if text is not None:
        write(tmp_path / "custom", "records.csv", text)
    with refusal(DataError, tmp_path / "custom" / names, *told):
        convert(custom.DATASET, tmp_path, tmp_path / "Beton", ImageFormat(32, 16), workers=1)


def test_the_persons_of_each_split_are_numbered_for_themselves(tmp_path: Path) -> None:
    records = listed(tmp_path, HEAD + ROWS.replace("5,", "17,"))
    check_records(records, tmp_path)
    assert {record.person for record in records} == {17}
