"""Defines a row of the index, and the filters that choose rows before anything is compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dns.search.sightings import Box
from ffcv_convert.beton.labels import Modality


class Row(NamedTuple):
    """A person seen by a camera: one image, or a track. number: its own for ever, in no other row of this index;
    first_ms, last_ms: when it was seen, in milliseconds since 1970 (UTC), None where that is unknown; images: how many
    the vector is the mean of; image, box: of the one that is shown, box None where that is the whole image."""

    number: int
    camera: str
    modality: Modality
    first_ms: int | None
    last_ms: int | None
    images: int
    track: str
    image: str
    box: Box | None


@dataclass(frozen=True)
class Filters:
    """Which rows count. cameras: of any of these, all where empty; modality: None for any; since_ms, until_ms: seen in
    since <= time < until, in part at least; a row of unknown time is in no span."""

    cameras: Sequence[str] = ()
    modality: Modality | None = None
    since_ms: int | None = None
    until_ms: int | None = None
