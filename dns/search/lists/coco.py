"""Reads sightings from JSON as COCO (Lin et al., ECCV 2014) defines it.

{"images": [{"id": 1, "file_name": "17.jpg", "date_captured": "2024-05-31 14:05:09", "camera": "c1", "modality": 0}],
 "annotations": [{"image_id": 1, "bbox": [311.5, 40, 62, 170], "category_id": 1, "track_id": 8}],
 "categories": [{"id": 1, "name": "person"}]}

date_captured, camera and modality of an image and track_id of an annotation may be missing; so may the categories, and
then every box is a person's. Boxes of other categories and of crowds (iscrowd) are left out.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from dns.search.lists.fields import Fields, is_utf8, track_of
from dns.search.sightings import LeftOut, Sighting
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets.files import read_text
from ffcv_convert.records import shown

PARTS = '{"images": [...], "annotations": [...]}'
PERSON = "person"


class _Image(NamedTuple):
    path: str
    time_ms: int | None
    camera: str
    modality: Modality


class _Annotation(NamedTuple):
    image_id: object
    category_id: object
    bbox: object
    track_id: object
    crowd: object


def read(fields: Fields, left_out: LeftOut) -> list[Sighting]:
    content = _content(fields)
    images = _images(fields, content["images"])
    people = _people(fields, content.get("categories") or [])
    sightings = []
    for number, annotation in enumerate(content["annotations"], start=1):
        source = f"{fields.path.name} annotation {number}"
        if not isinstance(annotation, _Annotation):
            raise fields.error(source, "the entry", annotation, "an object with image_id and bbox")
        image_id, category_id, bbox, track_id, crowd = annotation
        if people is not None and _key(fields, source, "category_id", category_id) not in people:
            left_out.add("boxes of other categories than person", source)
        elif crowd:
            left_out.add("boxes of crowds", source)
        elif (image := images.get(_key(fields, source, "image_id", image_id))) is None:
            raise fields.error(source, "image_id", image_id, "the id of one of the images")
        elif box := fields.box(bbox if isinstance(bbox, list) else [bbox], source, left_out):
            track = track_of(_text(fields, source, "track_id", track_id))
            sightings.append(
                Sighting(image.path, box, image.time_ms, image.camera, image.modality, track, None, source)
            )
    return sightings


def _content(fields: Fields) -> dict[str, Any]:
    path = fields.path
    try:
        content = json.loads(read_text(path), object_hook=_slim)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable as JSON ({error}). Restore it, or write it again") from None
    if isinstance(content, list):
        raise DataError(
            f"{path}: a bare list of results, which does not name the images. Write {PARTS}: the images that the "
            "detector was given, and these results as annotations"
        )
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ("images", "annotations")):
        raise DataError(f"{path}: is not COCO's {PARTS}. Write the boxes so, or as CSV")
    if not isinstance(content.get("categories") or [], list):
        raise fields.error(path.name, "categories", content["categories"], "a list")
    return content


def _slim(content: dict[str, Any]) -> dict[str, Any] | _Annotation:
    """Keep of an annotation what is read, while the rest is parsed: outlines of people would take gigabytes."""
    if "bbox" not in content:
        return content
    return _Annotation(*map(content.get, ("image_id", "category_id", "bbox", "track_id", "iscrowd")))


def _images(fields: Fields, listed: list[Any]) -> dict[int | str, _Image]:
    images: dict[int | str, _Image] = {}
    for number, image in enumerate(listed, start=1):
        source = f"{fields.path.name} image {number}"
        if not isinstance(image, Mapping):
            raise fields.error(source, "the entry", image, "an object with id and file_name")
        key = _key(fields, source, "id", image.get("id"))
        if key in images:
            raise fields.error(source, "id", key, "no other image's")
        name, camera, modality = (
            _text(fields, source, column, image.get(column)) for column in ("file_name", "camera", "modality")
        )
        # Several tools write 0 where they know no date.
        time = _text(fields, source, "date_captured", image.get("date_captured") or None)
        images[key] = _Image(
            fields.image(name, source), fields.time_ms(time, source), fields.camera(camera, source),
            fields.modality(modality, source),
        )  # fmt: skip
    return images


def _people(fields: Fields, listed: list[Any]) -> set[int | str] | None:
    """Return the ids of the category of people; None where no category is named."""
    named: dict[int | str, str] = {}
    for number, category in enumerate(listed, start=1):
        source = f"{fields.path.name} category {number}"
        if not isinstance(category, Mapping):
            raise fields.error(source, "the entry", category, "an object with id and name")
        named[_key(fields, source, "id", category.get("id"))] = _text(fields, source, "name", category.get("name"))
    people = {key for key, name in named.items() if name.lower() == PERSON}
    if named and not people:
        others = shown(", ".join(named.values()))
        raise DataError(
            f"{fields.path}: of its categories, {others}, none is {PERSON}. Rename that of people to {PERSON}"
        )
    return people or None


def _key(fields: Fields, source: str, name: str, value: object) -> int | str:
    if isinstance(value, int | str):
        return value
    raise fields.error(source, name, value, "a number or a text")


def _text(fields: Fields, source: str, name: str, value: object) -> str:
    """Return a text or number of the JSON as text, "" for null."""
    if value is None:
        return ""
    if isinstance(value, str | int | float) and is_utf8(text := str(value).strip()):
        return text
    raise fields.error(source, name, value, "a text")
