"""What the writer stores: Pillow's pixels, FFCV's layout, the same bytes every time; and when it writes."""

import importlib
import io
import json
import os
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ffcv_convert.beton import Manifest, Modality, manifest_path, open_beton
from ffcv_convert.beton.layout import (
    ALLOCATION,
    FIELD,
    FIELDS,
    FORMAT_VERSION,
    HEADER,
    METADATA,
    MODE_JPEG,
    PAGE_BYTES,
    data_start,
)
from ffcv_convert.common.errors import DataError
from ffcv_convert.convert import convert
from ffcv_convert.datasets import llcm, synthetic
from ffcv_convert.images import ImageFormat
from ffcv_convert.records import Record, training_labels
from ffcv_convert.writer import BetonJob, write_betons
from tests.conftest import SMALL_FORMAT
from tests.support.refusals import refusal

PARTS = ("train", "test")


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def by_pillow(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        size = SMALL_FORMAT.width_px, SMALL_FORMAT.height_px
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS))


def records_of(names: list[str], modality: Modality = Modality.INFRARED) -> list[Record]:
    return [Record(name, person, 1, modality, "test") for person, name in enumerate(names)]


def write_test_part(root: Path, records: list[Record], image_format: ImageFormat = SMALL_FORMAT) -> Manifest:
    return write_betons([BetonJob(root / "test.beton", "made-up", "test", records)], root, image_format, workers=2)[
        0
    ].manifest


@pytest.mark.parametrize("part", PARTS)
def test_stored_pixels_are_pillows(data_root: Path, beton_root: Path, part: str) -> None:
    converted = open_beton(beton_root / "synthetic" / f"{part}.beton")
    for sample, row in enumerate(converted.manifest.samples):
        stored = converted.structure.stored_bytes(sample)
        assert stored == by_pillow(data_root / "synthetic" / row[0]).tobytes()
        assert zlib.crc32(stored) == row[5]


@pytest.mark.parametrize("part", PARTS)
def test_columns_are_those_of_the_listing(data_root: Path, beton_root: Path, part: str) -> None:
    records = [r for r in llcm.list_records(data_root / "synthetic") if r.split == part]
    converted = open_beton(beton_root / "synthetic" / f"{part}.beton")
    assert [row[:5] for row in converted.manifest.samples] == [
        [r.image, r.person, r.camera, int(r.modality), r.split] for r in records
    ]
    columns = {name: converted.structure.column(name).tolist() for name in ("person", "camera", "modality", "index")}
    assert columns == {
        "person": [r.person for r in records],  # the synthetic set's training labels are contiguous already
        "camera": [r.camera for r in records],
        "modality": [int(r.modality) for r in records],
        "index": list(range(len(records))),
    }


def test_training_persons_become_contiguous_labels_by_ascending_id(data_root: Path, tmp_path: Path) -> None:
    source = llcm.list_records(data_root / "synthetic")[:4]
    ids = [700, 3, 700, 12]
    records = [Record(r.image, person, 0, r.modality, "train") for r, person in zip(source, ids, strict=True)]
    assert training_labels(records) == {3: 0, 12: 1, 700: 2}
    parts = [BetonJob(tmp_path / f"{name}.beton", "made-up", name, records) for name in PARTS]
    manifests = [part.manifest for part in write_betons(parts, data_root / "synthetic", SMALL_FORMAT, workers=1)]
    for part, manifest, expected in zip(parts, manifests, ([2, 0, 2, 1], ids), strict=True):
        assert open_beton(part.beton).structure.column("person").tolist() == expected
        assert manifest.column("person") == ids
        assert manifest.identities == 3


@pytest.mark.parametrize("workers", [1, 3])
def test_same_bytes_whatever_the_number_of_workers(
    data_root: Path, beton_root: Path, tmp_path: Path, workers: int
) -> None:
    convert(synthetic.DATASET, data_root, tmp_path, SMALL_FORMAT, workers=workers)
    assert contents(tmp_path) == contents(beton_root)


def test_images_cross_no_page(data_root: Path, tmp_path: Path) -> None:
    """Six images of 500 x 200 fill a page; 96 training images take sixteen pages."""
    convert(synthetic.DATASET, data_root, tmp_path, ImageFormat(500, 200), workers=2)
    table = open_beton(tmp_path / "synthetic" / "train.beton").structure.allocation_N
    first, last = table["ptr"] // PAGE_BYTES, (table["ptr"] + table["size"] - 1) // PAGE_BYTES
    assert np.array_equal(first, last)
    assert len(np.unique(first)) == 16


def test_infrared_grey_is_true_for_grey_images_alone(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (40, 20), dtype=np.uint8)
    tinted = np.stack([grey, grey, grey], axis=2)
    tinted[20, 10, 2] ^= 128
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(tinted).save(tmp_path / "tinted.png")
    both = records_of(["grey.png", "tinted.png"])
    assert write_test_part(tmp_path, both[:1]).infrared_grey is True
    assert write_test_part(tmp_path, both).infrared_grey is False
    visible = records_of(["tinted.png"], Modality.VISIBLE)
    assert write_test_part(tmp_path, both[:1] + visible).infrared_grey is True


def test_jpeg_decodes_near_the_original(data_root: Path, beton_root: Path, tmp_path: Path) -> None:
    convert(synthetic.DATASET, data_root, tmp_path, ImageFormat(96, 48, "jpeg"), workers=2)
    raw = open_beton(beton_root / "synthetic" / "train.beton")
    jpeg = open_beton(tmp_path / "synthetic" / "train.beton")
    assert jpeg.manifest.encoding == "jpeg"
    assert (jpeg.structure.column("image")["mode"] == MODE_JPEG).all()
    assert jpeg.structure.allocation_N["size"].sum() < raw.structure.allocation_N["size"].sum() / 2
    for sample in range(len(jpeg)):
        pixels = np.asarray(Image.open(io.BytesIO(jpeg.structure.stored_bytes(sample))), dtype=int)
        original = np.frombuffer(raw.structure.stored_bytes(sample), np.uint8).reshape(pixels.shape)
        assert np.abs(pixels - original).mean() < 3


def test_dtypes_are_ffcvs_and_its_reader_agrees(beton_root: Path) -> None:
    importlib.import_module("pipelines.ffcv_patches")  # first: it makes importing ffcv quick and quiet
    from ffcv import types
    from ffcv.reader import Reader

    assert types.CURRENT_VERSION == FORMAT_VERSION
    assert (types.HeaderType, types.FieldDescType) == (HEADER, FIELD)
    assert ALLOCATION == types.ALLOC_TABLE_TYPE
    for part in PARTS:
        structure = open_beton(beton_root / "synthetic" / f"{part}.beton").structure
        reader = Reader(str(structure.path))
        assert types.get_metadata_type(list(reader.handlers.values())) == METADATA
        assert reader.field_names == list(FIELDS)
        assert (reader.num_samples, reader.page_size) == (len(structure.metadata_N), PAGE_BYTES)
        assert np.array_equal(reader.metadata, structure.metadata_N)
        assert np.array_equal(reader.alloc_table, structure.allocation_N)


@pytest.fixture
def copied(data_root: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A writable DATA_ROOT and its conversion."""
    shutil.copytree(data_root, tmp_path / "data")
    convert(synthetic.DATASET, tmp_path / "data", tmp_path / "beton", SMALL_FORMAT, workers=2)
    return tmp_path / "data", tmp_path / "beton"


def written(data: Path, beton: Path, image_format: ImageFormat = SMALL_FORMAT) -> dict[str, bool]:
    result = convert(synthetic.DATASET, data, beton, image_format, workers=2)
    return {path.stem: new for path, new in result.items()}


def test_only_what_is_not_up_to_date_is_written(copied: tuple[Path, Path]) -> None:
    data, beton = copied
    before = {path: path.stat().st_mtime_ns for path in beton.rglob("*")}
    assert written(data, beton) == {"train": False, "test": False}
    assert {path: path.stat().st_mtime_ns for path in beton.rglob("*")} == before

    image = next((data / "synthetic" / "test_vis").rglob("*.jpg"))
    os.utime(image, ns=(0, 0))
    assert written(data, beton) == {"train": False, "test": True}
    shutil.copy(next((data / "synthetic" / "vis").rglob("*.jpg")), image)
    assert written(data, beton) == {"train": False, "test": True}

    labels = data / "synthetic" / "idx" / "train_vis.txt"
    labels.write_text("".join(sorted(labels.read_text().splitlines(keepends=True), reverse=True)))
    assert written(data, beton) == {"train": True, "test": False}
    assert written(data, beton, ImageFormat(64, 32)) == {"train": True, "test": True}
    assert written(data, beton, ImageFormat(64, 32, "jpeg")) == {"train": True, "test": True}
    assert written(data, beton, ImageFormat(64, 32, "jpeg")) == {"train": False, "test": False}


@pytest.mark.parametrize("damage", ["pixels", "table", "cut", "manifest", "no manifest", "other manifest"])
def test_what_cannot_be_opened_is_written_again(copied: tuple[Path, Path], damage: str) -> None:
    """The message of `open_beton` advises to convert again, so that must help."""
    data, root = copied
    beton = root / "synthetic" / "train.beton"
    good, manifest = beton.read_bytes(), json.loads(manifest_path(beton).read_text())
    start = data_start(96)
    if damage == "pixels":
        beton.write_bytes(good[:start] + bytes(100) + good[start + 100 :])
    elif damage == "table":
        beton.write_bytes(good[:-4] + b"\1\1\1\1")
    elif damage == "cut":
        beton.write_bytes(good[:-1])
    elif damage == "manifest":
        manifest_path(beton).write_text("{")
    elif damage == "no manifest":
        manifest_path(beton).unlink()
    else:
        manifest_path(beton).write_text(json.dumps({**manifest, "structure_sha256": ""}))
    with refusal(DataError, beton if damage in ("pixels", "table", "cut") else manifest_path(beton)):
        open_beton(beton)
    assert written(data, root) == {"train": True, "test": False}
    assert beton.read_bytes() == good
    assert len(open_beton(beton)) == 96


def test_a_name_that_is_no_utf8_survives(data_root: Path, tmp_path: Path) -> None:
    shutil.copy(next((data_root / "synthetic" / "vis").rglob("*.jpg")), tmp_path / "caf\udce9.jpg")
    write_test_part(tmp_path, records_of(["caf\udce9.jpg"]))
    assert open_beton(tmp_path / "test.beton").manifest.column("path") == ["caf\udce9.jpg"]
