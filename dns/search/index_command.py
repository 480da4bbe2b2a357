"""Adds rows to an index, and calibrates it: python -m dns.search index."""

import argparse
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from dns.judge.subject import converted, open_images
from dns.search import calibration, labelled, manifest, store
from dns.search.adding import Embedded, embed_sightings, join_tracks, read_embeddings
from dns.search.calibration import Calibration
from dns.search.lists import read_boxes, read_folder
from dns.search.network import SearchNetwork, open_search_network
from dns.search.sightings import LeftOut, Sighting
from dns.search.store import Index
from dns.search.upkeep_command import remove
from dns.training.selection import check_same_size
from ffcv_convert.common.errors import ConfigError, DataError, printable

AT_ONCE = 1024  # rows that are handed to the index together
TEST_SET = "the test set of "


def run(options: argparse.Namespace, more: Sequence[str]) -> int:
    """Add rows, calibrate, or remove rows, as the command line says. Raises a UserError."""
    if options.remove:
        return remove(options)
    _check(options)
    index = Index.open(options.index) if manifest.find(options.index) else None
    if index is None and not _adds(options):
        raise ConfigError(f"{options.index}: no index yet. Add rows first: --boxes and --frames, or --crops")
    network = _network(options, index, more)
    made = calibrate(options, network) if network is not None else None  # first: after a mistake, nothing was added
    if _adds(options):
        add(options, network)
    if network is not None and made is not None:
        calibration.save(options.index, made, network.about)
        print(f"{options.index / calibration.FILE}: calibrated on {made.source}: {_in_words(made)}")
    return 0


def _adds(options: argparse.Namespace) -> bool:
    return bool(options.boxes or options.crops or options.embeddings)


def _check(options: argparse.Namespace) -> None:
    if options.crops and (options.boxes or options.embeddings):
        raise ConfigError("--crops: names whole images of people. Leave --boxes and --embeddings out")
    if ((options.boxes and not options.embeddings) or options.calibrate) and not options.frames:
        raise ConfigError(
            "the folder of the images that the boxes are in is missing: --frames=FOLDER (make FRAMES=...)"
        )
    if (options.start is None) != (options.fps is None):
        raise ConfigError("--start and --fps: the times of a MOT list's frames need both. Give both, or neither")
    if options.cameras or options.since is not None or options.until is not None:
        raise ConfigError("--cameras, --since, --until: choose what is removed. Add --remove, or leave them out")
    if not _adds(options) and not options.calibrate and not options.dataset:
        raise ConfigError("nothing to do. Name what to add: --boxes and --frames, --crops or --embeddings; or --remove")


def _network(options: argparse.Namespace, index: Index | None, more: Sequence[str]) -> SearchNetwork | None:
    """Open the network that is named, else the index's own; None where embeddings come from elsewhere."""
    path = options.checkpoint
    if path is None and index is not None and index.network["path"]:
        path = Path(index.network["path"])
    if path is None:
        if options.embeddings and not options.calibrate and not options.dataset:
            return None
        raise ConfigError("which network embeds the images? Name it: --checkpoint=FILE (make CHECKPOINT=...)")
    network = open_search_network(path, more)
    if index is not None:
        network.check_made(options.index, index.network)
    return network


def add(options: argparse.Namespace, network: SearchNetwork | None) -> None:
    """Add the rows of the command line's list, and print how many, and what was left out."""
    left_out = LeftOut()
    rows, about = _rows(options, network, left_out)
    first = next(rows, None)
    if first is None:
        report(left_out)
        what = options.boxes or options.crops or options.embeddings
        raise DataError(f"{what}: nothing to add. Correct the list, or name another folder of images")
    if network is not None and len(first.vector_D) != network.width:
        raise DataError(
            f"{options.embeddings}: rows of {len(first.vector_D):,} numbers, and {network.about['file']} gives "
            f"{network.width:,}. Name the checkpoint that embedded them"
        )
    images = 0
    with store.appending(options.index, about, len(first.vector_D)) as writer:
        for some in _batched(chain([first], rows), AT_ONCE):
            writer.add(
                np.stack([one.vector_D for one in some]), [one.row for one in some], [one.thumbnail for one in some]
            )
            images += sum(one.row.images for one in some)
    report(left_out)
    total = sum(entry.rows for entry in manifest.read(options.index).segments)
    print(f"{options.index}: {writer.count:,} rows of {images:,} images added, {total:,} rows now")


def _rows(
    options: argparse.Namespace, network: SearchNetwork | None, left_out: LeftOut
) -> tuple[Iterator[Embedded], dict[str, Any]]:
    """Return the rows to add, and what the index says of the network that embedded them."""
    sightings = _sightings(options, left_out) if options.boxes or options.crops else None
    if options.embeddings:
        known, vectors = read_embeddings(options.embeddings, sightings, options.camera, options.modality)
        elsewhere = {"path": None, "file": options.embeddings.name, "sha256": "", "feature": "embeddings"}
        return join_tracks(vectors, known), network.about if network else elsewhere
    assert network is not None
    assert sightings is not None
    embedded = embed_sightings(
        options.crops or options.frames, sightings, network, left_out,
        thumbnails=options.images == "true",
    )  # fmt: skip
    return join_tracks(embedded, sightings), network.about


def _sightings(options: argparse.Namespace, left_out: LeftOut) -> list[Sighting]:
    if options.crops:
        return read_folder(options.crops, camera=options.camera, modality=options.modality, left_out=left_out)
    return _boxes(options, options.boxes, left_out)


def _boxes(options: argparse.Namespace, path: Path, left_out: LeftOut) -> list[Sighting]:
    return read_boxes(
        path, options.frames or path.parent, camera=options.camera, modality=options.modality, start_ms=options.start,
        fps=options.fps, left_out=left_out,
    )  # fmt: skip


def report(left_out: LeftOut) -> None:
    for line in left_out.lines():
        print(printable(f"note: {line}", newlines=False))


def _batched(rows: Iterator[Embedded], size: int) -> Iterator[list[Embedded]]:
    while some := list(islice(rows, size)):
        yield some


def calibrate(options: argparse.Namespace, network: SearchNetwork) -> Calibration | None:
    """Calibrate on the labelled list or the test set that is named; an index without a calibration, on the test set of
    the checkpoint. None, with a note, where that cannot be used."""
    named = options.calibrate or options.dataset
    if not named and calibration.load(options.index, network.about) is not None:
        return None
    try:
        return _of_list(options, network) if options.calibrate else _of_test_set(options, network)
    except DataError as error:
        if named:
            raise
        print(printable(f"note: not calibrated, so nothing says how strangers score. {error}", newlines=False))
        print("note: or calibrate on labelled boxes of your own cameras: make index CALIBRATE=labelled.csv FRAMES=...")
        return None


def _of_list(options: argparse.Namespace, network: SearchNetwork) -> Calibration:
    left_out, path = LeftOut(), options.calibrate
    sightings = read_boxes(path, options.frames, camera=options.camera, modality=options.modality, left_out=left_out)
    queries, rows = labelled.of_list(path, options.frames, sightings, network, left_out)
    report(left_out)
    return calibration.calibrate(queries, rows, f"the {len(np.unique(rows.person_N)):,} people of {path.name}")


def _of_test_set(options: argparse.Namespace, network: SearchNetwork) -> Calibration:
    folder = converted(options.beton_root, options.dataset or network.about["dataset"], network.size_px)
    images = open_images(folder, options.trial or network.about["trial"])
    check_same_size(network.about["path"], network.size_px, images.path, images.size_px)
    known = labelled.of_test_set(images, network)
    source = f"the {len(np.unique(known.person_N)):,} people of {TEST_SET}{images.manifest.dataset}"
    return calibration.calibrate(known, known, source)


def _in_words(made: Calibration) -> str:
    return ", ".join(
        f"{query.name.lower()} to {rows.name.lower()} {min(one.identities)} identities"
        for (query, rows), one in made.directions.items()
    )
