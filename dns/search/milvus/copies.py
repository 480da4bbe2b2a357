"""Copies an index to Milvus, searches there, and removes rows there as well.

INDEX/copies.json says where the copies are: [{"uri": "/data/milvus.db", "collection": "dns_search_0f3a..."}]. It is
written before the first row is copied, so that a removal reaches every copy there may be.
"""

import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from dns.evaluation.results import writing
from dns.search.candidates import wanted
from dns.search.exact import Part
from dns.search.milvus.collection import ENDING, FILE, TOKEN, Collection, Place, connected, copy_command
from dns.search.rows import Filters
from dns.search.store import Index, only_writer
from ffcv_convert.common import atomic
from ffcv_convert.common.errors import ConfigError, DataError
from ffcv_convert.common.paths import expanded


class FromMilvus:
    """Takes candidates from a copy of the index."""

    def __init__(self, index: Index, collection: Collection):
        collection.check(index)
        self._collection = collection
        self._numbers = [segment.numbers() for segment in index.segments]

    def narrow(self, query_D: np.ndarray, filters: Filters, parts: Sequence[Part], hits: int) -> list[Part]:
        count = wanted(hits)
        if sum(map(len, parts)) <= count:
            return list(parts)
        found = self._collection.nearest(query_D, filters, count)
        narrowed = []
        for part, number_N in zip(parts, self._numbers, strict=True):
            chosen = np.flatnonzero(np.isin(number_N, found))
            if part.chosen is not None:
                chosen = np.intersect1d(chosen, part.chosen, assume_unique=True)
            narrowed.append(Part(part.vectors_ND, chosen, part.name))
        return narrowed


def place_of(uri: str) -> str:
    """Return the address as copies.json has it. Raises ConfigError for one that Milvus does not take, or that holds a
    password: copies.json and messages would show it."""
    if "://" in uri:
        if "@" in uri:
            raise ConfigError(
                f"--uri: holds a user or a password. Put user:password into the environment variable {TOKEN}"
            )
        if _is_server(uri):
            return uri.rstrip("/")
    elif uri.endswith(ENDING):
        return os.path.abspath(expanded(uri))
    raise ConfigError(
        f"--uri: {uri} is neither the address of a server (http://localhost:19530) nor a name that ends in {ENDING}. "
        "Correct it"
    )


def _is_server(uri: str) -> bool:
    try:
        found = urlsplit(uri)
        return found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0
    except ValueError:  # the port is no number of a port
        return False


def read(folder: Path) -> list[Place]:
    """Return the copies of the index in `folder`. Raises DataError where the file is damaged."""
    path = folder / FILE
    try:
        return [Place(str(one["uri"]), str(one["collection"])) for one in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: cannot be read ({error}). Restore it: it says where copies of the rows are") from None


def copy(folder: Path, uri: str) -> int:
    """Copy the rows that are not yet there to the Milvus at `uri`, as `place_of` returns it. Returns how many were
    copied. Raises ConfigError without its libraries, DataError where it cannot be reached, for a damaged index or while
    another process writes it, ReportError where the index cannot be written."""
    Index.open(folder)  # before anything is made there
    with only_writer(folder), writing(folder):
        known = read(folder)
        place = next((one for one in known if one.uri == uri), Place(uri, f"dns_search_{secrets.token_hex(8)}"))
        with connected(place) as collection:
            if place not in known:
                with atomic.replacing(folder / FILE) as file:
                    file.write(json.dumps([one._asdict() for one in (*known, place)], indent=1).encode())
            return collection.fill(Index.open(folder))


@contextmanager
def opened(index: Index, uri: str) -> Iterator[FromMilvus]:
    """Yield what takes candidates from the copy at `uri`, as `place_of` returns it. Raises ConfigError where there is
    none, or without Milvus's libraries; DataError where it cannot be reached or lacks rows."""
    place = next((one for one in read(index.folder) if one.uri == uri), None)
    if place is None:
        raise ConfigError(f"--uri: {index.folder} was not copied to {uri}. Copy it: {copy_command(index.folder, uri)}")
    _check_there(index.folder, place)
    with connected(place) as collection:
        yield FromMilvus(index, collection)


def reached(folder: Path) -> list[Place]:
    """Return where an index was copied to, after connecting to each. Raises as `opened` where one cannot be reached."""
    found = read(folder)
    for place in found:
        _check_there(folder, place)
        with connected(place) as collection:
            collection.exists()
    return found


def remove(place: Place, numbers: Sequence[int]) -> None:
    """Remove the rows of these numbers from a copy. Raises DataError where it cannot be reached."""
    with connected(place) as collection:
        collection.remove(numbers)


def refill(place: Place, folder: Path) -> None:
    """Copy the rows that are left to where `remove` left none. Raises DataError where that fails."""
    try:
        with connected(place) as collection:
            if not collection.exists():
                collection.fill(Index.open(folder))
    except DataError as error:
        raise DataError(
            f"{folder}: the rows are removed, also from {place.uri}, but those that are left are not yet back there. "
            f"{error}; then copy them again: {copy_command(folder, place.uri)}"
        ) from None


def _check_there(folder: Path, place: Place) -> None:
    if place.path is not None and not place.path.exists():  # Milvus Lite would make an empty one
        raise DataError(
            f"{place.uri}: no such copy of {folder}. Put it back; or, if it is gone for good, delete its entry from "
            f"{folder / FILE}"
        )
