"""python -m dns.search index: rows are added again, removed, made elsewhere; an index is calibrated."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from dns.search import calibration, index_command
from dns.search.__main__ import main
from dns.search.store import Index
from dns.search.times import to_ms
from ffcv_convert.beton.labels import Modality
from tests.dns.search.conftest import Add
from tests.support.search_commands import index, lines_of, rows_of, some_boxes, thumbnails_of, vectors_of


def test_the_same_list_added_again_gives_rows_of_new_numbers(
    add: Add, footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = some_boxes(tmp_path / "a.csv", footage)
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


def test_without_small_images(add: Add, footage: Path, tmp_path: Path) -> None:
    folder = add(*some_boxes(tmp_path / "a.csv", footage), "--images=false")
    assert thumbnails_of(folder) == [b""] * 4
    add(*some_boxes(tmp_path / "a.csv", footage), "--images=true")
    assert [small[:3] for small in thumbnails_of(folder)] == [b""] * 4 + [b"\xff\xd8\xff"] * 4


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
    assert remove("--since=2031-01-01") == [row.number for row in rows]
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
    listed = some_boxes(tmp_path / "a.csv", footage)
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


def test_an_export_adds_to_the_index_of_its_checkpoint(add: Add, footage: Path, export: Path, tmp_path: Path) -> None:
    options = some_boxes(tmp_path / "a.csv", footage)
    folder = add(*options)
    add(*options, checkpoint=export)
    vectors = vectors_of(folder)
    assert np.allclose(vectors[:4], vectors[4:], atol=1e-3)


def test_an_index_is_calibrated_on_a_labelled_list_and_on_a_test_set(
    footage: Path, beton_root: Path, add: Add, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = some_boxes(tmp_path / "a.csv", footage)
    folder = add(*options)
    assert "note: not calibrated, so nothing says how strangers score" in capsys.readouterr().out
    network = Index.open(folder).network
    assert calibration.load(folder, network) is None
    index(folder, f"--calibrate={footage / 'boxes.csv'}", f"--frames={footage}")
    on_list = calibration.load(folder, network)
    assert on_list is not None
    assert on_list.source == "the 5 people of boxes.csv"
    assert len(on_list.directions) == 4
    index(folder, *options, f"--beton-root={beton_root}")  # an index that is calibrated stays so
    assert calibration.load(folder, network).source == "the 5 people of boxes.csv"
    index(folder, "--dataset=synthetic", f"--beton-root={beton_root}")
    on_set = calibration.load(folder, network)
    assert on_set.source == "the 5 people of the test set of synthetic"
    assert on_set.directions.keys() == on_list.directions.keys()
    for way, direction in on_set.directions.items():  # the boxes are the set's images
        other = on_list.directions[way]
        assert direction.identities == other.identities
        assert direction.similarity[[0, -1]] == pytest.approx(other.similarity[[0, -1]], abs=1e-4)
        half = float(np.median(direction.similarity))
        assert direction.expected(half, 100).strangers == pytest.approx(other.expected(half, 100).strangers, abs=2)
    assert len(rows_of(folder)) == 8


def test_a_test_set_of_another_size_is_no_calibration(
    footage: Path, beton_root: Path, export: Path, add: Add, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    options = some_boxes(tmp_path / "a.csv", footage)
    folder = add(*options)
    capsys.readouterr()
    opened = index_command.open_images(beton_root / "synthetic", None)
    opened.size_px = (288, 144)
    monkeypatch.setattr(index_command, "open_images", lambda *arguments: opened)
    index(folder, *options, f"--beton-root={beton_root}")
    shown = capsys.readouterr().out
    assert "note: not calibrated" in shown
    assert "288 x 144" in shown
    assert not (folder / calibration.FILE).exists()
