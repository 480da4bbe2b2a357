"""`open_beton`: the good pair opens; anything else is refused with the file's name and the next step."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ffcv_convert.beton import manifest_path, open_beton, read_manifest, read_structure
from ffcv_convert.beton.layout import (
    ALLOCATION,
    FIELD,
    HEADER,
    METADATA,
    METADATA_START,
    MODE_JPEG,
    PAGE_BYTES,
    data_start,
)
from ffcv_convert.common.errors import DataError
from tests.support.refusals import refusal

SAMPLES = 96
METADATA_END = METADATA_START + SAMPLES * METADATA.itemsize
DATA_START = data_start(SAMPLES)


@pytest.fixture
def beton(beton_root: Path, tmp_path: Path) -> Path:
    """A writable copy of train.beton and its manifest."""
    for name in ("train.beton", "train.json"):
        shutil.copy(beton_root / "synthetic" / name, tmp_path)
    return tmp_path / "train.beton"


def test_the_good_pair_opens(beton: Path) -> None:
    converted = open_beton(beton)
    assert converted.path == beton
    assert len(converted) == SAMPLES == len(converted.structure.metadata_N)
    manifest = converted.manifest
    assert (manifest.dataset, manifest.part, manifest.identities) == ("synthetic", "train", 8)
    assert (manifest.height_px, manifest.width_px, manifest.encoding) == (96, 48, "raw")
    assert len(open_beton(str(beton))) == SAMPLES  # type: ignore[arg-type]


def test_trials_are_read_back(beton: Path) -> None:
    trials = {"train-1": [3, 0, 3], "test-1": [SAMPLES - 1]}
    manifest = replace(read_manifest(beton), trials=trials)
    manifest_path(beton).write_text(manifest.to_json())
    assert open_beton(beton).manifest.trials == trials


def contents(beton: Path) -> dict[str, Any]:
    """The manifest without its checksum, like older ones, so that a change reaches the other checks."""
    body = json.loads(manifest_path(beton).read_text())
    assert len(body.pop("checksum")) == 64
    return body


def test_a_manifest_without_a_checksum_opens(beton: Path) -> None:
    before = read_manifest(beton)
    manifest_path(beton).write_text(json.dumps(contents(beton)))
    assert open_beton(beton).manifest == before


def test_a_manifest_with_other_line_ends_opens(beton: Path) -> None:
    path = manifest_path(beton)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(open_beton(beton)) == SAMPLES


EDITS: dict[str, tuple[str, str]] = {
    "trials": ('"trials": {}', '"trials": {"test-1": [0]}'),
    "a split": ('"train", ', '"test", '),
    "infrared_grey": ('"infrared_grey": true', '"infrared_grey": false'),
    "the set's name": ('"synthetic"', '"sysu"'),
    "a blank": ('"part": ', '"part":  '),
    "another place": ("{\n", '{\n "filter": "lanczos",\n'),
    "no text": ('"checksum": "', '"checksum": ["'),
    "another number": ('"checksum": "', '"checksum": "F'),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_manifest_that_was_edited_is_refused(beton: Path, name: str) -> None:
    path, (old, new) = manifest_path(beton), EDITS[name]
    text = path.read_text().replace(old, new, 1)
    if name == "another place":
        text = text.replace(' "filter": "lanczos",\n "height_px"', ' "height_px"')
    if name == "no text":
        text = text.replace('",\n', '"],\n', 1)
    assert path.read_text() != text
    json.loads(text)
    path.write_text(text)
    refuse(beton, "checksum", path)


def refuse(beton: Path, told: str, named: Path | None = None) -> None:
    with refusal(DataError, named or beton, told):
        open_beton(beton)


def test_no_file(tmp_path: Path) -> None:
    refuse(tmp_path / "train.beton", "no such")


@pytest.mark.parametrize(
    "kept",
    [
        *(0, 1, 20, HEADER.itemsize, METADATA_START - 1, METADATA_START, METADATA_END - 7),
        *(DATA_START - 1, DATA_START, DATA_START + 96 * 48 * 3 + 5, -SAMPLES * 24, -SAMPLES * 24 - 1, -24, -8, -1),
    ],
)
def test_cut_short(beton: Path, kept: int) -> None:
    beton.write_bytes(beton.read_bytes()[:kept])
    refuse(beton, "cut short")


@pytest.mark.parametrize("added", [1, 24, PAGE_BYTES])
def test_too_long(beton: Path, added: int) -> None:
    beton.write_bytes(beton.read_bytes() + bytes(added))
    refuse(beton, "damaged")


class Parts:
    """Header, fields, metadata and table of a .beton as writable views of its bytes."""

    def __init__(self, beton: Path):
        self.bytes = np.frombuffer(bytearray(beton.read_bytes()), dtype=np.uint8)
        self.header = self.bytes[: HEADER.itemsize].view(HEADER)
        self.fields = self.bytes[HEADER.itemsize : METADATA_START].view(FIELD)
        self.metadata = self.bytes[METADATA_START:METADATA_END].view(METADATA)
        self.table = self.bytes[-SAMPLES * ALLOCATION.itemsize :].view(ALLOCATION)


def swap(rows: np.ndarray, *columns: str) -> None:
    for column in columns:
        rows[column][[3, 4]] = rows[column][[4, 3]]


def both(parts: Parts, sample: int, pointer: int) -> None:
    """Put the same wrong position into both tables."""
    parts.metadata["f0"]["data_ptr"][sample] = parts.table["ptr"][sample] = np.uint64(pointer % 2**64)


def both_swapped(parts: Parts) -> None:
    swap(parts.table, "ptr")
    swap(parts.metadata["f0"], "data_ptr")


def assign(column: np.ndarray, sample: int, value: Any) -> None:
    column[sample] = value


DAMAGE: dict[str, tuple[Callable[[Parts], None], str]] = {
    "killed writer": (lambda p: assign(p.header["alloc_table_ptr"], 0, 0), "stopped"),
    "page size": (lambda p: assign(p.header["page_size"], 0, 1 << 23), "pages of 2097152"),
    "version": (lambda p: assign(p.header["version"], 0, 1), "format 2"),
    "zeroed header": (lambda p: assign(p.bytes, slice(0, 24), 0), "format 2"),
    "number of samples": (lambda p: assign(p.header["num_samples"], 0, SAMPLES - 1), "damaged"),
    "no samples": (lambda p: assign(p.header["num_samples"], 0, 0), "damaged"),
    "huge number of samples": (lambda p: assign(p.header["num_samples"], 0, 2**63), "damaged"),
    "table elsewhere": (lambda p: assign(p.header["alloc_table_ptr"], 0, DATA_START), "damaged"),
    "number of fields": (lambda p: assign(p.header["num_fields"], 0, 4), "fields"),
    "field name": (lambda p: assign(p.fields["name"], (1, 0), ord("q")), "fields"),
    "field type": (lambda p: assign(p.fields["type_id"], 2, 0), "fields"),
    "swapped rows": (lambda p: swap(p.table, "sample_id", "ptr", "size"), "sample numbers"),
    "swapped places": (lambda p: swap(p.table, "ptr"), "disagree about"),
    "swapped places in both": (both_swapped, "overlapping"),
    "metadata elsewhere": (lambda p: assign(p.metadata["f0"]["data_ptr"], 5, DATA_START + 1), "disagree about"),
    "before the data": (lambda p: both(p, 0, DATA_START - 1), "overlapping"),
    "behind the data": (lambda p: both(p, -1, len(p.bytes) - 9), "overlapping"),
    "on each other": (lambda p: both(p, 5, DATA_START), "overlapping"),
    "wrapped place": (lambda p: both(p, -1, -100), "overlapping"),
    "wrapped size": (lambda p: assign(p.table["size"], 95, 2**64 - DATA_START), "overlapping"),
    "unknown mode": (lambda p: assign(p.metadata["f0"]["mode"], 7, 9), "encoding"),
    "one image's width": (lambda p: assign(p.metadata["f0"]["width"], 7, 47), "differ"),
    "all widths": (lambda p: assign(p.metadata["f0"]["width"], slice(None), 47), "stored bytes"),
    "no height": (lambda p: assign(p.metadata["f0"]["height"], slice(None), 0), "stored bytes"),
    "stored size": (lambda p: assign(p.table["size"], 7, 96 * 48), "stored bytes"),
    "index": (lambda p: swap(p.metadata, "f4"), "index"),
    "a label": (lambda p: assign(p.metadata["f1"], 7, 3), "train.json"),
    "a camera": (lambda p: assign(p.metadata["f2"], 7, 77), "train.json"),
    "first image": (lambda p: assign(p.bytes, slice(DATA_START, DATA_START + 96 * 48 * 3), 0), "sample 0"),
    "last image": (lambda p: assign(p.bytes, int(p.table["ptr"][-1]), p.bytes[p.table["ptr"][-1]] ^ 1), "sample 95"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_file(beton: Path, name: str) -> None:
    damage, message = DAMAGE[name]
    parts = Parts(beton)
    before = parts.bytes.copy()
    damage(parts)
    assert not np.array_equal(parts.bytes, before)
    beton.write_bytes(parts.bytes.tobytes())
    refuse(beton, message)


def test_structure_alone_tells_what_would_crash(beton: Path) -> None:
    """Without the manifest's digest, read_structure itself finds that position plus size overflows 2**64."""
    parts = Parts(beton)
    parts.metadata["f0"]["mode"] = MODE_JPEG
    parts.table["size"][4] = np.uint64(2**64 - DATA_START)
    beton.write_bytes(parts.bytes.tobytes())
    with refusal(DataError, beton, "overlapping"):
        read_structure(beton)


MANIFESTS: dict[str, tuple[Callable[[dict], Any], str]] = {
    "older version": (lambda m: {**m, "version": 0}, "version 0"),
    "no version": (lambda m: {k: v for k, v in m.items() if k != "version"}, "version None"),
    "list": (lambda m: [m], "version None"),
    "number": (lambda m: 1, "version None"),
    "missing key": (lambda m: {k: v for k, v in m.items() if k != "sha256"}, "keys: sha256"),
    "added key": (lambda m: {**m, "colour": 1}, "keys: colour"),
    "other columns": (lambda m: {**m, "sample_columns": ["path"]}, "keys: sample_columns"),
    "wrong type": (lambda m: {**m, "height_px": "96"}, "height_px"),
    "null": (lambda m: {**m, "samples": None}, "samples"),
    "short row": (lambda m: {**m, "samples": [row[:5] for row in m["samples"]]}, "row"),
    "row that is no list": (lambda m: {**m, "samples": ["abcdef"] * SAMPLES}, "row"),
    "trials that are no mapping": (lambda m: {**m, "trials": [[1, 2]]}, "trials"),
    **{
        f"trial {trial}": (
            lambda m, trial=trial: {**m, "trials": {"a-1": [0, SAMPLES - 1], "b-2": trial}},
            "trial b-2",
        )
        for trial in ([], [0, SAMPLES], [-1], [1.0], ["1"], [True], [[1]], [None], 3, None, "12", {"1": 2})
    },
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_damaged_manifest(beton: Path, name: str) -> None:
    change, message = MANIFESTS[name]
    path = manifest_path(beton)
    path.write_text(json.dumps(change(contents(beton))))
    refuse(beton, message, path)


@pytest.mark.parametrize("stored", [b"", b"not JSON", b"{", b"\xff\xfe{}"])
def test_manifest_that_is_no_json(beton: Path, stored: bytes) -> None:
    manifest_path(beton).write_bytes(stored)
    refuse(beton, "readable", manifest_path(beton))


def test_no_manifest(beton: Path) -> None:
    manifest_path(beton).unlink()
    refuse(beton, "missing", manifest_path(beton))


NOT_OURS: dict[str, tuple[Callable[[dict], dict], str]] = {
    "size": (lambda m: {**m, "size_bytes": m["size_bytes"] + 1}, "checksum"),
    "digest": (lambda m: {**m, "structure_sha256": "0" * 64}, "checksum"),
    "rows": (lambda m: {**m, "samples": m["samples"][:-1]}, "96 samples, 95 rows"),
    "camera": (lambda m: {**m, "samples": [[*r[:2], -1, *r[3:]] for r in m["samples"]]}, "cameras"),
    "modality": (lambda m: {**m, "samples": [[*r[:3], 1, *r[4:]] for r in m["samples"]]}, "cameras"),
    "checksums": (lambda m: {**m, "samples": [[*r[:5], 7] for r in m["samples"]]}, "sample 0"),
}


@pytest.mark.parametrize("name", NOT_OURS)
def test_manifest_that_does_not_fit(beton: Path, name: str) -> None:
    change, message = NOT_OURS[name]
    manifest_path(beton).write_text(json.dumps(change(contents(beton))))
    refuse(beton, message)


def test_manifest_of_another_file(beton: Path, beton_root: Path) -> None:
    shutil.copy(beton_root / "synthetic" / "test.json", manifest_path(beton))
    refuse(beton, "train.json")
