"""Turns sightings into rows: crops are embedded, and those of one track share a row."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from dns.judge.features import Features, read_features
from dns.report.html import HEIGHTS_PX, jpeg
from dns.search.crops import crops
from dns.search.network import SearchNetwork
from dns.search.rows import Row
from dns.search.sightings import LeftOut, Sighting
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import DataError

BATCH = 64
CORES = len(os.sched_getaffinity(0))
Vector = tuple[Sighting, np.ndarray, bytes]  # a sighting, its vector of length 1, its small image
Track = tuple[str, str, Modality]  # camera, name, modality: a camera that turns infrared begins another row


class Embedded(NamedTuple):
    """A row before it is stored. vector_D: float32, of length 1; person: its identity, where the list is labelled."""

    row: Row
    vector_D: np.ndarray
    thumbnail: bytes
    person: int | None


@dataclass
class _Open:
    """A track of which images are still to come. total_D: sum of its vectors; shown: the sighting of its largest
    crop."""

    total_D: np.ndarray
    images: int
    shown: Sighting
    thumbnail: bytes
    area: float
    first_ms: int | None
    last_ms: int | None


def join_tracks(embedded: Iterable[Vector], sightings: Sequence[Sighting]) -> Iterator[Embedded]:
    """Yield a row for each sighting without a track, and for each track: the mean of its vectors, of length 1, shown by
    its largest box. sightings: all that may come, so that a track is yielded after its last one."""
    missing = Counter(_track(sighting) for sighting in sightings if sighting.track)
    tracks: dict[Track, _Open] = {}
    for sighting, vector_D, thumbnail in embedded:
        one = _single(sighting, vector_D, thumbnail)
        if not sighting.track:
            yield _finished(one)
            continue
        track = _track(sighting)
        tracks[track] = _joined(tracks[track], one) if track in tracks else one
        missing[track] -= 1
        if not missing[track]:
            yield _finished(tracks.pop(track))
    for one in tracks.values():  # some of their boxes were left out
        yield _finished(one)


def _track(sighting: Sighting) -> Track:
    return sighting.camera, sighting.track, sighting.modality


def embed_sightings(
    folder: Path, sightings: Sequence[Sighting], network: SearchNetwork, left_out: LeftOut, *, thumbnails: bool = True
) -> Iterator[Vector]:
    """Yield each sighting with its vector and its small image. folder: that of the images; left_out: counts what cannot
    be used. Raises ConfigError for a modality that the network does not know."""
    for modality in {sighting.modality for sighting in sightings}:
        network.check(modality)
    waiting: dict[Modality, list[tuple[Sighting, np.ndarray]]] = {modality: [] for modality in Modality}
    with tqdm(total=len(sightings), desc="embedding", unit="boxes", dynamic_ncols=True) as bar:
        for sighting, crop in crops(folder, sightings, network.size_px, left_out, CORES):
            batch = waiting[sighting.modality]
            batch.append((sighting, crop))
            if len(batch) == BATCH:
                yield from _batch(batch, network, thumbnails)
                bar.update(len(batch))
                batch.clear()
        for batch in filter(None, waiting.values()):
            yield from _batch(batch, network, thumbnails)
            bar.update(len(batch))


def _batch(batch: Sequence[tuple[Sighting, np.ndarray]], network: SearchNetwork, small: bool) -> Iterator[Vector]:
    vectors_BD = network.embed(np.stack([crop for _, crop in batch]), batch[0][0].modality)
    for (sighting, crop), vector_D in zip(batch, vectors_BD, strict=True):
        yield sighting, vector_D, jpeg(crop, HEIGHTS_PX[0]) if small else b""


def _single(sighting: Sighting, vector_D: np.ndarray, thumbnail: bytes) -> _Open:
    area = sighting.box.width * sighting.box.height if sighting.box else 0.0
    return _Open(vector_D.astype(np.float64), 1, sighting, thumbnail, area, sighting.time_ms, sighting.time_ms)


def _joined(one: _Open, other: _Open) -> _Open:
    if one.shown.person != other.shown.person:
        raise DataError(
            f"{other.shown.source}: track {other.shown.track} of camera {other.shown.camera} is of person "
            f"{other.shown.person} here, and of {one.shown.person} in {one.shown.source}. Give each its own track"
        )
    larger = other if other.area > one.area else one
    times = [time for time in (one.first_ms, one.last_ms, other.first_ms) if time is not None]
    first, last = (min(times), max(times)) if times else (None, None)
    total_D, images = one.total_D + other.total_D, one.images + other.images
    return _Open(total_D, images, larger.shown, larger.thumbnail, larger.area, first, last)


def _finished(one: _Open) -> Embedded:
    shown = one.shown
    length = float(np.linalg.norm(one.total_D))
    if length < 1e-6:
        raise DataError(
            f"{shown.source}: the vectors of track {shown.track} cancel each other. Name another checkpoint"
        )
    row = Row(
        0, shown.camera, shown.modality, one.first_ms, one.last_ms, one.images, shown.track, shown.image, shown.box
    )
    return Embedded(row, (one.total_D / length).astype(np.float32), one.thumbnail, shown.person)


def read_embeddings(
    path: Path, sightings: Sequence[Sighting] | None, camera: str | None, modality: Modality | None
) -> tuple[Sequence[Sighting], Iterator[Vector]]:
    """Read a file of features (docs/judge.md): return what its rows show, and each row as a vector of length 1.

    sightings: what row after row shows; None where the file says it. camera, modality: of all rows, where the file
    names none. Raises DataError.
    """
    features = read_features(path)
    known = _said(features, camera, modality) if sightings is None else sightings
    if len(known) != len(features):
        raise DataError(
            f"{path}: {len(features):,} rows of features, and the list has {len(known):,} boxes that can be used. "
            "Give the list of the boxes that were embedded, in this order"
        )
    return known, _unit(known, features.matrices[features.own])


def _unit(sightings: Sequence[Sighting], matrix_ND: np.ndarray) -> Iterator[Vector]:
    for sighting, vector_D in zip(sightings, matrix_ND, strict=True):
        vector_D = vector_D.astype(np.float64)
        yield sighting, vector_D / np.linalg.norm(vector_D), b""


def _said(features: Features, camera: str | None, modality: Modality | None) -> list[Sighting]:
    """Return what a file of features says of its rows. Raises DataError where it lacks camera or modality."""
    rows, file = len(features), features.file
    if modality is None and features.modality_N is None:
        raise DataError(f"{file}: names no modalities. Name that of all rows: --modality=visible (infrared, sketch)")
    if camera is None and features.camera_N is None:
        raise DataError(f"{file}: names no cameras. Name that of all rows: --camera=NAME")
    cameras = features.camera_N if features.camera_N is not None else [camera] * rows
    modalities = features.modality_N if features.modality_N is not None else [modality] * rows
    persons = features.person_N if features.person_N is not None else [None] * rows
    names = features.path_N if features.path_N is not None else [f"row {row + 1}" for row in range(rows)]
    return [
        Sighting(name, None, None, str(camera), Modality(modality), person=person, source=f"{file} row {row + 1}")
        for row, (name, camera, modality, person) in enumerate(zip(names, cameras, modalities, persons, strict=True))
    ]
