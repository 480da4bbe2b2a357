"""Damaged or hostile lists and manifests, and wrong CSV files: refused by a DataError with a readable message."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ffcv_convert.beton import manifest_path, open_beton, read_manifest
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets import custom
from ffcv_convert.datasets.files import read_identities, read_labelled_paths
from tests.faults.conftest import Tally
from tests.faults.readers import Opening
from tests.support.refusals import assert_tells, refusal

Times = Callable[[int, int], int]
CSV = b"path,person,camera,modality,split\n"
DEEP = 200_000


def refused(read: Callable[[], object], file: Path, tally: Tally) -> str:
    """Returns the message of the DataError, which names the file and is short."""
    tally.did("hostile_inputs")
    with refusal(DataError, file.name) as caught:
        read()
    message = str(caught.value)
    assert len(message) < 600 + 2 * len(str(file))
    return message


def changed(key: str, value: Any) -> Callable[[dict], bytes]:
    return lambda body: json.dumps({**body, key: value}).encode()


def in_first_row(column: int, value: Any) -> Callable[[dict], bytes]:
    def change(body: dict) -> bytes:
        body["samples"][0][column] = value
        return json.dumps(body).encode()

    return change


def replaced(old: bytes, new: bytes) -> Callable[[dict], bytes]:
    def change(body: dict) -> bytes:
        stored = json.dumps(body).encode()
        assert stored.count(old) == 1
        return stored.replace(old, new)

    return change


def with_bytes(content: bytes) -> Callable[[dict], bytes]:
    return lambda body: content


UNREADABLE, DAMAGED = "readable", "damaged"
MANIFESTS: dict[str, tuple[Callable[[dict], bytes], str]] = {
    "lists in lists": (with_bytes(b"[" * DEEP + b"]" * DEEP), UNREADABLE),
    "mappings in mappings": (with_bytes(b'{"a":' * DEEP + b"1" + b"}" * DEEP), UNREADABLE),
    "a number of 5000 digits": (replaced(b'"height_px": 16', b'"height_px": ' + b"9" * 5000), UNREADABLE),
    "NaN": (replaced(b'"height_px": 16', b'"height_px": NaN'), "height_px"),
    "Infinity": (changed("height_px", float("inf")), "height_px"),
    "a key twice": (replaced(b'"part": "test"', b'"part": "train", "part": "test"'), "duplicate"),
    "a trial twice": (replaced(b'"test-1"', b'"test-1": [1], "test-1"'), "duplicate"),
    "UTF-16": (lambda body: json.dumps(body).encode("utf-16"), UNREADABLE),
    "Latin-1": (replaced(b'"made-up"', b'"m\xe4de-up"'), UNREADABLE),
    "a byte order mark": (lambda body: b"\xef\xbb\xbf" + json.dumps(body).encode(), UNREADABLE),
    "zeros": (with_bytes(bytes(1 << 20)), UNREADABLE),
    "long keys": (changed("k" * 10**6, 1), DAMAGED),
    "a long trial": (changed("trials", {"t" * 10**6: [0]}), DAMAGED),
    "true for a number": (changed("height_px", True), "height_px"),
    "a fraction": (changed("width_px", 8.0), "width_px"),
    "a huge number": (changed("width_px", 10**400), "sizes or encodings"),
    "another height": (changed("height_px", 32), "sizes or encodings"),
    "another encoding": (changed("encoding", "jpeg"), "sizes or encodings"),
    "other identities": (changed("identities", 2), "identities"),
    "no samples": (changed("samples", []), "test-1"),
    "a row of rows": (changed("samples", [[[[]]] * 6] * 3), "path"),
    "a path that is a number": (in_first_row(0, 7), "path"),
    "a person above int64": (in_first_row(1, 2**63), "person is not in"),
    "a huge person": (in_first_row(1, 10**400), "person is not in"),
    "a negative person": (in_first_row(1, -1), "person is not in"),
    "a person that is true": (in_first_row(1, True), "person is not a"),
    "another person": (in_first_row(1, 9), "identities"),
    "a camera with a fraction": (in_first_row(2, 1.0), "camera"),
    "a camera that is null": (in_first_row(2, None), "camera"),
    "an unknown modality": (in_first_row(3, 3), "modality"),
    "a split that is a list": (in_first_row(4, ["test"]), "split"),
    "a checksum above 32 bits": (in_first_row(5, 2**32), "crc32"),
    "a trial without a number": (changed("trials", {"train-x": [0]}), "'train-x'"),
    "a trial of other digits": (changed("trials", {"train-\u0663": [0]}), "'train-\u0663'"),
    "a trial of nothing": (changed("trials", {"train-1": []}), "train-1"),
}  # fmt: skip


@pytest.fixture(scope="module")
def opening(tmp_path_factory: pytest.TempPathFactory) -> Opening:
    return Opening(tmp_path_factory.mktemp("opening") / "files")


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_is_refused(opening: Opening, tally: Tally, name: str) -> None:
    change, expected = MANIFESTS[name]
    manifest = manifest_path(opening.beton)
    body = json.loads(opening.manifest)
    del body["checksum"]  # none was written once, and it would tell before anything else is looked at
    manifest.write_bytes(change(body))
    try:
        message = refused(lambda: open_beton(opening.beton), manifest, tally)
    finally:
        manifest.write_bytes(opening.manifest)
    assert_tells(message, expected)


def test_every_bit_of_a_manifest_counts(opening: Opening, tally: Tally, times: Times) -> None:
    """None may differ and the manifest be read, be it in a value, in a name, in the checksum or in white space; in
    `make test` one of each byte."""
    manifest, good = manifest_path(opening.beton), opening.manifest
    assert len(read_manifest(opening.beton).samples) == 3
    try:
        for place in range(len(good)):
            for bit in [(place + number) % 8 for number in range(times(1, 8))]:
                manifest.write_bytes(good[:place] + bytes([good[place] ^ 1 << bit]) + good[place + 1 :])
                with refusal(DataError, manifest):
                    read_manifest(opening.beton)
    finally:
        manifest.write_bytes(good)
    tally.did("hostile_inputs")  # as one: they are all of a kind


def labelled(file: Path) -> object:
    return read_labelled_paths(file.parent, file)


def csv(file: Path) -> object:
    return custom.list_records(file.parent)


READERS: dict[str, Callable[[Path], object]] = {"list.txt": labelled, "ids.txt": read_identities, "records.csv": csv}
CONTENTS: dict[str, tuple[str, bytes]] = {
    "no UTF-8": ("list.txt", b"caf\xe9.jpg 1\n"),
    "UTF-16": ("list.txt", "a.jpg 1\n".encode("utf-16")),
    "zeros": ("list.txt", bytes(1 << 20)),
    "a huge label": ("list.txt", b"a.jpg " + b"9" * 5000),
    "a label with other digits": ("list.txt", "a.jpg \u0663".encode()),
    "a long label": ("list.txt", b"a.jpg " + b"x" * 10**6),
    "a huge identity": ("ids.txt", b"1,2," + b"9" * 5000),
    "a negative identity": ("ids.txt", b"1,-2"),
    "a float": ("ids.txt", b"1,2e3"),
    "a long line of ids": ("ids.txt", b"1 " * 10**6),
    "a quote without end": ("records.csv", CSV + b'"' + b"x" * 10**5),
    "a column twice": ("records.csv", CSV.replace(b"camera", b"person,camera") + b"a.jpg,1,2,1,visible,train\n"),
    "lone carriage returns": ("records.csv", CSV + b"a.jpg,1\r1,1,visible,train\n"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_list_is_refused(tmp_path: Path, tally: Tally, name: str) -> None:
    file, content = CONTENTS[name]
    (tmp_path / file).write_bytes(content)
    refused(lambda: READERS[file](tmp_path / file), tmp_path / file, tally)


@pytest.mark.parametrize("file", ["list.txt", "ids.txt"])
def test_an_endless_line_is_refused(tmp_path: Path, tally: Tally, times: Times, file: str) -> None:
    """`make faults` tries 100 MB."""
    content = b"x" * (times(4, 100) * 10**6)
    (tmp_path / file).write_bytes(content)
    refused(lambda: READERS[file](tmp_path / file), tmp_path / file, tally)
    (tmp_path / file).write_bytes(content[:-2] + b" 1")
    refused(lambda: READERS[file](tmp_path / file), tmp_path / file, tally)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("file", [*READERS, "test.json", "test.beton"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "loop"])
def test_what_is_no_file_is_refused(tmp_path: Path, opening: Opening, tally: Tally, file: str, kind: str) -> None:
    """Without reading a pipe or /dev/zero, which never end."""
    path = tmp_path / file
    for good in (opening.beton, manifest_path(opening.beton)):
        (tmp_path / good.name).write_bytes(good.read_bytes())
    path.unlink(missing_ok=True)
    {"pipe": os.mkfifo, "device": lambda p: p.symlink_to("/dev/zero"), "folder": os.mkdir,
     "loop": lambda p: p.symlink_to(p)}[kind](path)  # fmt: skip
    read = READERS.get(file, lambda _: open_beton(tmp_path / "test.beton"))
    refused(lambda: read(path), path, tally)
