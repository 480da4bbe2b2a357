"""Writes records into a `.beton`, decoded, resized (Lanczos) and relabelled, completely or not at all.

FFCV's own DatasetWriter hangs when a worker fails, truncates the target before reading any image, and orders pages by
which worker finishes first. Here threads decode and resize (without the GIL), and one writer appends in the order of
the records: the same images give the same bytes with any number of workers. The file is written under another name,
and renamed once it is complete and on the disk.
"""

import hashlib
import os
import platform
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL

from ffcv_convert.beton import Manifest, Modality, manifest_path
from ffcv_convert.beton.layout import (
    ALLOCATION,
    FIELDS,
    FORMAT_VERSION,
    HEADER,
    METADATA,
    MODE_JPEG,
    MODE_RAW,
    PAGE_BYTES,
    data_start,
    field_descriptors,
)
from ffcv_convert.common.atomic import partial_file, publish
from ffcv_convert.common.errors import DataError, as_data_errors, named
from ffcv_convert.images import Encoded, ImageFormat, encode, in_order
from ffcv_convert.progress import progress
from ffcv_convert.records import Record, training_labels
from ffcv_convert.sources import UNKNOWN, Fingerprint, Sources, contents_digest, sources_path, to_json
from ffcv_convert.video import tracklet_rows


@dataclass(frozen=True)
class Written:
    """A part's manifest, what `sources_path` will hold, and the images (paths below the root) of which `Encoded` tells
    something."""

    manifest: Manifest
    sources: Sources
    constant: list[str]
    turned: list[str]
    several: list[str]
    wide: list[str]


@dataclass(frozen=True)
class BetonJob:
    """The contents of one .beton to be written. Identities of the part `train` become labels 0..identities-1.

    trials: named lists of positions in `records`. fingerprint: see source_fingerprint. every: see Selection.
    """

    beton: Path
    dataset: str
    name: str
    records: Sequence[Record]
    trials: Mapping[str, list[int]] = field(default_factory=dict)
    fingerprint: Fingerprint = UNKNOWN
    every: int = 1


def write_betons(parts: Sequence[BetonJob], root: Path, image_format: ImageFormat, *, workers: int) -> list[Written]:
    """Write the records of every part, with images below `root`, to its .beton, manifest and `sources_path`: all
    parts or none.

    Raises DataError if an image cannot be read or a file cannot be written. Then nothing is left behind, and older
    files are unchanged.
    """
    written, beton_files, manifest_files, sources_files = [], [], [], []
    with as_data_errors(), ExitStack() as stack:
        for part in parts:
            with named(part.beton):
                part.beton.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(partial_file(part.beton))
                manifest_file = stack.enter_context(partial_file(manifest_path(part.beton)))
                written.append(_write_part(file, part, root, image_format, workers))
                manifest_file.write(written[-1].manifest.to_json().encode())
                sources_file = stack.enter_context(partial_file(sources_path(part.beton)))
                sources_file.write(to_json(written[-1].sources))
                beton_files.append((file, part.beton))
                manifest_files.append((manifest_file, manifest_path(part.beton)))
                sources_files.append((sources_file, sources_path(part.beton)))
        # All .beton files are renamed before all manifests. If this is interrupted, some .beton and manifest disagree:
        # opening fails and the next conversion repairs it. So parts that open come from the same conversion.
        publish(*beton_files, *manifest_files, *sources_files)
    return written


def _write_part(file: BinaryIO, part: BetonJob, root: Path, image_format: ImageFormat, workers: int) -> Written:
    records = part.records
    labels = training_labels(records) if part.name == "train" else {record.person: record.person for record in records}
    title = f"{part.dataset}/{part.name}"
    metadata, allocation, images = _write_pages(file, records, root, image_format, workers, title)
    for column, values in {
        "f1": [labels[record.person] for record in records],
        "f2": [record.camera for record in records],
        "f3": [int(record.modality) for record in records],
        "f4": range(len(records)),
    }.items():
        metadata[column] = list(values)
    structure_sha256 = _write_tables(file, metadata, allocation)
    manifest = Manifest(
        dataset=part.dataset,
        part=part.name,
        height_px=image_format.height_px,
        width_px=image_format.width_px,
        filter=image_format.filter,
        encoding=image_format.encoding,
        identities=len(labels),
        infrared_grey=_infrared_is_grey(records, images),
        source_fingerprint=part.fingerprint.listed,
        size_bytes=file.seek(0, os.SEEK_END),
        sha256=_sha256(file),
        structure_sha256=structure_sha256,
        tools={"python": platform.python_version(), "pillow": PIL.__version__, "numpy": np.__version__},
        samples=[
            [r.image, r.person, r.camera, int(r.modality), r.split, e.crc32]
            for r, e in zip(records, images, strict=True)
        ],
        trials=dict(part.trials),
        tracklets=tracklet_rows(records),
        every=part.every,
    )
    named = list(zip([record.image for record in records], images, strict=True))
    return Written(
        manifest,
        Sources(manifest.sha256, part.fingerprint.files, contents_digest(image.source_crc32 for image in images)),
        constant=[name for name, image in named if image.constant],
        turned=[name for name, image in named if image.turned],
        several=[name for name, image in named if image.several],
        wide=[name for name, image in named if image.wide],
    )


def _infrared_is_grey(records: Sequence[Record], images: Sequence[Encoded]) -> bool:
    """Whether there are infrared images and all of them are grey."""
    grey = [image.grey for image, record in zip(images, records, strict=True) if record.modality == Modality.INFRARED]
    return bool(grey) and all(grey)


def _write_pages(
    file: BinaryIO, records: Sequence[Record], root: Path, image_format: ImageFormat, workers: int, title: str
) -> tuple[np.ndarray, np.ndarray, list[Encoded]]:
    """Append every image to the data pages, in order; no image crosses a page. Returns metadata, allocation table and
    the images without their bytes."""
    metadata = np.zeros(len(records), dtype=METADATA)
    allocation = np.zeros(len(records), dtype=ALLOCATION)
    metadata["f0"]["mode"] = MODE_RAW if image_format.encoding == "raw" else MODE_JPEG
    metadata["f0"]["height"], metadata["f0"]["width"] = image_format.height_px, image_format.width_px
    summaries = []
    offset = data_start(len(records))
    file.seek(offset)
    paths = [root / record.image for record in records]
    encoded = in_order(lambda path: encode(path, image_format), paths, workers)
    for sample, image in enumerate(progress(encoded, title, len(paths))):
        size = len(image.stored)
        if size > PAGE_BYTES:
            raise DataError(f"{paths[sample]}: {size} bytes do not fit into a page of {PAGE_BYTES}. Use a smaller size")
        left = -offset % PAGE_BYTES
        if left < size and left:
            file.write(bytes(left))
            offset += left
        allocation[sample] = (sample, offset, size)
        file.write(image.stored)
        offset += size
        summaries.append(replace(image, stored=b""))
    file.write(bytes(-offset % PAGE_BYTES))
    metadata["f0"]["data_ptr"] = allocation["ptr"]
    return metadata, allocation, summaries


def _write_tables(file: BinaryIO, metadata: np.ndarray, allocation: np.ndarray) -> str:
    """Append the allocation table, then write the head of the file. Returns the SHA-256 of head and table."""
    table_ptr = file.tell()
    file.write(allocation.tobytes())
    header = np.zeros((), dtype=HEADER)
    header["version"], header["num_fields"] = FORMAT_VERSION, len(FIELDS)
    header["page_size"], header["num_samples"] = PAGE_BYTES, len(metadata)
    header["alloc_table_ptr"] = table_ptr
    head = header.tobytes() + field_descriptors().tobytes() + metadata.tobytes()
    file.seek(0)
    file.write(head)
    return hashlib.sha256(head + allocation.tobytes()).hexdigest()


def _sha256(file: BinaryIO) -> str:
    """Compute the SHA-256 of the whole file while the file is flushed to the disk."""
    digest = hashlib.sha256()
    file.flush()
    with ThreadPoolExecutor(1) as pool:
        synchronised = pool.submit(os.fsync, file.fileno())
        file.seek(0)
        while block := file.read(1 << 20):
            digest.update(block)
        synchronised.result()
    return digest.hexdigest()
