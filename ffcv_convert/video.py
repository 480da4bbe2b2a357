"""Chooses and counts the frames of a set's tracklets before they are converted, and says what that will take."""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ffcv_convert.beton import read_manifest
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets.dataset import Dataset
from ffcv_convert.datasets.files import refuse_broken_link
from ffcv_convert.images import ImageFormat, encode, in_order
from ffcv_convert.records import AUXILIARY, Record, by_tracklet
from ffcv_convert.sources import spelled_alike

TIMED = 64  # images that are converted to tell how long all of them take
THINNED = 4  # the example of --every in a message


@dataclass(frozen=True)
class Selection:
    """Which images of a set are stored. every: of each tracklet, its first frame and every `every`-th after it.
    auxiliary: whether the identities of the split AUXILIARY join the training."""

    every: int = 1
    auxiliary: bool = False


def selection_for(dataset: Dataset, beton: Path, every: int | None, auxiliary: bool | None) -> Selection:
    """Return the requested selection; what is None stays as in the existing `beton`. Raises DataError for a request
    that the set cannot fulfil."""
    for name, value in (("every", every), ("auxiliary", auxiliary)):
        if value is not None and name not in dataset.takes:
            why = "holds still images" if name == "every" else "has no auxiliary identities"
            raise DataError(f"--{name}: {dataset.name} {why}. Leave the option out")
    before = Selection()
    if dataset.takes and None in (every, auxiliary):
        try:
            stored = read_manifest(beton)
            before = Selection(stored.every, AUXILIARY in stored.column("split"))
        except DataError:  # there is none, or it is damaged and will be written again
            pass
    return Selection(
        before.every if every is None else every, before.auxiliary if auxiliary is None else auxiliary
    )  # fmt: skip


def tracklet_rows(records: Iterable[Record]) -> list[list[int]]:
    """Return the manifest's rows of TRACKLET_COLUMNS."""
    return [[len(frames), int(one.query), int(one.gallery), one.frames] for one, frames in by_tracklet(records)]


def without_missing(root: Path, records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Leave out frames that are not on the disk, and training identities that have lost a modality by that. Returns the
    others, and sentences that count and name what is gone. Raises DataError for a broken link.

    Still images stay: they are few, so that a missing one is an error, which `source_fingerprint` raises.
    """
    if not any(record.tracklet for record in records):
        return list(records), []
    names: dict[str, frozenset[str]] = {}
    found: list[Record] = []
    gone: list[Record] = []
    empty: list[Record] = []
    for one, frames in by_tracklet(records):
        there = [record for record in frames if _is_there(root, record.image, names)]
        if len(there) < len(frames):
            gone += [record for record in frames if not _is_there(root, record.image, names)]
            empty += frames[:1] if not there else []
            shorter = replace(one, frames=len(there))
            there = [replace(record, tracklet=shorter) for record in there]
        found += there
    told = []
    for image in {record.image.rpartition("/")[0]: record.image for record in gone}.values():
        refuse_broken_link(root / image)
    if gone:
        alike = spelled_alike(root, gone[0].image)
        hint = f" ({alike.relative_to(root)} is there: rename one of them)" if alike else ""
        told.append(f"listed frames that are not there: {len(gone):,} of {len(records):,}, first {gone[0].image}{hint}")
    if empty:
        told.append(f"tracklets without a frame left: {len(empty):,}, first that of {empty[0].image}")
    halved = _halved(records, found)
    if halved:
        kept = [record for record in found if record.split == "test" or record.person not in halved]
        told.append(
            f"training identities with no frame of a modality left, which are left out: {len(halved):,} with "
            f"{len(found) - len(kept):,} frames, first {min(halved)}"
        )
        found = kept
    return found, told


def _halved(listed: Iterable[Record], found: Iterable[Record]) -> set[int]:
    """Return the training identities that have frames left, but of fewer modalities than the lists name."""
    before, after = (
        {(record.person, record.modality) for record in records if record.split != "test"}
        for records in (listed, found)
    )
    return {person for person, _ in before - after} & {person for person, _ in after}


def _is_there(root: Path, image: str, names: dict[str, frozenset[str]]) -> bool:
    """Whether the image is in its folder. names: of each folder that was read; to ask for each file is slower."""
    folder, _, name = image.rpartition("/")
    if folder not in names:
        try:
            names[folder] = frozenset(os.listdir(root / folder))
        except (FileNotFoundError, NotADirectoryError):
            names[folder] = frozenset()
    return name in names[folder]


def thinned(records: Sequence[Record], every: int) -> list[Record]:
    """Keep the first frame of each tracklet and every `every`-th after it."""
    if every == 1:
        return list(records)
    return [record for _, frames in by_tracklet(records) for record in frames[::every]]


def told_of_thinning(tracklets: Sequence[Sequence[int]], every: int) -> str:
    """Say how many frames of a part are stored. tracklets: rows of TRACKLET_COLUMNS."""
    stored, frames = (sum(row[column] for row in tracklets) for column in (0, 3))
    return f"one frame in {every} of each tracklet is stored: {stored:,} of {frames:,} images"


def estimate(records: Sequence[Record], root: Path, image_format: ImageFormat, every: int, workers: int) -> list[str]:
    """Say how many images will be converted, how long that takes and how much disk, raw and as JPEG, and how to thin.

    Converts TIMED of them to know. Raises DataError if one of these cannot be read.
    """
    chosen = [root / records[n].image for n in np.linspace(0, len(records) - 1, min(TIMED, len(records))).astype(int)]
    encode(chosen[0], image_format)  # the first one also compiles, imports and allocates
    begin = time.perf_counter()
    list(in_order(lambda path: encode(path, image_format), chosen, workers))
    rate = len(chosen) / (time.perf_counter() - begin)
    as_jpeg = replace(image_format, encoding="jpeg")
    jpeg_bytes = np.mean([len(encode(path, as_jpeg).stored) for path in chosen[:: max(1, len(chosen) // 16)]])
    raw_bytes = image_format.height_px * image_format.width_px * 3

    def takes(images: int) -> str:
        raw, jpeg = _gigabytes(images * raw_bytes), _gigabytes(images * float(jpeg_bytes))
        return f"{images:,} images, {_minutes(images / rate)} at {rate:,.0f} images/s, {raw} raw or {jpeg} as JPEG"

    tracklets = tracklet_rows(records)
    chosen_encoding = "raw" if image_format.encoding == "raw" else "JPEG"
    told = [f"{len(tracklets):,} tracklets to convert: {takes(len(records))} ({chosen_encoding} is chosen: --encoding)"]
    if every == 1:
        fewer = sum(-(-row[0] // THINNED) for row in tracklets)
        told.append(f"with --every {THINNED}, which stores one frame in {THINNED} of each tracklet: {takes(fewer)}")
    return told


def _minutes(seconds: float) -> str:
    return "less than two minutes" if seconds < 120 else f"about {seconds / 60:,.0f} minutes"


def _gigabytes(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:,.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:,.0f} MB"
