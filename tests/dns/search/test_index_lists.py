"""python -m dns.search index: what becomes of each kind of list, and of images and boxes that are odd."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dns.search import calibration
from dns.search.network import open_search_network
from dns.search.store import Index
from dns.search.times import to_ms
from ffcv_convert.beton.labels import Modality
from ffcv_convert.images import ImageFormat, load_image
from tests.dns.search.conftest import Add
from tests.support.png_files import exif
from tests.support.search_commands import (
    CPU,
    lines_of,
    rows_of,
    thumbnails_of,
    vectors_of,
    write_list,
)

SIZE = ImageFormat(96, 48)


def cut(footage: Path, line: dict[str, str], to: Path) -> np.ndarray:
    """What conversion makes of a file with this box alone."""
    x, y, width, height = (int(line[name]) for name in ("x", "y", "w", "h"))
    with Image.open(footage / line["frame"]) as frame:
        frame.crop((x, y, x + width, y + height)).save(to)
    return load_image(to, SIZE).pixels


def test_an_index_of_footage_has_a_row_a_track(
    footage: Path, footage_index: Path, small_run: Path, tmp_path: Path
) -> None:
    lines = {line["track"]: line for line in lines_of(footage)}
    rows = rows_of(footage_index)
    assert [row.number for row in rows] == list(range(85))
    network = open_search_network(small_run / "last.pt", CPU)
    vectors, thumbnails = vectors_of(footage_index), thumbnails_of(footage_index)
    for number, row in enumerate(rows):
        line = lines.pop(row.track)
        assert (row.camera, row.modality.name.lower(), row.image) == (line["camera"], line["modality"], line["frame"])
        assert row.first_ms == row.last_ms == to_ms(line["time"])
        assert row.images == 1
        assert row.box == tuple(float(line[name]) for name in ("x", "y", "w", "h"))
        if number % 12 == 0:
            pixels = cut(footage, line, tmp_path / "crop.png")
            assert np.allclose(network.embed(np.stack([pixels]), row.modality)[0], vectors[number], atol=1e-3)
            small = np.asarray(Image.open(io.BytesIO(thumbnails[number])).convert("RGB").resize((48, 96)))
            assert np.abs(small.astype(int) - pixels).mean() < 12
    assert not lines
    assert Index.open(footage_index).network["path"] == str(small_run / "last.pt")
    assert calibration.load(footage_index, network.about).source == "the 5 people of the test set of synthetic"


def test_a_track_of_several_frames_is_one_row(add: Add, footage: Path, tmp_path: Path) -> None:
    """Boxes of one person and camera by day, as one track; then each without a track."""
    lines = [line for line in lines_of(footage) if line["person"] == "10" and line["modality"] == "visible"]
    listed = [{**line, "camera": "all", "track": "ten"} for line in lines]
    folder = add(f"--boxes={write_list(tmp_path / 'a.csv', listed)}", f"--frames={footage}")
    alone = [{**line, "track": ""} for line in lines]
    add(f"--boxes={write_list(tmp_path / 'b.csv', alone)}", f"--frames={footage}")
    (track, *single), vectors = rows_of(folder), vectors_of(folder)
    times = [to_ms(line["time"]) for line in lines]
    assert (track.images, track.first_ms, track.last_ms) == (9, min(times), max(times))
    assert [(row.images, row.track) for row in single] == [(1, "")] * 9
    largest = max(lines, key=lambda line: int(line["w"]) * int(line["h"]))
    assert track.image == largest["frame"]
    mean_D = vectors[1:].sum(axis=0) / 9
    assert np.allclose(vectors[0], mean_D / np.linalg.norm(mean_D), atol=1e-3)


@pytest.fixture
def frames(footage: Path, tmp_path: Path) -> tuple[Path, list[dict[str, str]]]:
    """Three frames that are named by their number, and the boxes in them."""
    (tmp_path / "frames").mkdir()
    lines = [line for line in lines_of(footage) if line["camera"] == "cam2" and line["modality"] == "infrared"]
    names = sorted({line["frame"] for line in lines})
    for number, name in enumerate(names, start=1):
        shutil.copy(footage / name, tmp_path / "frames" / f"{number:06d}.png")
    return tmp_path / "frames", [{**line, "frame": f"{names.index(line['frame']) + 1:06d}.png"} for line in lines]


def test_a_mot_list_takes_camera_modality_and_times_from_the_command_line(
    add: Add, frames: tuple[Path, list[dict[str, str]]], tmp_path: Path
) -> None:
    folder, lines = frames
    text = [f"{int(one['frame'][:6])},{n},{one['x']},{one['y']},{one['w']},{one['h']}" for n, one in enumerate(lines)]
    (tmp_path / "a.txt").write_text("\n".join([*text, "99,1,0,0,9,9"]))
    how = ["--camera=cam2", "--modality=infrared", "--start=2026-03-02T20:00", "--fps=4"]
    found = rows_of(add(f"--boxes={tmp_path / 'a.txt'}", f"--frames={folder}", *how))
    begin_ms = to_ms("2026-03-02T20:00")
    assert [(row.image, row.track, row.first_ms, row.camera, row.modality) for row in found] == [
        (one["frame"], str(n), begin_ms + 250 * (int(one["frame"][:6]) - 1), "cam2", Modality.INFRARED)
        for n, one in enumerate(lines)
    ]


def test_a_coco_list_says_the_same_as_the_csv(
    add: Add, frames: tuple[Path, list[dict[str, str]]], tmp_path: Path
) -> None:
    folder, lines = frames
    images = {line["frame"]: line for line in lines}
    content = {
        "images": [
            {"id": name, "file_name": name, "date_captured": line["time"], "camera": "cam2", "modality": "infrared"}
            for name, line in images.items()
        ],
        "annotations": [
            {"image_id": line["frame"], "bbox": [int(line[k]) for k in "xywh"], "track_id": line["track"]}
            for line in lines
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    index_folder = add(f"--boxes={tmp_path / 'a.json'}", f"--frames={folder}")
    add(f"--boxes={write_list(tmp_path / 'a.csv', lines)}", f"--frames={folder}")
    rows, vectors = rows_of(index_folder), vectors_of(index_folder)
    half = len(lines)
    assert [row._replace(number=0) for row in rows[:half]] == [row._replace(number=0) for row in rows[half:]]
    assert np.array_equal(vectors[:half], vectors[half:])


def odd_images(folder: Path) -> None:
    """A drawing on transparent paper, a photo that was held sideways, a link, and four files that are no image."""
    folder.mkdir()
    drawing = Image.new("RGBA", (48, 96), (0, 0, 0, 0))
    drawing.paste((0, 0, 0, 255), (10, 10, 20, 80))
    drawing.save(folder / "clear.png")
    photo = Image.fromarray(np.random.default_rng(2).integers(0, 256, (48, 96, 3), dtype=np.uint8))
    photo.save(folder / "held.png", exif=exif(6))
    (folder / "link.png").symlink_to(folder / "clear.png")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "text.jpg").write_text("no image")
    (folder / "empty.jpg").touch()
    (folder / "notes.txt").write_text("notes")


def test_odd_images_are_seen_as_a_viewer_shows_them_or_named(
    add: Add, small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    odd_images(tmp_path / "Crops")
    folder = add(f"--crops={tmp_path / 'Crops'}", "--camera=door", "--modality=visible")
    rows, vectors = rows_of(folder), vectors_of(folder)
    assert [(row.image, row.camera, row.box, row.first_ms) for row in rows] == [
        (name, "door", None, None) for name in ("clear.png", "held.png", "link.png")
    ]
    assert np.array_equal(vectors[0], vectors[2])
    network = open_search_network(small_run / "last.pt", CPU)
    for name, vector_D in (("clear.png", vectors[0]), ("held.png", vectors[1])):
        pixels = load_image(tmp_path / "Crops" / name, SIZE).pixels
        assert np.allclose(network.embed(np.stack([pixels]), Modality.VISIBLE)[0], vector_D, atol=1e-3)
    shown = capsys.readouterr().out
    assert "3 rows of 3 images added" in shown
    for note in (
        "1 files that are no images by their ending: notes.txt",
        "2 sightings in images that cannot be used: empty.jpg: empty file, text.jpg: cannot be decoded",
        "1 sightings in images that are missing: gone.png",
    ):
        assert f"note: {note}" in shown


def test_boxes_that_cannot_be_used_are_counted_and_named(
    add: Add, footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    line = lines_of(footage)[0]
    odd = [
        {"x": "5000"}, {"x": "-500"}, {"w": "0"}, {"h": "-3"}, {"w": "0.2"}, {"x": "nan"}, {"y": "inf"},
        {"frame": "cam1/never.png"}, {"x": "-1e39", "w": "2e39"}, {"x": "-5"}, {},
    ]  # fmt: skip
    lines = [{**line, **changes, "track": str(number)} for number, changes in enumerate(odd)]
    folder = add(f"--boxes={write_list(tmp_path / 'odd.csv', lines)}", f"--frames={footage}")
    assert [row.track for row in rows_of(folder)] == ["9", "10"]
    shown = capsys.readouterr().out
    notes = {
        "2 boxes outside their image": (2, 3), "2 boxes without width or height": (4, 5),
        "1 boxes of less than a pixel": (6,), "2 boxes of numbers that are not finite": (7, 8),
        "1 sightings in images that are missing": (9,), "1 boxes of numbers beyond 16,777,216": (10,),
        "1 boxes cut at the edge of their image (used)": (11,),
    }  # fmt: skip
    told = dict(line.removeprefix("note: ").split(": ", 1) for line in shown.splitlines() if "odd.csv line" in line)
    assert told.keys() == notes.keys()
    for reason, numbers in notes.items():
        assert [f"odd.csv line {number}" in told[reason] for number in numbers] == [True] * len(numbers)
    assert "2 rows of 2 images added" in shown
