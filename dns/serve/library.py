"""Holds the index as it is now: what another process adds, removes or calibrates counts from the next search on.

Removal is real here too. The maps of an index that has changed are dropped before the new one is opened, at the latest
a second after it changed (worker.py looks so often), and the system then frees the removed files.
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dns.search import calibration, manifest
from dns.search.calibration import Calibration
from dns.search.network import SearchNetwork
from dns.search.page import NO_CALIBRATION, PROMISE, STRANGERS
from dns.search.search_command import network_in_words
from dns.search.store import Index

SHOWN = 100  # cameras that the page names


@dataclass(frozen=True)
class Opened:
    """An index that was opened. about: what the page says of it."""

    index: Index
    calibration: Calibration | None
    cameras: Collection[str]
    about: Mapping[str, Any]

    @property
    def name(self) -> str:
        return self.about["index"]

    def thumbnail(self, number: int) -> bytes | None:
        """Return the small image of a row, empty where the index keeps none; None where there is no such row."""
        for segment in self.index.segments:
            position = segment.position(number)
            if position is not None:
                return segment.thumbnails([position])[0]
        return None


class Library:
    """An index that may change. network: that of its rows. Used by one thread; `about` and `rows` by any."""

    def __init__(self, folder: Path, network: SearchNetwork):
        self.folder, self.network = folder, network
        self.about: Mapping[str, Any] = {}
        self.rows = 0
        self._seen: object = None
        self._opened: Opened | None = None
        self.now()

    def now(self) -> Opened:
        """Return the index, opened again if it has changed. Raises a UserError where it cannot be read now."""
        seen = [_state(self.folder / name) for name in (manifest.FILE, calibration.FILE)]
        if self._opened is None or seen != self._seen:
            self._opened = None
            self._opened = _open(self.folder, self.network)
            self._seen, self.about, self.rows = seen, self._opened.about, len(self._opened.index)
        return self._opened


def _state(path: Path) -> tuple[int, int, int] | None:
    """Return what differs after a file was replaced."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _open(folder: Path, network: SearchNetwork) -> Opened:
    index = Index.open(folder)
    network.check_made(folder, index.network)
    known = calibration.load(folder, index.network)
    cameras = index.cameras()
    trust = [STRANGERS, f"Strangers were counted on {known.source}.", PROMISE] if known else [NO_CALIBRATION]
    about = {
        "index": folder.absolute().name, "rows": len(index), "network": network_in_words(index.network),
        "modalities": [one.name.lower() for one in sorted(network.modalities)], "trust": trust,
        "cameras": sorted(cameras)[:SHOWN], "cameras_in_all": len(cameras),
    }  # fmt: skip
    return Opened(index, known, cameras, about)
