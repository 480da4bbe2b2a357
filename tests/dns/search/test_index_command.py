"""python -m dns.search index: what is added from each kind of list, what is left out, and what is removed."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dns.search import calibration
from dns.search.__main__ import main
from dns.search.network import open_search_network
from dns.search.store import Index
from dns.search.times import to_ms
from ffcv_convert.beton.labels import Modality
from ffcv_convert.images import ImageFormat, load_image
from tests.support.png_files import exif
from tests.support.search_commands import CPU, index, lines_of, rows_of, thumbnails_of, vectors_of, write_list

SIZE = ImageFormat(96, 48)
Add = Callable[..., Path]


@pytest.fixture
def add(footage: Path, small_run: Path, tmp_path: Path) -> Add:
    """add(option, ...): the folder of an index with what the options name; not calibrated."""

    def run(*options: object, checkpoint: Path = small_run / "last.pt") -> Path:
        index(tmp_path / "Index", *options, f"--checkpoint={checkpoint}", f"--beton-root={tmp_path / 'none'}")
        return tmp_path / "Index"

    return run


def boxes(path: Path, footage: Path, count: int = 4, begin: int = 0, **changes: str) -> list[str]:
    """Write some lines of the footage's boxes.csv, and return the options that name them."""
    lines = [{**line, **changes} for line in lines_of(footage)[begin : begin + count]]
    return [f"--boxes={write_list(path, lines)}", f"--frames={footage}"]


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
            assert np.allclose(network.embed(pixels[None], row.modality)[0], vectors[number], atol=1e-3)
            small = np.asarray(Image.open(io.BytesIO(thumbnails[number])).convert("RGB").resize((48, 96)))
            assert np.abs(small.astype(int) - pixels).mean() < 12
    assert not lines
    assert Index.open(footage_index).network["path"] == str(small_run / "last.pt")
    assert calibration.load(footage_index, network.about).source == "the test set of synthetic"


def test_the_same_list_added_again_gives_rows_of_new_numbers(
    add: Add, footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = boxes(tmp_path / "a.csv", footage)
    add(*options)
    assert "4 rows of 4 images added, 4 rows now" in capsys.readouterr().out
    folder = tmp_path / "Index"
    index(folder, *options, f"--beton-root={tmp_path}")  # an index knows its network
    assert "4 rows of 4 images added, 8 rows now" in capsys.readouterr().out
    rows, vectors = rows_of(folder), vectors_of(folder)
    assert [row.number for row in rows] == list(range(8))
    assert [row._replace(number=0) for row in rows[:4]] == [row._replace(number=0) for row in rows[4:]]
    assert np.array_equal(vectors[:4], vectors[4:])
    assert main(["compact", str(folder)]) == main(["verify", str(folder)]) == 0
    assert "2 segments, now 1" in capsys.readouterr().out
    assert rows_of(folder) == rows


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
        assert np.allclose(network.embed(pixels[None], Modality.VISIBLE)[0], vector_D, atol=1e-3)
    shown = capsys.readouterr().out
    assert "3 rows of 3 images added" in shown
    for name in ("notes.txt", "text.jpg", "empty.jpg", "gone.png"):
        assert f"({name}" in shown or f": {name}" in shown, shown


def test_without_small_images(add: Add, footage: Path, tmp_path: Path) -> None:
    folder = add(*boxes(tmp_path / "a.csv", footage), "--images=false")
    assert thumbnails_of(folder) == [b""] * 4
    add(*boxes(tmp_path / "a.csv", footage), "--images=true")
    assert [small[:3] for small in thumbnails_of(folder)] == [b""] * 4 + [b"\xff\xd8\xff"] * 4


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


def left(rows: list, kept: Callable[..., bool]) -> list[int]:
    return [row.number for row in rows if kept(row)]


def test_rows_are_removed_by_camera_time_and_modality(
    footage_index: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder, rows = tmp_path / "Index", rows_of(footage_index)
    shutil.copytree(footage_index, folder)

    def remove(*options: str) -> list[int]:
        assert main(["index", str(folder), "--remove", *options]) == 0
        return [row.number for row in rows_of(folder)]

    rows = [row for row in rows if row.camera not in ("cam1", "cam3")]
    assert remove("--cameras=cam1, cam3") == [row.number for row in rows] != []
    assert "15 rows removed" in capsys.readouterr().out
    noon, one = to_ms("2026-03-02T12:00"), to_ms("2026-03-02T13:00")
    rows, before = [row for row in rows if not noon <= row.first_ms < one], len(rows)
    assert 0 < len(rows) < before
    assert remove("--since=2026-03-02T12:00", "--until=2026-03-02T13:00") == [row.number for row in rows]
    rows = [row for row in rows if row.camera != "cam2" or row.modality != Modality.INFRARED]
    assert remove("--cameras=cam2", "--modality=infrared") == [row.number for row in rows]
    rows = [row for row in rows if row.modality != Modality.INFRARED]
    assert remove("--modality=infrared") == [row.number for row in rows] != []
    assert remove("--cameras=never") == [row.number for row in rows]
    assert "0 rows removed" in capsys.readouterr().out
    assert main(["verify", str(folder)]) == 0


def test_embeddings_made_elsewhere_are_rows(
    footage: Path, small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """With a list and without; with the network that made them, and then its images can be added."""
    matrix_ND = np.random.default_rng(0).normal(size=(4, 256)).astype(np.float32)
    np.savez(tmp_path / "a.npz", features=matrix_ND)
    folder = tmp_path / "theirs"
    index(folder, f"--embeddings={tmp_path / 'a.npz'}", "--camera=door", "--modality=visible")
    listed = boxes(tmp_path / "a.csv", footage)
    index(folder, f"--embeddings={tmp_path / 'a.npz'}", *listed)
    rows = rows_of(folder)
    assert [row.camera for row in rows] == ["door"] * 4 + ["cam1"] * 4
    assert [row.track for row in rows[4:]] == [line["track"] for line in lines_of(footage)[:4]]
    wanted = matrix_ND / np.linalg.norm(matrix_ND, axis=1, keepdims=True)
    assert np.allclose(vectors_of(folder), np.concatenate([wanted, wanted]), atol=1e-3)
    assert Index.open(folder).network["file"] == "a.npz"
    ours, network = tmp_path / "ours", f"--checkpoint={small_run / 'last.pt'}"
    index(ours, f"--embeddings={tmp_path / 'a.npz'}", *listed, network, f"--beton-root={tmp_path}")
    index(ours, *listed, f"--beton-root={tmp_path}")
    assert len(rows_of(ours)) == 8
    assert "not calibrated" in capsys.readouterr().out


def test_an_export_adds_to_the_index_of_its_checkpoint(
    add: Add, footage: Path, export: Path, tmp_path: Path
) -> None:
    options = boxes(tmp_path / "a.csv", footage)
    folder = add(*options)
    add(*options, checkpoint=export)
    vectors = vectors_of(folder)
    assert np.allclose(vectors[:4], vectors[4:], atol=1e-3)


def test_an_index_is_calibrated_on_a_labelled_list_and_on_a_test_set(
    footage: Path, beton_root: Path, add: Add, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = boxes(tmp_path / "a.csv", footage)
    folder = add(*options)
    assert "note: not calibrated, so nothing says how strangers score" in capsys.readouterr().out
    network = Index.open(folder).network
    assert calibration.load(folder, network) is None
    index(folder, f"--calibrate={footage / 'boxes.csv'}", f"--frames={footage}")
    on_list = calibration.load(folder, network)
    assert on_list is not None
    assert on_list.source == "the people of boxes.csv"
    assert len(on_list.directions) == 4
    index(folder, *options, f"--beton-root={beton_root}")  # an index that is calibrated stays so
    assert calibration.load(folder, network).source == "the people of boxes.csv"
    index(folder, "--dataset=synthetic", f"--beton-root={beton_root}")
    on_set = calibration.load(folder, network)
    assert on_set.source == "the test set of synthetic"
    for way, direction in on_set.directions.items():  # the boxes are the set's images
        assert np.allclose(direction.similarity, on_list.directions[way].similarity, atol=1e-4)
    assert len(rows_of(folder)) == 8


def test_a_test_set_of_another_size_is_no_calibration(
    footage: Path, beton_root: Path, export: Path, add: Add, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    options = boxes(tmp_path / "a.csv", footage)
    folder = add(*options)
    capsys.readouterr()
    from dns.search import index_command

    opened = index_command.open_images(beton_root / "synthetic", None)
    opened.size_px = (288, 144)
    monkeypatch.setattr(index_command, "open_images", lambda *arguments: opened)
    index(folder, *options, f"--beton-root={beton_root}")
    shown = capsys.readouterr().out
    assert "note: not calibrated" in shown
    assert "288 x 144" in shown
    assert not (folder / calibration.FILE).exists()
