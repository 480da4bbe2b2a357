"""Your own images, listed in a CSV file or by folders; every mistake is reported with its place."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ffcv_convert.beton import Modality, open_beton
from ffcv_convert.common.errors import DataError
from ffcv_convert.convert import convert
from ffcv_convert.datasets import custom
from ffcv_convert.datasets.custom import list_records
from ffcv_convert.images import ImageFormat
from ffcv_convert.records import Record, check_records
from tests.support.trees import touch, write

HEAD = "path,person,camera,modality,split\n"
ROWS = (
    "a/1.jpg,17,2,visible,train\nb/1.png,17,,infrared,train\na/2.jpg,5,0,visible,test\nb/2.png,0005,3,infrared,test\n"
)
RECORDS = [
    Record("a/1.jpg", 17, 2, Modality.VISIBLE, "train"),
    Record("b/1.png", 17, 0, Modality.INFRARED, "train"),
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
        HEAD + ROWS.replace(",,infrared", ",NA,infrared").replace(",0,visible", ",nan,visible"),
        HEAD + ROWS.replace(",17,2,", ",17.0,2.0,").replace(",5,0,", ",5.,0.0,"),
        "note,split,path,modality,camera,person\n" + "".join(
            f'"a, b",{split},{path},{modality},{camera},{person}\n'
            for path, person, camera, modality, split in (row.split(",") for row in ROWS.splitlines())
        ),
    ],
    ids=["plain", "byte order mark", "CRLF", "blank lines", "spaces", "dots and slashes", "semicolons", "tabs",
         "blanks and capitals in the header", "capitals", "rows of commas", "sep=", "NA and nan", "1.0",
         "other order, one more"],
)  # fmt: skip
def test_rows_become_records_in_their_order(tmp_path: Path, text: str) -> None:
    records = listed(tmp_path, text)
    check_records(records, tmp_path)
    assert records == RECORDS


def test_cameras_may_be_left_out(tmp_path: Path) -> None:
    assert listed(tmp_path, "path,person,modality,split\nx.jpg,1,visible,train\n")[0].camera == 0


def test_the_name_of_the_csv_may_have_capitals_and_there_is_one(tmp_path: Path) -> None:
    write(tmp_path, "Records.CSV", HEAD + ROWS)
    assert list_records(tmp_path) == RECORDS
    write(tmp_path, "records.csv", HEAD + ROWS)
    with pytest.raises(DataError, match=r"holds Records\.CSV and records\.csv"):
        list_records(tmp_path)


@pytest.mark.parametrize(("one", "two"), [("0001", "1"), ("0001/c1", "0001/cam1"), ("p1", "id1")])
def test_two_folders_of_one_number_are_refused(tmp_path: Path, one: str, two: str) -> None:
    touch(tmp_path, f"train/visible/{one}/a.jpg", f"train/visible/{two}/b.jpg")
    with pytest.raises(DataError, match="has the same number as"):
        list_records(tmp_path)


def test_absolute_paths_below_the_root_are_taken(tmp_path: Path) -> None:
    root = tmp_path / "disk" / "custom"
    rows = "".join(f"{root}/{row}\n" for row in ROWS.splitlines())
    assert listed(root, HEAD + rows) == RECORDS
    (tmp_path / "link").symlink_to(root)
    assert list_records(tmp_path / "link") == RECORDS
    with pytest.raises(DataError, match=r"line 2 names '/elsewhere/a/1\.jpg', which is an absolute"):
        listed(root, HEAD + rows.replace(str(root), "/elsewhere"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ((HEAD + ROWS).encode("utf-16"), "records.csv line 1: is UTF-16. Save the file as UTF-8"),
        ((HEAD + ROWS).encode("utf-16-be").join([b"\xfe\xff", b""]), "records.csv line 1: is UTF-16"),
        ((HEAD + "\u7167\u7247/1.jpg,1,1,visible,train\n").encode("gbk"), "records.csv line 2: is not UTF-8"),
        ((HEAD + ROWS + "caf\xe9.jpg,1,1,visible,train\n").encode("cp1252"), "records.csv line 6: is not UTF-8"),
        (HEAD + ROWS.replace("/", "\\"), "records.csv line 2 names 'a\\\\1.jpg' with backslashes. Write /"),
        (HEAD + "C:\\set\\1.jpg,1,1,visible,train\n", "records.csv line 2 names 'C:"),
        (
            HEAD + "x.jpg,-1,1,visible,train\n",
            "line 2: person is '-1', but must be a number; leave out",
        ),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line_and_reason(
    tmp_path: Path, content: str | bytes, words: str
) -> None:
    with pytest.raises(DataError) as caught:
        listed(tmp_path, content)
    assert words in str(caught.value)


def test_a_name_that_holds_a_backslash_is_a_name(tmp_path: Path) -> None:
    touch(tmp_path, "a\\1.jpg")
    assert listed(tmp_path, HEAD + "a\\1.jpg,17,2,visible,train\n")[0].image == "a\\1.jpg"


def test_a_quoted_path_may_hold_commas_quotes_and_spaces(tmp_path: Path) -> None:
    (record,) = listed(tmp_path, HEAD + '"a, b/""c"" d.jpg",1,1,sketch,train\n')
    assert record == Record('a, b/"c" d.jpg', 1, 1, Modality.SKETCH, "train")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x.jpg,,1,visible,train", "person is '', but must be a number. Correct"),
        ("x.jpg,-1,1,visible,train", "person is '-1', but must be a number"),
        ("x.jpg,1.5,1,visible,train", "person is '1.5', but must be a number"),
        (f"x.jpg,{'9' * 19},1,visible,train", f"person is '{'9' * 19}', but must be a number"),
        ("x.jpg,\u0663,1,visible,train", "person is '\u0663', but must be a number"),
        ("x.jpg,1,c2,visible,train", "camera is 'c2', but must be a number or empty"),
        ("x.jpg,1,-2,visible,train", "camera is '-2', but must be a number or empty"),
        ("x.jpg,1,1,thermal,train", "modality is 'thermal', but must be visible, infrared, sketch"),
        ("x.jpg,1,1,,train", "modality is '', but must be visible, infrared, sketch"),
        ("x.jpg,1,1,1,train", "modality is '1', but must be visible, infrared, sketch"),
        ("x.jpg,1,1,visible,val", "split is 'val', but must be train or test"),
        ("x.jpg,1,1,visible,all", "split is 'all', but must be train or test"),
        ("x.jpg,1,1,visible", "split is '', but must be train or test"),
        ("x.jpg", "person is '', but must be a number"),
        ("../x.jpg,1,1,visible,train", "names '../x.jpg', which is not inside this folder. Correct the list"),
        ("a/../../x.jpg,1,1,visible,train", "names 'a/../../x.jpg', which is not inside this folder"),
        ("/etc/x.jpg,1,1,visible,train", "names '/etc/x.jpg', which is an absolute path"),
        (",1,1,visible,train", "names '', which is not inside this folder"),
        (".,1,1,visible,train", "names '.', which is not inside this folder"),
        ('"x.jpg"y,1,1,visible,train', "not readable as CSV"),
        ('"x.jpg,1,1,visible,train', "not readable as CSV"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        listed(tmp_path, f"{HEAD}{ROWS}\n{row}\n")
    assert str(tmp_path) in str(caught.value)
    assert "records.csv line 7" in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (ROWS, "path, person, modality, split"),
        ("path,person,camera,modality\nx.jpg,1,2,visible\n", "split"),
        (HEAD.replace("person", "id") + ROWS, "person"),
    ],
)
def test_missing_columns_are_named(tmp_path: Path, text: str, missing: str) -> None:
    with pytest.raises(DataError) as caught:
        listed(tmp_path, text)
    assert f"{tmp_path}/records.csv: has no column {missing} in " in str(caught.value)
    assert f"Its first line should be {HEAD.strip()}" in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"records\.csv line 2: is not UTF-8"):
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
        Record("train/visible/2/none.bmp", 2, 0, Modality.VISIBLE, "train"),
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
    with pytest.raises(DataError) as caught:
        list_records(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/train/visible/{folder}: ")
    assert "not a number. Rename it" in str(caught.value)


def test_the_csv_wins_over_the_folders(tmp_path: Path) -> None:
    touch(tmp_path, "train/visible/0001/c1/a.jpg", "train/infrared/anna/a.jpg")
    assert listed(tmp_path, HEAD + ROWS) == RECORDS
    write(tmp_path, "records.csv", None)
    with pytest.raises(DataError, match=r"infrared/anna: .*not a number"):
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
    ("text", "message"),
    [
        (HEAD, "custom: no image is listed for test. Check"),
        (HEAD + ROWS.replace("test", "train").replace("5", "17"), "custom: no image is listed for test. Check"),
        (HEAD + ROWS + "a/1.jpg,17,1,visible,train\n", "custom/a/1.jpg: listed twice for train. Correct the list"),
        (HEAD + ROWS + "./b//1.png,9,1,infrared,test\n", "custom/b/1.png: listed for both train and test"),
        (None, "custom: no image is listed for test. Check"),
    ],
)
def test_lists_that_break_an_invariant_stop_the_conversion(tmp_path: Path, text: str | None, message: str) -> None:
    (tmp_path / "custom").mkdir()
    if text is not None:
        write(tmp_path / "custom", "records.csv", text)
    with pytest.raises(DataError) as caught:
        convert(custom.DATASET, tmp_path, tmp_path / "Beton", ImageFormat(32, 16), workers=1)
    assert f"{tmp_path}/{message}" in str(caught.value)


def test_the_persons_of_each_split_are_numbered_for_themselves(tmp_path: Path) -> None:
    records = listed(tmp_path, HEAD + ROWS.replace("5,", "17,"))
    check_records(records, tmp_path)
    assert {record.person for record in records} == {17}
