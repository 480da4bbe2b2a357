"""The converter's readers, called with arbitrary bytes: they may raise only DataError.

`test_properties.py` feeds them with hypothesis.
"""

import io
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ffcv_convert.beton import Modality, manifest_path, open_beton, read_structure
from ffcv_convert.beton.layout import ALLOCATION, METADATA, METADATA_START
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets import custom, llcm, pku_sketch
from ffcv_convert.datasets.files import read_identities, read_labelled_paths
from ffcv_convert.images import ImageFormat, load_image
from ffcv_convert.records import Record, check_records
from ffcv_convert.sources import Fingerprint
from ffcv_convert.writer import BetonJob, write_betons

NAMES = ("lists", "csv", "manifest", "beton", "image")  # of all targets
FORMAT = ImageFormat(16, 8)
SAMPLES = 3
PLACES = 64 + SAMPLES * (METADATA.itemsize + ALLOCATION.itemsize)
CSV = b'path,person,camera,modality,split\na.jpg,1,,visible,train\n"b.jpg",1,2,infrared,train\n'


@dataclass(frozen=True)
class Target:
    """`read` returns whether the bytes were accepted; any error that it raises is a fault. `seeds` are inputs to
    start from, the first of them good."""

    read: Callable[[bytes], bool]
    seeds: list[bytes]


def accepted(read: Callable[[], object]) -> bool:
    message = ""
    try:
        read()
    except DataError as error:
        message = str(error)
    assert len(message) < 12_000, "a message that nobody can read"
    return not message


def targets(folder: Path) -> dict[str, Target]:
    """All targets. They write their input below `folder`."""
    return {
        "lists": Target(Lists(folder / "lists").read, [b"a/b_c01_f.jpg 1\nb.jpg 1\n", b"1,2,3\n", b"0 7 1 2 a.jpg\n"]),
        "csv": Target(Csv(folder / "csv").read, [CSV]),
        "manifest": (manifest := Opening(folder / "manifest")).of_manifest(),
        "beton": manifest.of_beton(),
        "image": Target(StoredImage(folder / "image").read, [stored(kind) for kind in ("PNG", "JPEG", "BMP")]),
    }


class Lists:
    """One text as every kind of list file."""

    def __init__(self, root: Path):
        self.root, self.file = root, root / "idx" / "train_vis.txt"
        self.file.parent.mkdir(parents=True)
        for name in ("idx/train_nir.txt", "idx/test_id.txt", "trainPKUList_train.txt", "trainPKUList_test.txt"):
            (root / name).symlink_to(self.file)

    def read(self, data: bytes) -> bool:
        self.file.write_bytes(data)
        readers: list[Callable[[], object]] = [
            lambda: read_labelled_paths(self.root, self.file),
            lambda: read_identities(self.file),
            lambda: check_records(pku_sketch.list_records(self.root), self.root),
            lambda: check_records(llcm.list_records(self.root), self.root),
        ]
        return any([accepted(reader) for reader in readers])


class Csv:
    def __init__(self, root: Path):
        self.root = root
        root.mkdir(parents=True)

    def read(self, data: bytes) -> bool:
        (self.root / "records.csv").write_bytes(data)
        return accepted(lambda: check_records(custom.list_records(self.root), self.root))


class StoredImage:
    def __init__(self, root: Path):
        root.mkdir(parents=True)
        self.file = root / "image"

    def read(self, data: bytes) -> bool:
        self.file.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of images that it reads all the same
            return accepted(lambda: load_image(self.file, FORMAT))


def stored(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(8 * 4 * 3, dtype=np.uint8).reshape(8, 4, 3)).save(file, kind)
    return file.getvalue()


class Opening:
    """A small .beton and its manifest, one of which is replaced by the input."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(stored("PNG"))
        self.beton = folder / "test.beton"
        records = [Record("a.png", person, 1, Modality(person % 2), "test") for person in range(SAMPLES)]
        part = BetonJob(self.beton, "made-up", "test", records, {"test-1": [0, 2]}, Fingerprint("0", ""))
        write_betons([part], folder, FORMAT, workers=1)
        self.manifest = manifest_path(self.beton).read_bytes()
        self.good = self.beton.read_bytes()
        structure = read_structure(self.beton)
        rows = range(METADATA_START, METADATA_START + structure.metadata_N.nbytes)
        table = range(len(self.good) - structure.allocation_N.nbytes, len(self.good))
        # Where a change must be seen: 1 KB of a field descriptor's arguments is as good as another.
        self.places = [*range(64), *rows, *table]
        assert len(self.places) == PLACES

    def of_manifest(self) -> Target:
        unsealed = json.loads(self.manifest)  # as older ones are: what follows the checksum is reached
        del unsealed["checksum"]
        return Target(self.read_manifest, [self.manifest, json.dumps(unsealed).encode()])

    def of_beton(self) -> Target:
        return Target(self.read_beton, [b"", b"\x00\x00\x01", b"\x0c\x00\xff\x18\x00\x01", b"\x45\x00\x02"])

    def read_manifest(self, data: bytes) -> bool:
        manifest_path(self.beton).write_bytes(data)
        try:
            return accepted(lambda: open_beton(self.beton))
        finally:
            manifest_path(self.beton).write_bytes(self.manifest)

    def read_beton(self, data: bytes) -> bool:
        """`data`: three bytes per change: a place (two bytes) and a value that is XORed into its byte."""
        damaged = bytearray(self.good)
        for start in range(0, len(data) - 2, 3):
            place = self.places[int.from_bytes(data[start : start + 2], "little") % len(self.places)]
            damaged[place] ^= data[start + 2]
        changes = {place: damaged[place] for place in self.places if damaged[place] != self.good[place]}
        self.patch(changes)
        try:
            opened = accepted(lambda: open_beton(self.beton))
        finally:
            self.patch({place: self.good[place] for place in changes})
        assert opened == (not changes), f"opened although changed: {changes}"
        return opened

    def patch(self, changes: dict[int, int]) -> None:
        with open(self.beton, "r+b") as file:
            for place, value in changes.items():
                file.seek(place)
                file.write(bytes([value]))
