"""Decides whether a conversion is up to date with its source files.

The fingerprint in the manifest covers labels, options, and the size and time of every image. Archives, container
layers, `cp -p` and `touch -r` can give other images the same sizes and times. So `train.sources` beside `train.beton`
holds two further digests: of the images' inodes and times of any change (ctime), which none of these keep, and of their
bytes. Where the first differs, because the images were exchanged, or copied, or lie on another mount, all are read, and
the second decides. A conversion without this file is one of an earlier version: its fingerprint decides, and it gets
the file.
"""

import hashlib
import json
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from zlib_ng.zlib_ng import crc32

from ffcv_convert.beton import Converted, Manifest, open_beton
from ffcv_convert.beton.layout import FORMAT_VERSION
from ffcv_convert.common.atomic import replacing
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets.files import refuse_broken_link
from ffcv_convert.images import ImageFormat, in_order
from ffcv_convert.progress import progress
from ffcv_convert.records import Record

DECODING = 2  # raise this when the same files would be stored as other pixels


class Fingerprint(NamedTuple):
    """Digests of a part's sources. listed: each image's size, time and labels, trials and storage options; files: each
    image's inode and time of any change."""

    listed: str
    files: str


UNKNOWN = Fingerprint("", "")  # is never up to date


class Sources(NamedTuple):
    """What `train.sources` holds: the SHA-256 of the .beton it belongs to, Fingerprint.files, and `contents_digest`."""

    beton: str
    files: str
    contents: str


def source_fingerprint(
    records: Sequence[Record], root: Path, image_format: ImageFormat, trials: Mapping[str, list[int]]
) -> Fingerprint:
    """Return digests that change with any listed image, label, trial or storage option. Reads no image."""
    listed = hashlib.sha256(repr((image_format, FORMAT_VERSION, DECODING, trials)).encode())
    files = hashlib.sha256()
    tracklet = None
    for record in records:
        if record.tracklet is not tracklet:
            tracklet = record.tracklet
            listed.update(repr(tracklet).encode())
        try:
            status = os.stat(root / record.image)
        except OSError as error:  # the file is missing, or no file can have this name
            refuse_broken_link(root / record.image)
            why = "" if isinstance(error, FileNotFoundError) else f" ({error.strerror})"
            alike = spelled_alike(root, record.image)
            advice = f"{alike} is there: rename one of them" if alike else "Restore it, or correct the list"
            raise DataError(f"{root / record.image}: listed, but not found{why}. {advice}") from None
        listed.update(repr((record, status.st_size, status.st_mtime_ns)).encode())
        files.update(b"%d %d\n" % (status.st_ino, status.st_ctime_ns))
    return Fingerprint(listed.hexdigest(), files.hexdigest())


def spelled_alike(root: Path, image: str) -> Path | None:
    """Return the file or folder that differs from the first missing part of `image` only in capitals or its ending."""
    folder, parts = root, Path(image).parts
    for number, part in enumerate(parts):
        if not (folder / part).exists():
            names = sorted(os.listdir(folder)) if folder.is_dir() else []
            bare = _stem if number == len(parts) - 1 else _plain  # Train.zip is not the folder Train
            return next((folder / name for name in names if name != part and bare(name) == bare(part)), None)
        folder /= part
    return None


def _stem(name: str) -> str:
    """Return `name` without capitals and ending."""
    return _plain(Path(name).stem)


def _plain(name: str) -> str:
    """Return `name` without capitals; accents as one character, because macOS writes them as two."""
    return unicodedata.normalize("NFC", name).lower()


def sources_path(beton: Path) -> Path:
    return beton.with_suffix(".sources")


def up_to_date(
    beton: Path, dataset: str, fingerprint: Fingerprint, paths: Sequence[Path], workers: int
) -> Converted | None:  # fmt: skip
    """Open `beton` if it was made from exactly these sources, as the set of the name `dataset`; None if not, or if it
    does not open. paths: its images' files, which are read only if the files are others than they were."""
    try:
        converted = open_beton(beton)
        manifest = converted.manifest
        if (manifest.dataset, manifest.source_fingerprint) != (dataset, fingerprint.listed):
            return None
        before = _read(beton, manifest)
        if before and before.files == fingerprint.files:
            return converted
        contents = _contents(paths, f"{beton.parent.name}/{beton.stem}: compared", workers)
    except (DataError, OSError):  # the message would say: convert again
        return None
    if before and before.contents != contents:
        return None
    with suppress(OSError), replacing(sources_path(beton)) as file:  # where it cannot be written, each call compares
        file.write(to_json(Sources(manifest.sha256, fingerprint.files, contents)))
    return converted


def to_json(sources: Sources) -> bytes:
    return (json.dumps(sources._asdict(), indent=1) + "\n").encode()


def contents_digest(crc32s: Iterable[int]) -> str:
    """Return the digest of a part's images: of the CRC-32 of every file, in order."""
    return hashlib.sha256(np.fromiter(crc32s, dtype="<u4").tobytes()).hexdigest()


def _read(beton: Path, manifest: Manifest) -> Sources | None:
    """Return what is stored beside `beton`; None where that is missing, damaged, or of another .beton."""
    try:
        stored = Sources(**json.loads(sources_path(beton).read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return stored if stored.beton == manifest.sha256 else None


def _contents(paths: Sequence[Path], title: str, workers: int) -> str:
    """Read every file and return `contents_digest`. Raises OSError."""
    crc32s = in_order(lambda path: crc32(path.read_bytes()), paths, workers)
    return contents_digest(progress(crc32s, title, len(paths)))
