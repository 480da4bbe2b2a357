"""Finds images that a converted set holds more than once under different names: by checksum, then by their stored
bytes, since among 400,000 different images some twenty pairs share a CRC-32 by chance.

Repeats within one identity, modality and part are common in videos and not told; images of one colour have a warning of
their own.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ffcv_convert.beton.manifest import Converted

Place = tuple[int, int]  # position among the parts, sample


@dataclass(frozen=True)
class Repeat:
    """Images of `part` with the same pixels as images of another part, identity or modality, named by `of`. count: how
    many images of `part`; first: the path of one of them; twin: the path of the other image."""

    part: str
    of: str
    count: int
    first: str
    twin: str

    def __str__(self) -> str:
        what = "image has" if self.count == 1 else "images have"
        return f"{self.part}: {self.count:,} {what} the same pixels as one of {self.of}: {self.first} and {self.twin}"


def find_repeats(parts: Sequence[Converted]) -> list[Repeat]:
    """Find images of a set that are the same across parts, or across identities or modalities of one part. Each part
    numbers its identities by itself. Reads only images whose checksum occurs twice."""
    found: dict[tuple[str, str], list[tuple[str, str, int]]] = {}
    rows = [part.manifest.samples for part in parts]
    names = [part.manifest.part for part in parts]
    for group in _groups(parts):
        of_part = [[rows[at][sample] for place, sample in group if place == at] for at in range(len(parts))]
        there = [at for at, images in enumerate(of_part) if images]
        if len(there) > 1:
            earlier, later = of_part[there[0]], of_part[there[-1]]
            between = (names[there[-1]], names[there[0]])
            found.setdefault(between, []).append((later[0][0], earlier[0][0], len(later)))
        for at in there:
            for of, column in (("another identity", 1), ("another modality", 3)):
                one = of_part[at][0]
                other = next((row for row in of_part[at] if row[column] != one[column]), None)
                if other:
                    found.setdefault((names[at], of), []).append((one[0], other[0], len(of_part[at])))
    return [Repeat(part, of, sum(count for *_, count in some), *min(some)[:2]) for (part, of), some in found.items()]


def count_in_both(one: Converted, one_N: np.ndarray, other: Converted, other_N: np.ndarray) -> int:
    """Count the samples `one_N` whose pixels are also those of one of `other_N`. Reads only images whose checksum is in
    both."""
    one_crc_N, other_crc_N = _checksums(one)[one_N], _checksums(other)[other_N]
    there = {_pixels(other, sample) for sample in other_N[np.isin(other_crc_N, one_crc_N)]} - {None}
    return sum(_pixels(one, sample) in there for sample in one_N[np.isin(one_crc_N, other_crc_N)])


def _groups(parts: Sequence[Converted]) -> Iterator[list[Place]]:
    """Yield the places of every image that occurs more than once, unless all are of one identity, modality and part."""
    crc_N = np.concatenate([_checksums(part) for part in parts])
    places = [(at, sample) for at, part in enumerate(parts) for sample in range(len(part))]
    order_N = np.argsort(crc_N, kind="stable")
    starts = np.flatnonzero(np.diff(crc_N[order_N])) + 1
    for numbers in np.split(order_N, starts):
        if len(numbers) < 2:
            continue
        alike = [places[number] for number in numbers]
        if len({(at, *parts[at].manifest.samples[sample][1:4:2]) for at, sample in alike}) == 1:
            continue
        by_pixels: dict[bytes | None, list[Place]] = {}
        for at, sample in alike:
            by_pixels.setdefault(_pixels(parts[at], sample), []).append((at, sample))
        yield from (same for pixels, same in by_pixels.items() if pixels and len(same) > 1)


def _checksums(converted: Converted) -> np.ndarray:
    return np.array(converted.manifest.column("crc32"), dtype=np.uint32)


def _pixels(converted: Converted, sample: int) -> bytes | None:
    """Return the SHA-256 of an image as it is stored; None if it has only one colour."""
    stored = converted.structure.stored_bytes(sample)
    if converted.manifest.encoding == "raw":
        constant = stored == stored[:3] * (len(stored) // 3)
    else:
        try:
            with Image.open(io.BytesIO(stored), formats=["JPEG"]) as image:
                constant = image.getcolors(maxcolors=1) is not None
        except OSError:  # damaged, which is told where it is read
            return None
    return None if constant else hashlib.sha256(stored).digest()
