"""Describes and reads the binary layout of an FFCV `.beton` file (format version 2), as this project fills it.

    header | field descriptors | one metadata row per sample | padding | data pages | allocation table

Five fields, in this order: `image` (RGB uint8, raw or JPEG), `person`, `camera`, `modality`, `index`.
The dtypes repeat those of `ffcv.types` (a test compares them): FFCV reads damaged files without an error, and importing
it takes seconds that listing, writing and checking should not need.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ffcv_convert.common.errors import DataError

FORMAT_VERSION = 2
PAGE_BYTES = 1 << 21  # the smallest that FFCV allows; its default of 8 MiB would waste space on small sets
MODE_JPEG, MODE_RAW = 0, 1
TYPE_INT, TYPE_RGB_IMAGE = 1, 2

HEADER = np.dtype(
    [
        ("version", "<u2"),
        ("num_fields", "<u2"),
        ("page_size", "<u4"),
        ("num_samples", "<u8"),
        ("alloc_table_ptr", "<u8"),
    ],
    align=True,
)
FIELD = np.dtype([("type_id", "<u1"), ("name", ("<u1", 16)), ("arguments", ("<u1", (1024,)))], align=True)
IMAGE = np.dtype([("mode", "<u1"), ("width", "<u2"), ("height", "<u2"), ("data_ptr", "<u8")])
FIELDS = {"image": TYPE_RGB_IMAGE, "person": TYPE_INT, "camera": TYPE_INT, "modality": TYPE_INT, "index": TYPE_INT}
METADATA = np.dtype([("", IMAGE if kind == TYPE_RGB_IMAGE else "<i8") for kind in FIELDS.values()], align=True)
ALLOCATION = np.dtype([("sample_id", "<u8"), ("ptr", "<u8"), ("size", "<u8")])

METADATA_START = HEADER.itemsize + len(FIELDS) * FIELD.itemsize


def data_start(num_samples: int) -> int:
    """Return the offset in bytes of the first data page."""
    end = METADATA_START + num_samples * METADATA.itemsize
    return -(-end // PAGE_BYTES) * PAGE_BYTES


def field_descriptors() -> np.ndarray:
    descriptors = np.zeros(len(FIELDS), dtype=FIELD)
    for row, (name, kind) in zip(descriptors, FIELDS.items(), strict=True):
        row["type_id"] = kind
        row["name"][: len(name)] = np.frombuffer(name.encode(), dtype=np.uint8)
    return descriptors


@dataclass(frozen=True)
class Structure:
    """Everything in a `.beton` except its pixels. Columns have N entries, one per sample."""

    path: Path
    size_bytes: int
    metadata_N: np.ndarray
    allocation_N: np.ndarray
    sha256: str

    def column(self, name: str) -> np.ndarray:
        """Return the int64 values of the label field `name`, or the structured rows of `image`."""
        return self.metadata_N[f"f{list(FIELDS).index(name)}"]

    def stored_bytes(self, sample: int) -> bytes:
        """Read the stored bytes of one sample's image from disk."""
        row = self.allocation_N[sample]
        with open(self.path, "rb") as file:
            file.seek(int(row["ptr"]))
            return file.read(int(row["size"]))


def _how_to_make(path: Path) -> str:
    """Return the command that makes a .beton, of images of a size of their own in a folder such as 384x144."""
    top, name = path.parent.parent, path.parent.name
    if not (size := re.fullmatch(r"(\d+)x(\d+)", top.name)):
        return "make convert-datasets"
    return f"make data DATASET={name} BETON_ROOT={top} ARGS='--height-px {size[1]} --width-px {size[2]}'"


def read_structure(path: Path) -> Structure:
    """Read and check header, fields, metadata and allocation table, in O(samples) and without reading pixels.

    Raises DataError for files on which FFCV would crash or return wrong images: truncated, half-written, of another
    format or with other fields, or with tables that disagree.
    """

    def refuse(problem: str) -> DataError:
        return DataError(f"{path}: {problem}. Convert the data set again: make convert-datasets")

    try:
        size = os.path.getsize(path)
        head = np.fromfile(path, dtype=np.uint8, count=METADATA_START) if os.path.isfile(path) else np.empty(0)
    except FileNotFoundError:
        raise DataError(f"{path}: no such .beton. Make it with: {_how_to_make(path)}") from None
    except OSError as error:
        raise refuse(f"cannot be read ({error.strerror})") from None
    if len(head) < METADATA_START:
        raise refuse(f"cut short ({size} bytes)")
    header = head[: HEADER.itemsize].view(HEADER)[0]
    count, table_ptr = int(header["num_samples"]), int(header["alloc_table_ptr"])
    if header["version"] != FORMAT_VERSION or header["page_size"] != PAGE_BYTES:
        raise refuse(f"not a .beton of format {FORMAT_VERSION} with pages of {PAGE_BYTES} bytes")
    if header["num_fields"] != len(FIELDS) or head[HEADER.itemsize :].tobytes() != field_descriptors().tobytes():
        raise refuse(f"its fields are not {', '.join(FIELDS)}")
    if table_ptr == 0:
        raise refuse("not complete: its conversion was stopped")
    if count == 0 or table_ptr + count * ALLOCATION.itemsize != size or table_ptr < data_start(count):
        raise refuse(f"cut short or damaged: {size} bytes do not hold {count} samples and their table")
    metadata = np.fromfile(path, dtype=METADATA, count=count, offset=METADATA_START)
    allocation = np.fromfile(path, dtype=ALLOCATION, count=count, offset=table_ptr)
    metadata.flags.writeable = allocation.flags.writeable = False
    problem = _disagreement(metadata, allocation, table_ptr)
    if problem:
        raise refuse(problem)
    digest = hashlib.sha256(head.tobytes() + metadata.tobytes() + allocation.tobytes()).hexdigest()
    return Structure(Path(path), size, metadata, allocation, digest)


def _disagreement(metadata: np.ndarray, allocation: np.ndarray, table_ptr: int) -> str | None:
    """Return how metadata and allocation table contradict each other, or None."""
    samples = np.arange(len(metadata), dtype=np.uint64)
    image = metadata["f0"]
    raw_bytes = image["width"].astype(np.uint64) * image["height"] * 3
    end = allocation["ptr"] + allocation["size"]
    if not np.array_equal(allocation["sample_id"], samples):
        return "its allocation table is damaged (sample numbers)"
    if not np.array_equal(allocation["ptr"], image["data_ptr"]):
        return "its metadata and allocation table disagree about the positions of images"
    if (
        (allocation["ptr"] < data_start(len(metadata))).any()
        or (end > table_ptr).any()
        or (end < allocation["ptr"]).any()  # the sum overflowed
        or (end[:-1] > allocation["ptr"][1:]).any()
    ):
        return "its allocation table is damaged (positions outside the data, or overlapping)"
    if not np.isin(image["mode"], (MODE_JPEG, MODE_RAW)).all():
        return "its images have an unknown encoding"
    if (image["width"] != image["width"][0]).any() or (image["height"] != image["height"][0]).any():
        return "its images differ in size"
    if (allocation["size"] != raw_bytes)[image["mode"] == MODE_RAW].any() or (raw_bytes == 0).any():
        return "its images' sizes and stored bytes disagree"
    if not np.array_equal(metadata["f4"], samples.astype(np.int64)):
        return "its index column is damaged"
    return None
