"""Lists of boxes as CSV."""

import random
from pathlib import Path

import pytest

from dns.search.lists import csv_list, fields, read_boxes
from dns.search.sightings import Box, LeftOut, Sighting
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import ConfigError, DataError
from tests.support.refusals import refusal

HEAD = "frame,time,camera,modality,x,y,w,h,track,person"
ROW = "a/1.jpg,1970-01-01T00:00:01Z,entrance,visible,1.5,2,30,60.25,8,17"
WANTED = Sighting(
    "a/1.jpg", Box(1.5, 2, 30, 60.25), 1000, "entrance", Modality.VISIBLE, "8", 17, "boxes.csv line 2"
)  # fmt: skip


def read(root: Path, text: str, left_out: LeftOut | None = None, **options: object) -> list[Sighting]:
    (root / "boxes.csv").write_text(text, encoding="utf-8")
    return read_boxes(root / "boxes.csv", root / "images", left_out=left_out or LeftOut(), **options)


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}\n{ROW}\n",
        f"{HEAD},score\n{ROW},0.5\n",
        f"\ufeff{HEAD}\r\n{ROW},,\r\n,,,\r\n",
        f"{HEAD}\n{ROW}".replace(",", ";"),
        f"{HEAD}\n{ROW}".replace(",", "\t"),
        f"{HEAD}\n{ROW}".replace("frame", "Path").replace(",w,h", ", Width ,HEIGHT").replace("visible", "0"),
        f"{HEAD}\n{ROW}.0".replace("frame", "image").replace("visible", "VISIBLE").replace("1970-01-01T00:00:01Z", "1"),
        f'{HEAD}\n"a/1.jpg"{ROW[7:]}',
        f"{HEAD}\n./a//{ROW[2:]}",
    ],
)
def test_a_line_becomes_a_sighting(tmp_path: Path, text: str) -> None:
    left_out = LeftOut()
    assert read(tmp_path, text, left_out) == [WANTED]
    assert not left_out.counts


def test_excels_own_line_is_counted(tmp_path: Path) -> None:
    (found,) = read(tmp_path, f"sep=;\n{HEAD}\n{ROW}".replace(",", ";"))
    assert found.source == "boxes.csv line 3"


def test_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    """Random sightings, written with their columns shuffled and a few unknown ones, are read as they were."""
    draw = random.Random(5)
    for _ in range(20):
        wanted, lines = [], []
        columns = [*csv_list.COLUMNS, "score", "note"]
        draw.shuffle(columns)
        for number in range(draw.randrange(1, 9)):
            modality, person = draw.choice(list(Modality)), draw.choice([None, draw.randrange(99)])
            box = Box(draw.uniform(-9, 9), draw.uniform(-9, 9), draw.uniform(1, 99), draw.uniform(1, 99))
            time_ms, track = draw.choice([None, draw.randrange(10**12)]), draw.choice(["", "a", "7"])
            source = f"boxes.csv line {number + 2}"
            wanted.append(Sighting(f"{number}.png", box, time_ms, f"c{number}", modality, track, person, source))
            cells = {
                "frame": f"{number}.png", "time": "" if time_ms is None else f"{time_ms / 1000:.3f}",
                "camera": f"c{number}", "modality": modality.name.lower(), "track": track, "score": "x", "note": "",
                "person": "" if person is None else str(person), **dict(zip("xywh", map(repr, box), strict=True)),
            }  # fmt: skip
            lines.append(",".join(cells[column] for column in columns))
        assert read(tmp_path, "\n".join([",".join(columns), *lines])) == wanted


def test_without_columns_of_a_box_a_line_is_a_whole_image(tmp_path: Path) -> None:
    assert read(tmp_path, "path,camera,modality\n1.png,c1,sketch\n") == [
        Sighting("1.png", None, None, "c1", Modality.SKETCH, "", None, "boxes.csv line 2")
    ]


def test_one_camera_and_modality_may_be_given_for_all_and_a_cell_goes_before_them(tmp_path: Path) -> None:
    given = {"camera": "door", "modality": Modality.INFRARED}
    assert [(one.camera, one.modality) for one in read(tmp_path, "path\n1.png\n", **given)] == [
        ("door", Modality.INFRARED)
    ]
    found = read(tmp_path, "path,camera,modality\n1.png,c1,\n2.png,,sketch\n", **given)
    assert [(one.camera, one.modality) for one in found] == [("c1", Modality.INFRARED), ("door", Modality.SKETCH)]


@pytest.mark.parametrize(("text", "option"), [("path,modality\n1,0", "--camera"), ("path,camera\n1,c", "--modality")])
def test_a_missing_camera_or_modality_names_its_option(tmp_path: Path, text: str, option: str) -> None:
    with refusal(DataError, tmp_path / "boxes.csv", "line 2", option):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("good", "wrong"),
    [
        ("1.5", "left"), ("60.25", "1,5"), ("visible", "thermal"), ("visible", "3"), ("1970-01-01T00:00:01Z", "noon"),
        (",17", ",Ann"), (",17", ",1.5"),
    ],
)  # fmt: skip
def test_text_in_the_place_of_a_number_is_refused_with_its_line(tmp_path: Path, good: str, wrong: str) -> None:
    text = f"{HEAD}\n{ROW}\n{ROW.replace(good, wrong)}".replace("1,5", '"1,5"')
    with refusal(DataError, tmp_path / "boxes.csv", "line 3", wrong.strip(",")):
        read(tmp_path, text)


@pytest.mark.parametrize("unknown", ["", "-1", "NA", "nan"])
def test_tracks_and_persons_may_be_unknown(tmp_path: Path, unknown: str) -> None:
    (found,) = read(tmp_path, f"{HEAD}\n{ROW.replace('8,17', f'{unknown},{unknown}')}")
    assert (found.track, found.person) == ("", None)


def test_boxes_that_can_hold_nobody_are_counted_and_named(tmp_path: Path) -> None:
    boxes = ["1,1,1,1", "nan,1,1,1", "1,1,inf,1", ",1,1,1", "1,1,0,1", "1,1,5,-1", "1e308,1,1e308,1", "-5,2,3,4"]
    lines = [f"1.png,c,0,{box}" for box in boxes]
    left_out = LeftOut()
    found = read(tmp_path, "\n".join(["frame,camera,modality,x,y,w,h", *lines, "2.png,c,0"]), left_out)
    assert [one.source for one in found] == ["boxes.csv line 2", "boxes.csv line 9"]
    lines_of = [[name.removeprefix("boxes.csv line ") for name in names] for names in left_out.names.values()]
    assert lines_of == [["3", "4", "5", "8", "10"], ["6", "7"]]
    assert list(left_out.counts.values()) == [5, 2]


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("camera,modality", "frame"),
        ("frame,image,camera", "frame and image"),
        ("frame,w,width", "w and width"),
        ("frame,w,h", "x, y"),
        ("frame,x,y,w", "h"),
    ],
)
def test_a_header_that_lacks_or_repeats_a_column_is_refused(tmp_path: Path, header: str, told: str) -> None:
    with refusal(DataError, tmp_path / "boxes.csv", told):
        read(tmp_path, f"{header}\n1,2,3,4,5")


@pytest.mark.parametrize("name", ["../1.png", "a/../../1.png", "/etc/passwd", "", "a\\1.png"])
def test_paths_stay_below_the_folder(tmp_path: Path, name: str) -> None:
    with refusal(DataError, tmp_path / "images", "boxes.csv line 3"):
        read(tmp_path, f"path,camera,modality\n1.png,c,0\n{name},c,0")


def test_an_absolute_path_below_the_folder_is_taken(tmp_path: Path) -> None:
    (found,) = read(tmp_path, f"path,camera,modality\n{tmp_path / 'images' / 'a' / '1.png'},c,0")
    assert found.image == "a/1.png"


@pytest.mark.parametrize("text", ["", "\n\n", f'{HEAD}\n"a/1.jpg{ROW[7:]}', f"{HEAD}\n{'x' * 200_000}"])
def test_what_is_no_csv_is_refused(tmp_path: Path, text: str) -> None:
    with refusal(DataError, tmp_path / "boxes.csv"):
        read(tmp_path, text)


def test_a_list_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"{HEAD}\n{ROW}\n"
    monkeypatch.setattr(fields, "MAX_LIST_BYTES", len(text))
    assert len(read(tmp_path, text)) == 1
    with refusal(DataError, tmp_path / "boxes.csv", len(text) + 1):
        read(tmp_path, f"{text}\n")


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with refusal(DataError, tmp_path / "boxes.xml", ".csv", ".json"):
        read_boxes(tmp_path / "boxes.xml", tmp_path, left_out=LeftOut())


@pytest.mark.parametrize("option", [{"start_ms": 0}, {"fps": 25.0}])
def test_a_start_and_frames_per_second_would_change_nothing(tmp_path: Path, option: dict[str, object]) -> None:
    with refusal(ConfigError, tmp_path / "boxes.csv"):
        read(tmp_path, f"{HEAD}\n{ROW}", **option)


def test_a_frames_boxes_share_their_texts(tmp_path: Path) -> None:
    """Or a million boxes would take gigabytes."""
    one, two = read(tmp_path, f"{HEAD}\n{ROW}\n{ROW}")
    assert one.image is two.image
    assert one.camera is two.camera
    assert one.time_ms is two.time_ms
