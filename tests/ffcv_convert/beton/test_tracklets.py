"""Tracklets in the manifest: read back, refused if damaged, and absent for still images as in older manifests."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ffcv_convert.beton import Converted, manifest_path, open_beton, read_manifest, tracklets_of
from ffcv_convert.beton.tracklets import TRACKLET_COLUMNS
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets import hitsz_vcm
from tests.support.refusals import refusal


@pytest.fixture
def video(drawn_betons: Path, tmp_path: Path) -> Path:
    """A copy of the test part of HITSZ-VCM's layout, whose manifest may be damaged."""
    for name in ("test.beton", "test.json"):
        (tmp_path / name).write_bytes((drawn_betons / "hitsz_vcm" / name).read_bytes())
    return tmp_path / "test.beton"


def test_tracklets_are_those_of_the_list(drawn_root: Path, drawn_betons: Path) -> None:
    records = hitsz_vcm.list_records(drawn_root / "HITSZ-VCM")
    for part in ("train", "test"):
        converted = open_beton(drawn_betons / "hitsz_vcm" / f"{part}.beton")
        found = tracklets_of(converted)
        assert found is not None
        own = [record for record in records if record.split == part]
        assert [record.image for record in own] == converted.manifest.column("path")
        for number in range(len(found)):
            frames = [r for r in own if r.tracklet and r.tracklet.number == number]
            first, one = frames[0], frames[0].tracklet
            assert one
            assert found.samples_T[number] == found.frames_T[number] == len(frames)
            assert found.sample_T[number] == own.index(first)
            assert found.modality_T[number] == first.modality
            assert (found.query_T[number], found.gallery_T[number]) == (one.query, one.gallery)
        assert found.query_T.any() == found.gallery_T.any() == (part == "test")


def test_still_images_have_none_and_a_manifest_as_before(drawn_betons: Path) -> None:
    converted = open_beton(drawn_betons / "sysu" / "test.beton")
    assert tracklets_of(converted) is None
    assert not {"tracklets", "every"} & set(json.loads(manifest_path(converted.path).read_text()))


def test_a_row_stands_on_a_line_of_its_own(video: Path) -> None:
    lines = manifest_path(video).read_text().splitlines()
    assert lines.count("  [1, 1, 0, 1],") == 24
    assert sum(line.startswith("  [") for line in lines) == 2 * 48


def test_how_it_was_thinned_is_read_back(video: Path) -> None:
    manifest = replace(read_manifest(video), every=3)
    manifest_path(video).write_text(manifest.to_json())
    assert open_beton(video).manifest.every == 3


def rows_with(row: list[Any]) -> Any:
    return lambda rows: [*rows[:-1], row]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (rows_with([1, 0, 1]), "row of tracklets"),
        (rows_with([1, 0, 1, True]), "row of tracklets"),
        (rows_with([1.0, 0, 1, 1]), "row of tracklets"),
        (lambda rows: ["abcd"] * len(rows), "row of tracklets"),
        (rows_with([0, 0, 1, 1]), "samples is 0"),
        (rows_with([1, 2, 1, 1]), "query is 2"),
        (rows_with([1, 0, -1, 1]), "gallery is -1"),
        (rows_with([1, 0, 1, 0]), "frames is 0"),
        (rows_with([1, 0, 1, 2**63]), f"frames is {2**63}"),
        (rows_with([2, 0, 1, 1]), "more frames"),
        (rows_with([2, 0, 1, 2]), "49 samples"),
        (lambda rows: rows[:-1], "47 samples"),
        (lambda rows: {"1": 2}, "tracklets is not of type list"),
    ],
)
def test_damaged_tracklets_are_refused(video: Path, damage: Any, told: str) -> None:
    body = json.loads(manifest_path(video).read_text())
    del body["checksum"]
    manifest_path(video).write_text(json.dumps({**body, "tracklets": damage(body["tracklets"])}))
    with refusal(DataError, manifest_path(video), told):
        read_manifest(video)


def test_columns_are_named_once(video: Path) -> None:
    assert {len(row) for row in read_manifest(video).tracklets} == {len(TRACKLET_COLUMNS)}
    found = tracklets_of(Converted(open_beton(video).structure, read_manifest(video)))
    assert found
    assert len(found) == 48
