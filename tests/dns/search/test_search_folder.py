"""Folders of cropped images."""

import os
from pathlib import Path

import pytest

from dns.search.lists import read_folder
from dns.search.sightings import LeftOut, Sighting
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import DataError
from tests.support.refusals import refusal


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def listed(folder: Path, left_out: LeftOut | None = None) -> list[str]:
    found = read_folder(folder, camera="c1", modality=Modality.INFRARED, left_out=left_out or LeftOut())
    assert {(one.box, one.time_ms, one.camera, one.modality, one.source) for one in found} == {
        (None, None, "c1", Modality.INFRARED, "")
    }
    return [one.image for one in found]


def test_every_image_below_the_folder_is_listed_in_order(tmp_path: Path) -> None:
    names = ["a.jfif", "b/1.JPG", "b/c/2.tif", "b/10.webp", "z.pgm"]
    make(tmp_path, *reversed(names))
    assert listed(tmp_path) == sorted(names)


def test_files_that_are_no_images_are_counted_but_for_those_of_systems(tmp_path: Path) -> None:
    make(tmp_path, "1.png", "notes.txt", "b/phone.heic", "Thumbs.db", ".DS_Store", "._1.png", "@eaDir/1.png/x.jpg")
    left_out = LeftOut()
    assert listed(tmp_path, left_out) == ["1.png"]
    assert list(left_out.names.values()) == [["notes.txt", "b/phone.heic"]]


def test_links_are_followed_also_in_a_circle(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", "2.png", "3.png")
    make(tmp_path / "images", "1.png")
    (tmp_path / "images" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images" / "4.png").symlink_to(tmp_path / "elsewhere" / "3.png")
    (tmp_path / "images" / "again").symlink_to(tmp_path / "images")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "images")
    (tmp_path / "images" / "gone.png").symlink_to(tmp_path / "gone.png")  # is missed when it is decoded
    assert listed(tmp_path / "images") == ["1.png", "4.png", "gone.png", "link/2.png", "link/3.png"]


def test_a_name_that_is_not_utf8_is_counted(tmp_path: Path) -> None:
    make(tmp_path, "1.png")
    (tmp_path / os.fsdecode(b"caf\xe9.png")).touch()
    left_out = LeftOut()
    assert listed(tmp_path, left_out) == ["1.png"]
    assert list(left_out.names.values()) == [[r"'caf\udce9.png'"]]


def test_records_csv_says_what_there_is(tmp_path: Path) -> None:
    make(tmp_path, "1.png", "2.png")
    (tmp_path / "records.csv").write_text("path,camera,modality,time,track,person\n2.png,c2,sketch,5,t,17\n")
    assert read_folder(tmp_path, camera=None, modality=None, left_out=LeftOut()) == [
        Sighting("2.png", None, 5000, "c2", Modality.SKETCH, "t", 17, "records.csv line 2")
    ]


def test_a_broken_link_in_its_place_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "1.png")
    (tmp_path / "records.csv").symlink_to(tmp_path / "gone.csv")
    with refusal(DataError, tmp_path / "records.csv"):
        listed(tmp_path)


@pytest.mark.parametrize("option", ["camera", "modality"])
def test_without_records_camera_and_modality_are_needed(tmp_path: Path, option: str) -> None:
    make(tmp_path, "1.png")
    given: dict[str, object] = {"camera": "c", "modality": Modality.VISIBLE, option: None}
    with refusal(DataError, tmp_path, f"--{option}"):
        read_folder(tmp_path, left_out=LeftOut(), **given)  # type: ignore[arg-type]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    make(tmp_path, "notes.txt")
    with refusal(DataError, tmp_path):
        listed(tmp_path)
    with pytest.raises(FileNotFoundError):
        listed(tmp_path / "gone")
