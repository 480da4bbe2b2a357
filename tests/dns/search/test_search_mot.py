"""Lists of boxes as the MOT Challenge writes them."""

from pathlib import Path

import pytest

from dns.search.lists import read_boxes
from dns.search.sightings import Box, LeftOut, Sighting
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import ConfigError, DataError
from tests.support.refusals import refusal

GIVEN: dict[str, object] = {"camera": "c1", "modality": Modality.VISIBLE}


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """A folder of frames 1, 2 and 30, and what else may lie there."""
    folder = tmp_path / "img1"
    folder.mkdir()
    for name in ("000001.jpg", "000002.jpg", "30.PNG", "cover.jpg", "000005.txt"):
        (folder / name).touch()
    return folder


def read(frames: Path, text: str, left_out: LeftOut | None = None, **options: object) -> list[Sighting]:
    path = frames.parent / "gt.txt"
    path.write_text(text)
    return read_boxes(path, frames, left_out=left_out or LeftOut(), **options)


@pytest.mark.parametrize("text", ["30,8,1.5,2,30,60", "30,8,1.5,2,30,60,1,1,0.25", "3e1,8.0,1.5,2,30,60.0,0.5,\n\n"])
def test_a_line_becomes_a_sighting(frames: Path, text: str) -> None:
    assert read(frames, text, **GIVEN) == [
        Sighting("30.PNG", Box(1.5, 2, 30, 60), None, "c1", Modality.VISIBLE, "8", None, "gt.txt line 1")
    ]


def test_a_negative_id_is_no_track_and_0_is_one(frames: Path) -> None:
    found = read(frames, "1,-1,0,0,5,5\n1,0,0,0,5,5\n", **GIVEN)
    assert [one.track for one in found] == ["", "0"]


def test_times_follow_from_the_start_and_the_frames_per_second(frames: Path) -> None:
    lines = "1,1,0,0,5,5\n2,1,0,0,5,5\n30,1,0,0,5,5\n"
    found = read(frames, lines, **GIVEN, start_ms=5000, fps=30)
    assert [one.time_ms for one in found] == [5000, 5033, 5967]  # 1000 / 30 = 33.3 ms a frame, 29 frames 966.7
    for unknown in ({"start_ms": 5000}, {"fps": 30}):
        assert [one.time_ms for one in read(frames, lines, **GIVEN, **unknown)] == [None] * 3


def test_boxes_that_are_to_be_ignored_and_of_other_classes_are_counted(frames: Path) -> None:
    """Only lines of eight or nine columns have a class: in ten, a place in the world ends the line."""
    lines = {
        "1,1,0,0,5,5,0,1,1": "ignored", "1,2,0,0,5,5,1,1,1": "used", "1,3,0,0,5,5,1,7,1": "class",
        "1,4,0,0,5,5,1,-1,1": "used", "1,5,0,0,5,5,1,3": "class", "1,6,0,0,5,5,0": "ignored",
        "1,7,0,0,5,5,-0.4,-1,-1,-1": "used", "1,8,0,0,5,5,1,4.5,2.5,0": "used", "1,9,0,0,5,5,0,7,1": "ignored",
    }  # fmt: skip
    left_out = LeftOut()
    found = read(frames, "\n".join(lines), left_out, **GIVEN)
    places = {
        kind: [f"gt.txt line {at}" for at, of in enumerate(lines.values(), 1) if of == kind] for kind in lines.values()
    }
    assert [one.source for one in found] == places["used"]
    assert sorted(left_out.names.values()) == [places["ignored"], places["class"]]
    assert sorted(left_out.counts.values()) == [2, 3]


def test_boxes_in_frames_without_an_image_are_counted(frames: Path) -> None:
    left_out = LeftOut()
    found = read(frames, "1,1,0,0,5,5\n5,1,0,0,5,5\n-1,1,0,0,5,5\n1,1,nan,0,5,5\n1,1,0,0,0,5", left_out, **GIVEN)
    assert [one.image for one in found] == ["000001.jpg"]
    assert list(left_out.counts.values()) == [2, 1, 1]
    assert next(iter(left_out.names.values())) == ["gt.txt line 2 (frame 5)", "gt.txt line 3 (frame -1)"]


@pytest.mark.parametrize(
    "line",
    ["1,1,0,0,5", "1.5,1,0,0,5,5", "1,a,0,0,5,5", "nan,1,0,0,5,5", "1,inf,0,0,5,5", "1,1,0,,5,5", "1 1 0 0 5 5", "{}"],
)
def test_a_line_that_is_no_box_is_refused(frames: Path, line: str) -> None:
    with refusal(DataError, frames.parent / "gt.txt", "line 2", line):
        read(frames, f"1,1,0,0,5,5\n{line}", **GIVEN)


@pytest.mark.parametrize(("given", "option"), [("camera", "--modality"), ("modality", "--camera")])
def test_camera_and_modality_are_needed(frames: Path, given: str, option: str) -> None:
    with refusal(DataError, frames.parent / "gt.txt", option):
        read(frames, "1,1,0,0,5,5", **{given: GIVEN[given]})


@pytest.mark.parametrize("fps", [0.0, -25.0, float("nan"), float("inf")])
def test_frames_per_second_are_a_number_above_0(frames: Path, fps: float) -> None:
    with refusal(ConfigError, frames.parent / "gt.txt", fps):
        read(frames, "1,1,0,0,5,5", **GIVEN, start_ms=0, fps=fps)


def test_two_images_of_one_number_are_refused(frames: Path) -> None:
    (frames / "1.png").touch()
    with refusal(DataError, frames / "1.png", "000001.jpg"):
        read(frames, "1,1,0,0,5,5", **GIVEN)


def test_a_folder_without_frames_is_named(frames: Path) -> None:
    with refusal(DataError, frames.parent, "000001.jpg"):
        (frames.parent / "gt.txt").write_text("1,1,0,0,5,5")
        read_boxes(frames.parent / "gt.txt", frames.parent, camera="c", modality=Modality.SKETCH, left_out=LeftOut())
