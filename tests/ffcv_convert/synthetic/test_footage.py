"""Drawn footage: every box is exactly an image of the set, passes follow their schedule, whole or not at all."""

import csv
import os
import shutil
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ffcv_convert.__main__ import main
from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets import llcm
from ffcv_convert.images import ImageFormat, load_image
from ffcv_convert.records import Record
from ffcv_convert.synthetic import Options, draw_footage
from ffcv_convert.synthetic.footage import LASTS_S, scheduled
from tests.conftest import MadeOnce, Refused
from tests.support.drawing import draw_here
from tests.support.refusals import refusal

TINY = Options(train_identities=1, test_identities=4, train_images=1, test_images=3, height_px=32)
Line = dict[str, str]


@pytest.fixture(scope="module")
def drawn(made_once: MadeOnce) -> Path:
    """A DATA_ROOT with a drawn set: 4 test identities, 3 images of each by every camera. Read only."""
    return made_once("footage-data", lambda root: draw_here(root / "synthetic", TINY))


@pytest.fixture(scope="module")
def footage(drawn: Path, made_once: MadeOnce) -> Path:
    """Its footage. Read only."""
    return made_once("footage", lambda top: draw_footage(drawn, top / "Footage")) / "Footage"


def lines_of(footage: Path) -> list[Line]:
    with open(footage / "boxes.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def records_of(drawn: Path) -> list[Record]:
    return [record for record in llcm.list_records(drawn / "synthetic") if record.split == "test"]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def tracks_of(footage: Path) -> dict[str, list[Line]]:
    tracks = defaultdict(list)
    for line in lines_of(footage):
        tracks[line["track"]].append(line)
    return tracks


def cut(footage: Path, line: Line) -> np.ndarray:
    x, y, width, height = (int(line[name]) for name in ("x", "y", "w", "h"))
    with Image.open(footage / line["frame"]) as frame:
        assert 0 <= x <= x + width <= frame.width
        assert 0 <= y <= y + height <= frame.height
        return np.asarray(frame)[y : y + height, x : x + width]


def test_every_image_of_the_test_part_is_cut_out_of_its_frame_pixel_for_pixel(drawn: Path, footage: Path) -> None:
    """Tracks hold whole passes: the images of an identity, camera and modality, in their order."""
    images = defaultdict(list)
    for record in records_of(drawn):
        images[record.person, f"cam{record.camera}", record.modality.name.lower()].append(record.image)
    tracks = tracks_of(footage)
    assert len(tracks) == len(images) == 4 * 17
    for lines in tracks.values():
        (passed,) = {(int(line["person"]), line["camera"], line["modality"]) for line in lines}
        for line, image in zip(lines, images.pop(passed), strict=True):
            size = ImageFormat(int(line["h"]), int(line["w"]))
            assert np.array_equal(cut(footage, line), load_image(drawn / "synthetic" / image, size).pixels)
    assert not images


def test_boxes_in_a_frame_do_not_touch_and_some_frames_have_two_and_three(footage: Path) -> None:
    frames = defaultdict(list)
    for line in lines_of(footage):
        frames[line["frame"]].append((int(line["x"]), int(line["x"]) + int(line["w"])))
    assert {len(boxes) for boxes in frames.values()} == {1, 2, 3}
    for boxes in frames.values():
        assert all(right < left for (_, right), (left, _) in zip(sorted(boxes), sorted(boxes)[1:], strict=False))
    found = {str(path.relative_to(footage)) for path in footage.rglob("*.png")}
    assert found == set(frames)


def test_visible_passes_are_by_day_and_infrared_ones_at_night_a_frame_a_second(footage: Path) -> None:
    spans = {"visible": ("2026-03-02T08:00:00+00:00", "2026-03-02T16:00:00+00:00")}
    spans["infrared"] = ("2026-03-02T20:00:00+00:00", "2026-03-03T04:00:00+00:00")
    opening = datetime.fromisoformat("2026-03-02T08:00:00+00:00")
    for lines in tracks_of(footage).values():
        times = [datetime.fromisoformat(line["time"]) for line in lines]
        first, last = map(datetime.fromisoformat, spans[lines[0]["modality"]])
        assert first <= times[0] <= times[-1] < last
        assert times == [times[0] + timedelta(seconds=second) for second in range(3)]
        seconds = [int((time - opening).total_seconds()) for time in times]
        assert [line["frame"] for line in lines] == [
            f"{lines[0]['camera']}/frame{second:06d}.png" for second in seconds
        ]


def test_a_background_is_its_camera_s_and_grey_at_night(footage: Path) -> None:
    corners = defaultdict(set)
    for line in lines_of(footage):
        with Image.open(footage / line["frame"]) as frame:
            corners[line["camera"], line["modality"]].add(frame.getpixel((0, 0)))
    assert all(len(colours) == 1 for colours in corners.values())
    by_day = [colour for (_, modality), colours in corners.items() for colour in colours if modality == "visible"]
    at_night = [colour for (_, modality), colours in corners.items() for colour in colours if modality == "infrared"]
    assert (len(set(by_day)), len(at_night)) == (9, 8)
    assert all(red == green == blue for red, green, blue in at_night)


@pytest.mark.parametrize(("identities", "images"), [(1, 1), (40, 7), (3, LASTS_S)])
def test_groups_follow_each_other_and_their_people_overlap(identities: int, images: int) -> None:
    """Also where all images together have more seconds than the day."""
    paths = {person: [f"{person}/{number}" for number in range(images)] for person in range(identities)}
    passes = list(scheduled(2, Modality.VISIBLE, paths, seed=5))
    assert sorted(one.person for one in passes) == list(range(identities))
    end_s = 0
    for number, one in enumerate(passes):
        first = passes[number - one.place]  # of its group
        assert first.place == 0
        assert first.begin_s <= one.begin_s < first.begin_s + images
        if one.place == 0:
            assert one.begin_s >= end_s
        end_s = max(end_s, one.begin_s + images)
    assert end_s <= LASTS_S or identities * images > LASTS_S


def test_the_same_set_gives_the_same_bytes_and_another_seed_another_schedule(
    drawn: Path, footage: Path, tmp_path: Path
) -> None:
    assert draw_footage(drawn, tmp_path / "again") == len(list(footage.rglob("*.png")))
    assert contents(tmp_path / "again") == contents(footage)
    paths = {person: ["1.jpg"] for person in range(9)}
    assert list(scheduled(1, Modality.VISIBLE, paths, 0)) != list(scheduled(1, Modality.VISIBLE, paths, 1))


def test_a_second_call_writes_nothing(drawn: Path, footage: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in footage.rglob("*")}
    assert draw_footage(drawn, footage) == 0
    assert {path: path.stat().st_mtime_ns for path in footage.rglob("*")} == before


@pytest.mark.parametrize("text", [None, "not JSON", '{"layout": "llcm", "seed": 1}'])
def test_a_folder_that_is_something_else_is_not_touched(drawn: Path, tmp_path: Path, text: str | None) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    if text is not None:
        (tmp_path / "mine" / "footage.json").write_text(text)
    before = contents(tmp_path)
    for to in (tmp_path / "mine", tmp_path / "mine" / "thesis.txt"):
        with refusal(DataError, to, "--to"):
            draw_footage(drawn, to)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("text", [None, "not JSON", "[]", "{}", '{"layout": "regdb", "seed": 0}'])
def test_people_who_are_not_drawn_are_refused(drawn: Path, tmp_path: Path, text: str | None) -> None:
    shutil.copytree(drawn, tmp_path / "data")
    about = tmp_path / "data" / "synthetic" / "synthetic.json"
    about.unlink()
    if text is not None:
        about.write_text(text)
    with refusal(DataError, about.parent, "synthetic.json", "synthesise"):
        draw_footage(tmp_path / "data", tmp_path / "Footage")
    assert os.listdir(tmp_path) == ["data"]


def test_a_missing_set_and_a_damaged_image_end_with_2_and_leave_nothing(
    drawn: Path, tmp_path: Path, refused: Refused
) -> None:
    to = f"--to={tmp_path / 'Footage'}"
    assert str(tmp_path / "none" / "synthetic") in refused(main, ["footage", f"--data-root={tmp_path / 'none'}", to])
    shutil.copytree(drawn, tmp_path / "data")
    image = tmp_path / "data" / "synthetic" / records_of(drawn)[-1].image
    image.write_bytes(image.read_bytes()[:200])
    assert str(image) in refused(main, ["footage", f"--data-root={tmp_path / 'data'}", to])
    assert os.listdir(tmp_path) == ["data"]


def test_the_command_says_what_it_did(drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["footage", f"--data-root={drawn}", f"--to={tmp_path / 'new' / 'Footage'}"]
    assert main(arguments) == 0
    frames = len(list((tmp_path / "new" / "Footage").rglob("*.png")))
    assert capsys.readouterr().out == f"{tmp_path / 'new' / 'Footage'}: {frames} frames drawn\n"
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'new' / 'Footage'}: up to date\n"
