"""Write records into a `.beton`: decode, resize (Lanczos), relabel, all or nothing.

FFCV's own DatasetWriter hangs when a worker fails, truncates the target before the first picture is read, and lays
pages out in the order in which its workers finish. Here threads decode and resize (without the GIL) and one writer
appends in the records' order: the same pictures give the same bytes, whatever the number of workers. The file is
written under another name and renamed when it is whole and on the disk.
"""

import hashlib
import io
import os
import platform
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import PIL
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from ffcv_convert.atomic import naming, publish, replacing
from ffcv_convert.lanczos import resize
from ffcv_convert.records import Record, training_labels
from ffcv_convert.schema import DataError, Manifest, Modality, manifest_path, open_beton
from ffcv_convert.schema import beton as layout

MAX_PIXELS = 25_000_000  # a camera's; a pedestrian crop has 0.05 million, more is a decompression bomb or a mistake
MAX_FILE_BYTES = 1 << 27  # as many pixels uncompressed, and then some
MAX_SIDE_PX = 16_384  # a picture's own and the stored one's, which .beton counts to 65,535
JPEG_QUALITY = 95
# A progressive JPEG has ten or so. The whole picture is gone over for each, which needs no more than ten bytes of file.
MAX_SCANS = 100
MARKER = re.compile(rb"\xff+([\x02-\xcf\xd8-\xfe])")  # neither a stuffed 0xff of coded data nor a restart within it
FORMATS = ("JPEG", "PNG", "BMP")  # the data sets' own; Pillow would run Ghostscript for a PostScript file


Encoding = Literal["raw", "jpeg"]


@dataclass(frozen=True)
class ImageFormat:
    """How pictures are stored: one size in pixels for the whole file, as raw uint8 RGB or as JPEG of quality 95."""

    height_px: int = 288
    width_px: int = 144
    encoding: Encoding = "raw"
    filter: str = "lanczos"

    def __post_init__(self) -> None:
        high, wide = self.height_px, self.width_px
        if high * wide * 3 > layout.PAGE_BYTES or max(high, wide) > MAX_SIDE_PX:
            raise DataError(f"{high} x {wide} pixels do not fit a page of {layout.PAGE_BYTES} bytes. Use less")


@dataclass(frozen=True)
class Encoded:
    stored: bytes
    crc32: int
    grey: bool


def load_image(path: Path, image_format: ImageFormat) -> np.ndarray:
    """Decode and resize one picture to uint8 RGB (H, W, 3). Raises DataError naming the file."""
    try:
        size = path.stat().st_size
        if size == 0:
            raise DataError(f"{path}: empty file. Restore it from the data set's archive")
        if size > MAX_FILE_BYTES:
            raise DataError(f"{path}: {size} bytes is no pedestrian picture. Replace it")
        # Read before: Pillow asks for as many bytes as a damaged length says, for which a file makes room at once.
        content = path.read_bytes()
        if content.startswith(b"\xff\xd8") and (scans := _scans(content)) > MAX_SCANS:
            raise DataError(f"{path}: a JPEG of {scans} scans is no pedestrian picture. Replace it")
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE_PX:
                raise DataError(f"{path}: {image.width} x {image.height} pixels is no pedestrian picture. Replace it")
            if image.mode.startswith(("I", "F")):  # converted to RGB they would come out white
                raise DataError(f"{path}: has more than 8 bits a channel. Replace it by an 8-bit picture")
            rgb = np.asarray(image.convert("RGB"))
    except FileNotFoundError:
        raise DataError(f"{path}: listed, but not there. Restore it from the data set's archive") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        why = f"no {', '.join(FORMATS)}" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(f"{path}: cannot be decoded ({why}). Restore it from the data set's archive") from None
    return resize(rgb, image_format.height_px, image_format.width_px)


def _scans(jpeg: bytes) -> int:
    """Starts of scans up to the picture's end, found as a decoder finds them: a segment, as a thumbnail, is skipped."""
    scans, at = 0, 2
    while (marker := MARKER.search(jpeg, at)) and marker[1] != b"\xd9":
        scans += marker[1] == b"\xda"
        at = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
    return scans


def encode(path: Path, image_format: ImageFormat) -> Encoded:
    pixels = load_image(path, image_format)
    grey = bool((pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all())
    if image_format.encoding == "raw":
        stored = pixels.tobytes()
    else:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        stored = buffer.getvalue()
    return Encoded(stored, zlib.crc32(stored), grey)


def source_fingerprint(
    records: Sequence[Record], root: Path, image_format: ImageFormat, trials: Mapping[str, list[int]]
) -> str:
    """Changes when a listed picture, a label, a trial, or the way of storing does; reads no picture, only its size and
    time."""
    digest = hashlib.sha256(repr((image_format, layout.FORMAT_VERSION, trials)).encode())
    for record in records:
        try:
            status = os.stat(root / record.image)
        except OSError as error:  # not there, or with a name that no file can have
            why = "" if isinstance(error, FileNotFoundError) else f" ({error.strerror})"
            raise DataError(
                f"{root / record.image}: listed, but not there{why}. Restore it from the archive, or correct the list"
            ) from None
        digest.update(repr((record, status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()


def up_to_date(beton: Path, fingerprint: str) -> bool:
    """True if `beton` was made from just these sources and can be opened: what asks for a conversion must get one."""
    try:
        return open_beton(beton).manifest.source_fingerprint == fingerprint
    except (DataError, OSError):
        return False


@dataclass(frozen=True)
class Part:
    """What one .beton is to hold. Persons of the part `train` become labels 0..identities-1.

    trials: named lists of positions in `records`; fingerprint: see source_fingerprint, "" is never up to date.
    """

    beton: Path
    dataset: str
    name: str
    records: Sequence[Record]
    trials: Mapping[str, list[int]] = field(default_factory=dict)
    fingerprint: str = ""


def write_betons(parts: Sequence[Part], root: Path, image_format: ImageFormat, *, workers: int) -> list[Manifest]:
    """Write every part's records, pictures below `root`, to its .beton and manifest: all parts, or none.

    Raises DataError for a picture that cannot be read, and where nothing can be written; then nothing is left behind,
    and older files are untouched.
    """
    manifests, beton_files, manifest_files = [], [], []
    with ExitStack() as stack:
        for part in parts:
            with naming(part.beton):
                part.beton.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(replacing(part.beton))
                manifest_file = stack.enter_context(replacing(manifest_path(part.beton)))
                manifests.append(_write_part(file, part, root, image_format, workers))
                manifest_file.write(manifests[-1].to_json().encode())
                beton_files.append((file, part.beton))
                manifest_files.append((manifest_file, manifest_path(part.beton)))
        # A stop among the names leaves a .beton beside another's manifest: refused, and made again. So two parts that
        # open are of one conversion.
        publish(*beton_files, *manifest_files)
    return manifests


def _write_part(file: BinaryIO, part: Part, root: Path, image_format: ImageFormat, workers: int) -> Manifest:
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
    return Manifest(
        dataset=part.dataset,
        part=part.name,
        height_px=image_format.height_px,
        width_px=image_format.width_px,
        filter=image_format.filter,
        encoding=image_format.encoding,
        identities=len(labels),
        infrared_grey=_infrared_is_grey(records, images),
        source_fingerprint=part.fingerprint,
        size_bytes=file.seek(0, os.SEEK_END),
        sha256=_sha256(file),
        structure_sha256=structure_sha256,
        tools={"python": platform.python_version(), "pillow": PIL.__version__, "numpy": np.__version__},
        samples=[
            [r.image, r.person, r.camera, int(r.modality), r.split, e.crc32]
            for r, e in zip(records, images, strict=True)
        ],
        trials=dict(part.trials),
    )


def _infrared_is_grey(records: Sequence[Record], images: Sequence[Encoded]) -> bool:
    """True where there are infrared pictures, and all of them are grey."""
    grey = [image.grey for image, record in zip(images, records, strict=True) if record.modality == Modality.INFRARED]
    return bool(grey) and all(grey)


def _write_pages(
    file: BinaryIO, records: Sequence[Record], root: Path, image_format: ImageFormat, workers: int, title: str
) -> tuple[np.ndarray, np.ndarray, list[Encoded]]:
    """Append every image to the data pages, in order; none crosses a page. Returns both tables and the summaries."""
    metadata = np.zeros(len(records), dtype=layout.METADATA)
    allocation = np.zeros(len(records), dtype=layout.ALLOCATION)
    metadata["f0"]["mode"] = layout.MODE_RAW if image_format.encoding == "raw" else layout.MODE_JPEG
    metadata["f0"]["height"], metadata["f0"]["width"] = image_format.height_px, image_format.width_px
    summaries = []
    offset = layout.data_start(len(records))
    file.seek(offset)
    paths = [root / record.image for record in records]
    encoded = in_order(lambda path: encode(path, image_format), paths, workers)
    for sample, image in enumerate(tqdm(encoded, title, total=len(paths), unit="images", dynamic_ncols=True)):
        size = len(image.stored)
        if size > layout.PAGE_BYTES:
            raise DataError(
                f"{paths[sample]}: {size} bytes do not fit a page of {layout.PAGE_BYTES}. Use a smaller size"
            )
        left = -offset % layout.PAGE_BYTES
        if left < size and left:
            file.write(bytes(left))
            offset += left
        allocation[sample] = (sample, offset, size)
        file.write(image.stored)
        offset += size
        summaries.append(Encoded(b"", image.crc32, image.grey))
    file.write(bytes(-offset % layout.PAGE_BYTES))
    metadata["f0"]["data_ptr"] = allocation["ptr"]
    return metadata, allocation, summaries


def _write_tables(file: BinaryIO, metadata: np.ndarray, allocation: np.ndarray) -> str:
    """Append the allocation table, then fill in the head of the file. Returns the structure's SHA-256."""
    table_ptr = file.tell()
    file.write(allocation.tobytes())
    header = np.zeros((), dtype=layout.HEADER)
    header["version"], header["num_fields"] = layout.FORMAT_VERSION, len(layout.FIELDS)
    header["page_size"], header["num_samples"] = layout.PAGE_BYTES, len(metadata)
    header["alloc_table_ptr"] = table_ptr
    head = header.tobytes() + layout.field_descriptors().tobytes() + metadata.tobytes()
    file.seek(0)
    file.write(head)
    return hashlib.sha256(head + allocation.tobytes()).hexdigest()


def in_order(work: Callable[[Path], Encoded], paths: Sequence[Path], workers: int) -> Iterator[Encoded]:
    """Results of `work` in the order of `paths`, `workers` at a time, a few kept ready; the first error ends it."""
    with ThreadPoolExecutor(workers, thread_name_prefix="convert") as pool:
        waiting: deque[Future[Encoded]] = deque()
        try:
            for path in paths:
                waiting.append(pool.submit(work, path))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _sha256(file: BinaryIO) -> str:
    """Of the whole file, while it is being put on the disk."""
    digest = hashlib.sha256()
    file.flush()
    with ThreadPoolExecutor(1) as pool:
        synchronised = pool.submit(os.fsync, file.fileno())
        file.seek(0)
        while block := file.read(1 << 20):
            digest.update(block)
        synchronised.result()
    return digest.hexdigest()
