"""Conversion of video: frames are thinned, what that will take is said before it begins, and all of it stays chosen."""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ffcv_convert import __main__ as cli
from ffcv_convert.beton import Modality, open_beton
from ffcv_convert.common.errors import DataError
from ffcv_convert.convert import convert
from ffcv_convert.datasets import DATASETS, hitsz_vcm, sysu
from ffcv_convert.images import ImageFormat
from ffcv_convert.records import Record, Tracklet
from ffcv_convert.sources import source_fingerprint
from ffcv_convert.synthetic import Options
from ffcv_convert.verify import verify
from ffcv_convert.video import Selection, estimate, selection_for, thinned, tracklet_rows, without_missing
from tests.support.drawing import draw_here
from tests.support.refusals import assert_tells, refusal
from tests.support.trees import touch

FORMAT = ImageFormat(32, 16)


def records_of(*lengths: int) -> list[Record]:
    """Tracklets of these lengths, of identities 0, 1, ..."""
    return [
        Record(f"{person}/{frame}.jpg", person, 1, Modality.VISIBLE, "test", one)
        for person, length in enumerate(lengths)
        for one in [Tracklet(person, length)]
        for frame in range(length)
    ]


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DATA_ROOT with HITSZ-VCM's layout: training tracklets of nine frames, test tracklets of one. Read only."""
    root = tmp_path_factory.mktemp("footage")
    options = Options(
        train_identities=2, test_identities=1, train_images=18, test_images=1, height_px=32, layout="hitsz_vcm"
    )
    draw_here(root / "HITSZ-VCM", options)
    return root


@pytest.mark.parametrize("every", [1, 2, 3, 7, 100])
def test_thinning_keeps_the_first_frame_of_each_tracklet_and_every_nth_after_it(every: int) -> None:
    records = records_of(1, 2, 7, 24)
    kept = []
    for record in records:
        frame = int(record.image.split("/")[1].split(".")[0])
        if frame % every == 0:
            kept.append(record)
    assert thinned(records, every) == kept
    rows = tracklet_rows(kept)
    assert [row[3] for row in rows] == [1, 2, 7, 24]
    assert [row[0] for row in rows] == [sum(r.person == person for r in kept) for person in range(4)]


def test_frames_that_are_missing_are_left_out_with_their_count(tmp_path: Path) -> None:
    records = records_of(3, 1, 2)
    touch(tmp_path, *(r.image for r in records if r.image not in ("0/1.jpg", "1/0.jpg")))
    found, told = without_missing(tmp_path, records)
    assert [record.image for record in found] == ["0/0.jpg", "0/2.jpg", "2/0.jpg", "2/1.jpg"]
    assert [row[:4] for row in tracklet_rows(found)] == [[2, 0, 0, 2], [2, 0, 0, 2]]
    assert_tells(told[0], "2 of 6", "0/1.jpg")
    assert_tells(told[1], 1, "1/0.jpg")
    assert without_missing(tmp_path, found) == (found, [])
    still = [Record("gone.jpg", 1, 1, Modality.VISIBLE, "test")]
    assert without_missing(tmp_path, still) == (still, [])


def test_the_fingerprint_covers_tracklets(tmp_path: Path) -> None:
    records = records_of(4)
    touch(tmp_path, *(record.image for record in records))
    whole, query, *halves = (
        Tracklet(0, 4),
        Tracklet(0, 4, query=True),
        *(Tracklet(n, 2) for n in (0, 1)),
    )
    variants = [
        [replace(record, tracklet=of[n]) for n, record in enumerate(records)]
        for of in ([None] * 4, [whole] * 4, [query] * 4, [halves[0]] * 2 + [halves[1]] * 2)
    ]
    assert len({source_fingerprint(each, tmp_path, FORMAT, {}).listed for each in variants}) == len(variants)


def test_the_estimate_tells_images_time_disk_and_how_to_thin(footage: Path) -> None:
    root = footage / "HITSZ-VCM"
    records = hitsz_vcm.list_records(root)
    first, second = estimate(records, root, FORMAT, 1, workers=1)
    assert_tells(first, "32 tracklets", "96 images", "less than two minutes", "images/s", "0 MB raw", "raw is chosen")
    # Training: 2 identities x 2 modalities x 2 tracklets of 9 frames, of which 3 stay; testing: 24 of 1 frame.
    assert_tells(second, "--every 4", f"{8 * 3 + 24} images")
    (only,) = estimate(thinned(records, 2), root, ImageFormat(288, 144, "jpeg"), 2, workers=1)
    found = re.search(r"(\d+) images, .* ([\d,.]+) MB raw or ([\d,.]+) MB as JPEG \(JPEG is chosen", only)
    assert found
    assert (int(found[1]), int(found[2])) == (8 * 5 + 24, round(64 * 288 * 144 * 3 / 1e6))
    assert float(found[3]) < float(found[2]) / 4


def test_every_nth_frame_is_stored_told_verified_and_stays_chosen(
    footage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--data-root", str(footage), "--beton-root", str(tmp_path), "--workers", "1"]
    size = ["--dataset", "hitsz_vcm", "--height-px", "32", "--width-px", "16"]
    beton = tmp_path / "hitsz_vcm" / "train.beton"
    whole = [r.image for r in hitsz_vcm.list_records(footage / "HITSZ-VCM") if r.split == "train"]
    kept = {1: whole, 4: [image for start in range(0, 72, 9) for image in whole[start : start + 9 : 4]]}
    for options, every, writes in (
        ([], 1, True),
        (["--every", "4"], 4, True),
        ([], 4, False),
        (["--every", "1"], 1, True),
        (["--every", "4"], 4, True),
    ):
        assert cli.main(["convert", *command, *size, *options]) == 0
        told = capsys.readouterr().out
        assert ("images/s" in told) == writes
        assert ("one frame in 4 of each tracklet is stored: 24 of 72 images" in told) == (every == 4)
        manifest = open_beton(beton).manifest
        assert manifest.every == every
        assert manifest.column("path") == kept[every]
        assert [row[3] for row in manifest.tracklets] == [9] * 8
    assert cli.main(["verify", "--deep", *command]) == 0
    said = capsys.readouterr()
    assert "warning" not in said.out + said.err
    assert "hitsz_vcm (synthetic)/train: one frame in 4 of each tracklet is stored: 24 of 72 images" in said.out
    assert "hitsz_vcm (synthetic): 72 train images" in said.out  # what the set has, as published


def test_published_counts_are_compared_with_what_the_set_has_not_with_what_is_stored(
    footage: Path, tmp_path: Path
) -> None:
    convert(hitsz_vcm.DATASET, footage, tmp_path, FORMAT, Selection(every=9), workers=1)
    lines = list(verify(hitsz_vcm.DATASET, footage, tmp_path, deep=False, workers=1))
    assert "hitsz_vcm (synthetic): 36 train infrared images" in lines


def test_options_of_video_are_refused_for_still_images(footage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with refusal(DataError, "--every", "sysu"):
        selection_for(sysu.DATASET, Path("none.beton"), 2, None)
    with refusal(DataError, "--auxiliary", "hitsz_vcm"):
        selection_for(hitsz_vcm.DATASET, Path("none.beton"), None, True)
    assert selection_for(sysu.DATASET, Path("none.beton"), None, None) == Selection()


def test_all_sets_at_once_take_what_fits_them(footage: Path, data_root: Path, tmp_path: Path) -> None:
    for name in ("HITSZ-VCM", "synthetic"):
        os.symlink((footage if name == "HITSZ-VCM" else data_root) / name, tmp_path / name)
    options = ["--height-px", "32", "--width-px", "16", "--workers", "1", "--every", "9", "--auxiliary"]
    assert cli.main(["convert", "--data-root", str(tmp_path), "--beton-root", str(tmp_path / "Beton"), *options]) == 0
    manifests = [open_beton(tmp_path / "Beton" / name / "train.beton").manifest for name in ("hitsz_vcm", "synthetic")]
    assert [manifest.every for manifest in manifests] == [9, 1]


def test_sets_of_video_say_what_fits_them() -> None:
    assert {name: d.takes for name, d in DATASETS.items() if d.takes} == {
        "hitsz_vcm": ("every",),
        "buptcampus": ("every", "auxiliary"),
    }
