"""Lists of boxes as COCO's JSON."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from dns.search.lists import coco, read_boxes
from dns.search.sightings import Box, LeftOut, Sighting
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import DataError
from tests.support.refusals import refusal

CONTENT: dict[str, Any] = {
    "info": {"year": 2024},
    "images": [
        {
            "id": 7,
            "file_name": "a/1.jpg",
            "date_captured": "1970-01-01 00:00:02",
            "camera": "c1",
            "modality": "visible",
        },
        {"id": "8", "file_name": "a/2.jpg", "date_captured": 0, "camera": 2, "modality": 1},
    ],
    "annotations": [
        {"id": 1, "image_id": "8", "bbox": [1.5, 2, 30, 60], "category_id": 1, "track_id": 5, "iscrowd": 0},
        {"id": 2, "image_id": 7, "bbox": [0, 0, 9, 9], "category_id": 3, "segmentation": [[0, 0, 9, 9, 0, 9]]},
        {"id": 3, "image_id": 7, "bbox": [0, 0, 9, 9], "category_id": 1, "iscrowd": 1},
        {"id": 4, "image_id": 7, "bbox": [-1, 0, 9, 9], "category_id": 1},
        {"id": 5, "image_id": 7, "bbox": [0, 0, 0, 9], "category_id": 1, "track_id": -1},
    ],
    "categories": [{"id": 1, "name": "Person"}, {"id": 3, "name": "car"}],
}


def read(root: Path, content: object, left_out: LeftOut | None = None, **options: object) -> list[Sighting]:
    (root / "boxes.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return read_boxes(root / "boxes.json", root / "images", left_out=left_out or LeftOut(), **options)


def test_annotations_of_people_become_sightings(tmp_path: Path) -> None:
    left_out = LeftOut()
    assert read(tmp_path, CONTENT, left_out) == [
        Sighting("a/2.jpg", Box(1.5, 2, 30, 60), None, "2", Modality.INFRARED, "5", None, "boxes.json annotation 1"),
        Sighting("a/1.jpg", Box(-1, 0, 9, 9), 2000, "c1", Modality.VISIBLE, "", None, "boxes.json annotation 4"),
    ]
    assert list(left_out.names.values()) == [[f"boxes.json annotation {number}"] for number in (2, 3, 5)]


@pytest.mark.parametrize("categories", [[], None])
def test_without_categories_every_box_is_a_persons(tmp_path: Path, categories: list[Any] | None) -> None:
    assert len(read(tmp_path, {**CONTENT, "categories": categories})) == 3


def test_what_an_image_does_not_state_is_given_for_all(tmp_path: Path) -> None:
    content = deepcopy(CONTENT)
    for image in content["images"]:
        del image["camera"], image["modality"], image["date_captured"]
    found = read(tmp_path, content, camera="door", modality=Modality.SKETCH)
    assert {(one.camera, one.modality, one.time_ms) for one in found} == {("door", Modality.SKETCH, None)}
    with refusal(DataError, tmp_path / "boxes.json", "image 1", "--camera"):
        read(tmp_path, content, modality=Modality.SKETCH)
    with refusal(DataError, tmp_path / "boxes.json", "image 1", "--modality"):
        read(tmp_path, content, camera="door")


def test_results_do_not_name_the_images(tmp_path: Path) -> None:
    with refusal(DataError, tmp_path / "boxes.json", "images", "annotations"):
        read(tmp_path, [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.5}])


def test_categories_without_people_are_named(tmp_path: Path) -> None:
    with refusal(DataError, tmp_path / "boxes.json", "car", "person"):
        read(tmp_path, {**CONTENT, "categories": [{"id": 3, "name": "car"}]})


WRONG: list[tuple[str, int, dict[str, Any]]] = [
    ("annotation", 4, {"bbox": [0, 0, 9]}),
    ("annotation", 4, {"bbox": [0, 0, 9, "wide"]}),
    ("annotation", 4, {"bbox": [0, 0, 9, None]}),
    ("annotation", 4, {"bbox": [0, 0, 9, 10**400]}),
    ("annotation", 4, {"bbox": "0 0 9 9"}),
    ("annotation", 4, {"bbox": {"x": 0}}),
    ("annotation", 4, {"image_id": 9}),
    ("annotation", 4, {"image_id": [7]}),
    ("annotation", 4, {"image_id": None}),
    ("annotation", 4, {"category_id": [1]}),
    ("annotation", 4, {"track_id": {}}),
    ("annotation", 4, {"track_id": "\udcff"}),
    ("image", 2, {"id": 7}),
    ("image", 2, {"id": [8]}),
    ("image", 2, {"file_name": ["a.jpg"]}),
    ("image", 2, {"file_name": "../a.jpg"}),
    ("image", 2, {"file_name": "a\ud800.jpg"}),
    ("image", 2, {"file_name": None}),
    ("image", 2, {"camera": "\ud800"}),
    ("image", 2, {"date_captured": "noon"}),
    ("image", 2, {"modality": 3}),
]


@pytest.mark.parametrize(("part", "number", "changes"), WRONG)
def test_what_is_damaged_is_refused_with_its_place(
    tmp_path: Path, part: str, number: int, changes: dict[str, Any]
) -> None:
    content = deepcopy(CONTENT)
    content[f"{part}s"][number - 1].update(changes)
    with pytest.raises(DataError) as caught:
        read(tmp_path, content)
    assert f"boxes.json {part} {number}" in str(caught.value)


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
@pytest.mark.parametrize("entry", [None, 5, "text", [1], {}])
def test_entries_of_other_types_are_refused(tmp_path: Path, part: str, entry: object) -> None:
    with refusal(DataError, tmp_path / "boxes.json"):
        read(tmp_path, {**CONTENT, part: [*CONTENT[part], entry]})


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "5", "null", '{"images": []}', '{"images": {}, "annotations": []}', "[" * 100_000, "1" * 10_000,
        '{"images": [], "annotations": [], "categories": 5}', '{"bbox": 5}',
    ],
)  # fmt: skip
def test_other_json_is_refused(tmp_path: Path, text: str) -> None:
    with refusal(DataError, tmp_path / "boxes.json"):
        read(tmp_path, text)


def test_numbers_that_are_not_finite_are_counted(tmp_path: Path) -> None:
    content = deepcopy(CONTENT)
    content["annotations"] = [{"image_id": 7, "category_id": 1, "bbox": [x, 0, 9, 9]} for x in (0, float("nan"))]
    left_out = LeftOut()
    assert len(read(tmp_path, json.dumps(content).replace("[0, 0, 9, 9]", "[1e999, 0, 9, 9]"), left_out)) == 0
    assert list(left_out.counts.values()) == [2]


def test_outlines_are_dropped_while_the_file_is_read() -> None:
    """They are most of a file of COCO, and would take gigabytes."""
    kept = json.loads('{"bbox": [1, 2, 3, 4], "segmentation": [[1, 2, 3, 4]], "image_id": 5}', object_hook=coco._slim)
    assert tuple(kept) == (5, None, [1, 2, 3, 4], None, None)
