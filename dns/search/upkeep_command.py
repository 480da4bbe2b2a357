"""Removes rows, joins segments, checks an index, builds what approximate searches need, and copies rows to Milvus:
python -m dns.search index --remove, compact, verify, build, copy."""

import argparse
from collections.abc import Sequence

from dns.search import calibration, removal, verification
from dns.search.approximate import files
from dns.search.asking import check_cameras
from dns.search.milvus import copies
from dns.search.rows import Filters
from dns.search.store import Index
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import ConfigError


def remove(options: argparse.Namespace) -> int:
    """Remove the rows that the filters choose."""
    if options.boxes or options.crops or options.embeddings or options.calibrate:
        raise ConfigError("--remove: removes, and adds nothing. Leave what to add out")
    chosen = filters(options, options.modality)
    if chosen.cameras:
        check_cameras(options.index, Index.open(options.index).cameras(), chosen)
    gone = removal.remove(options.index, chosen)
    print(f"{options.index}: {gone:,} rows removed, with their images and all that was made of them")
    return 0


def filters(options: argparse.Namespace, modality: Modality | None) -> Filters:
    """Return the filters of the command line. Raises ConfigError for an empty span of time."""
    if None not in (options.since, options.until) and options.until <= options.since:
        raise ConfigError("--until: is not later than --since. Exchange them")
    return Filters(tuple(options.cameras), modality, options.since, options.until)


def compact(options: argparse.Namespace, more: Sequence[str]) -> int:
    before, after = removal.compact(options.index)
    print(f"{options.index}: {before} segments, now {after}")
    return 0


def verify(options: argparse.Namespace, more: Sequence[str]) -> int:
    lines = verification.verify(options.index)
    known = calibration.load(options.index, Index.open(options.index).network)
    print(*lines, f"calibrated on {known.source}" if known else "not calibrated", sep="\n")
    return 0


def build(options: argparse.Namespace, more: Sequence[str]) -> int:
    count = files.build(options.index)
    less = f"; smaller ones than {files.FEWEST:,} rows need none"
    print(f"{options.index}: {count:,} segments are ready for search --approximate{less}")
    return 0


def copy(options: argparse.Namespace, more: Sequence[str]) -> int:
    place = copies.place_of(options.uri)
    print(f"{options.index}: {copies.copy(options.index, place):,} rows copied to {place}")
    return 0
