"""Defines a sighting: one person in one image."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from ffcv_convert.beton.labels import Modality

NAMED = 5  # of what was left out, so many are named


class Box(NamedTuple):
    """Left edge, top edge, width and height, in pixels of the upright image; they may reach beyond it, or be NaN."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Sighting:
    """A person in an image. image: path below the folder of images, with forward slashes; box: None for the whole
    image; time_ms: milliseconds since 1970 in UTC, None where it is unknown; camera: any name; track: of a person who
    was followed through several images of a camera, "" without; person: the identity, where a list is labelled;
    source: where it stands, such as "boxes.csv line 7"."""

    image: str
    box: Box | None
    time_ms: int | None
    camera: str
    modality: Modality
    track: str = ""
    person: int | None = None
    source: str = ""


@dataclass
class LeftOut:
    """Counts what cannot be used, by reason, and names the first of each."""

    counts: Counter[str] = field(default_factory=Counter)
    names: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        self.counts[reason] += 1
        if len(named := self.names.setdefault(reason, [])) < NAMED:
            named.append(name)

    def lines(self) -> list[str]:
        """Return a line a reason: how many, and which were the first."""
        return [
            f"{count:,} {reason}: {', '.join(self.names[reason])}{', ...' * (count > len(self.names[reason]))}"
            for reason, count in self.counts.items()
        ]
