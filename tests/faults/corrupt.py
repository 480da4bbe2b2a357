"""Damage to a `.beton` at chosen or drawn places, and a child that opens and reads what was damaged.

A damage comes before the file is opened, or while it is in use: before the loaders are made, or before their first
batch. After an image's first use it is out of scope: its checksum has been looked at by then.
"""

import faulthandler
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from random import Random

import numpy as np
import torch

from ffcv_convert.beton import Converted, manifest_path, open_beton
from ffcv_convert.beton.layout import (
    ALLOCATION,
    FIELD,
    HEADER,
    METADATA,
    METADATA_START,
    PAGE_BYTES,
    Structure,
    data_start,
)
from ffcv_convert.common.errors import DataError
from ffcv_convert.common.world import World
from pipelines.augment.recipes import RECIPES
from pipelines.batch import Batch
from pipelines.epoch_plan import PlanOptions
from pipelines.streamed import StreamedLoader, StreamedTestLoader
from pipelines.subset import subset_of

CPU = torch.device("cpu")
MOMENTS = ("before opening", "before the loaders are made", "before the first batch")
MEANINGLESS = ("padding", "page ends")


@dataclass(frozen=True)
class Files:
    """What lies on the disk: the `.beton`, its manifest."""

    beton: bytes
    manifest: bytes


Span = tuple[int, int]
Change = Callable[[Files, Random], Files]


@dataclass(frozen=True)
class Damage:
    what: str
    change: Change


def regions(structure: Structure) -> dict[str, list[Span]]:
    """Every byte of the file, by what it is for: (start, end) of its pieces."""
    table = structure.allocation_N
    metadata_end = METADATA_START + structure.metadata_N.nbytes
    table_start = structure.size_bytes - table.nbytes
    images = [(int(row["ptr"]), int(row["ptr"] + row["size"])) for row in table]
    following = [start for start, _ in images[1:]] + [table_start]
    gaps = [(end, start) for (_, end), start in zip(images, following, strict=True) if end < start]
    return {
        "header": [(0, HEADER.itemsize)],
        "field descriptors": [(HEADER.itemsize, METADATA_START)],
        "metadata": [(METADATA_START, metadata_end)],
        "padding": [(metadata_end, data_start(len(table)))],
        "images": images,
        "page ends": gaps,
        "allocation table": [(table_start, structure.size_bytes)],
    }


def damages(structure: Structure, others: list[bytes]) -> Iterator[Damage]:
    """Without end, one of each kind in turn; all cuts come before the first is repeated. others: wrong manifests."""
    places = regions(structure)
    kinds: list[Iterator[Damage]] = [_endless(f"bits of the {name}", _flip(spans)) for name, spans in places.items()]
    rows = {
        "metadata": (METADATA_START, METADATA.itemsize),
        "allocation table": (places["allocation table"][0][0], ALLOCATION.itemsize),
    }
    for name, (start, size) in rows.items():
        spans = [(start + n * size, start + (n + 1) * size) for n in range(len(structure.metadata_N))]
        kinds.append(_endless(f"rows exchanged in the {name}", _move(spans, both=True)))
    pages = [(at, at + PAGE_BYTES) for at in range(0, places["allocation table"][0][0], PAGE_BYTES)]
    kinds += [
        _endless("tables exchanged", _move([places["metadata"][0], places["allocation table"][0]], both=True)),
        _endless("images exchanged", _move(places["images"], both=True)),
        _endless("a page doubled", _move(pages, both=False)),
        _endless("an image doubled", _move(places["images"], both=False)),
        _endless("an image zeroed", _zero(places["images"])),
        _endless("another page size", _page_size),
        _endless("bytes appended", _append),
        _endless("the manifest of another file", partial(_other_manifest, others)),
        _endless("bits of the manifest", _flip_manifest),
        *(_cuts(places, pages, first) for first in range(4)),
    ]
    for damages_in_turn in zip_longest(*kinds):
        yield from damages_in_turn


def _endless(what: str, change: Change) -> Iterator[Damage]:
    while True:
        yield Damage(what, change)


def _cuts(places: dict[str, list[Span]], pages: list[Span], first: int) -> Iterator[Damage]:
    """Every fourth of the cuts at, before and after the boundaries of regions, fields, pages, and some images."""
    fields = range(HEADER.itemsize, METADATA_START, FIELD.itemsize)
    ends = {place for name, spans in places.items() if name != "images" for span in spans for place in span}
    ends |= {start for start, _ in pages} | set(fields) | {end for _, end in places["images"][::8]}
    size = places["allocation table"][0][1]
    cuts = sorted({place + step for place in ends for step in (-1, 0, 1) if 0 <= place + step < size})
    Random(0).shuffle(cuts)
    while True:
        for place in cuts[first::4]:
            yield Damage(f"cut to {place} of {size} bytes", partial(_cut, place))


def _cut(place: int, files: Files, draw: Random) -> Files:
    return replace(files, beton=files.beton[:place])


def _flip(spans: list[Span]) -> Change:
    def change(files: Files, draw: Random) -> Files:
        return replace(files, beton=_flipped(files.beton, draw.choice(spans), draw))

    return change


def _flip_manifest(files: Files, draw: Random) -> Files:
    return replace(files, manifest=_flipped(files.manifest, (0, len(files.manifest)), draw))


def _flipped(intact: bytes, span: Span, draw: Random) -> bytes:
    content = bytearray(intact)
    for place in {draw.randrange(*span) for _ in range(draw.choice([1, 1, 2, 8]))}:
        content[place] ^= 1 << draw.randrange(8)
    return bytes(content)


def _move(spans: list[Span], *, both: bool) -> Change:
    """One of them to the place of another, or `both`; of unequal ones, as much as the smaller holds."""

    def change(files: Files, draw: Random) -> Files:
        content, intact = bytearray(files.beton), files.beton
        (one, one_end), (other, other_end) = draw.sample(spans, 2)
        size = min(one_end - one, other_end - other)
        content[other : other + size] = intact[one : one + size]
        if both:
            content[one : one + size] = intact[other : other + size]
        return replace(files, beton=bytes(content))

    return change


def _zero(spans: list[Span]) -> Change:
    def change(files: Files, draw: Random) -> Files:
        content, (start, end) = bytearray(files.beton), draw.choice(spans)
        start = draw.choice([start, (start + end) // 2])
        content[start:end] = bytes(end - start)
        return replace(files, beton=bytes(content))

    return change


def _page_size(files: Files, draw: Random) -> Files:
    header = np.frombuffer(files.beton[: HEADER.itemsize], dtype=HEADER).copy()
    header["page_size"] = draw.choice([0, 1, 1 << 20, 1 << 22, 1 << 23, PAGE_BYTES + 1])
    return replace(files, beton=header.tobytes() + files.beton[HEADER.itemsize :])


def _append(files: Files, draw: Random) -> Files:
    size = draw.choice([1, ALLOCATION.itemsize, PAGE_BYTES])
    return replace(files, beton=files.beton + draw.choice([bytes(size), files.beton[-size:]]))


def _other_manifest(others: list[bytes], files: Files, draw: Random) -> Files:
    return replace(files, manifest=draw.choice(others))


# --- in the child ---------------------------------------------------------------------------------------------------


def moment_of(draw: Random) -> str:
    """When a damage is done, one of MOMENTS: what a damage's own Random(number) draws first."""
    return draw.choice([MOMENTS[0], *MOMENTS])


def run_damages(intact: Path, others: list[Path], work: Path, first: int, end: int, limit_s: float) -> int:
    """Damages number `first` to `end` of `intact`, one after another, in a copy in `work`. Prints JSON lines: each
    damage as it begins, and what came of it. After `limit_s` with one the process ends. others: manifests."""
    ward = Ward(intact, work)
    series = damages(open_beton(intact).structure, [path.read_bytes() for path in others])
    for number, damage in zip(range(end), series, strict=False):
        if number < first:
            continue
        draw = Random(number)
        moment = moment_of(draw)
        print("\n" + json.dumps({"number": number, "what": f"{damage.what}, {moment}"}), flush=True)
        faulthandler.dump_traceback_later(limit_s, exit=True, file=1)
        try:
            outcome = ward.outcome(damage.change(ward.files, draw), moment)
        except Exception as error:
            outcome = f"crashed: {error!r}"
        faulthandler.cancel_dump_traceback_later()
        print("\n" + json.dumps({"number": number, "outcome": outcome}), flush=True)
    return 0


class Ward:
    """A copy of an intact `.beton`, what its loaders hand out, and what they make of it when it is damaged."""

    def __init__(self, intact: Path, work: Path):
        self.files = Files(intact.read_bytes(), manifest_path(intact).read_bytes())
        self._beton = work / intact.name
        self._beton.touch()
        self._put(self.files)
        converted = open_beton(self._beton)
        self._regions = regions(converted.structure)
        self._expected = [read() for read in readers(converted)]

    def outcome(self, damaged: Files, moment: str) -> str:
        """refused, named or harmless, as it has to be; or "silent: ...", what is wrong with it."""
        self._put(damaged if moment == MOMENTS[0] else self.files)
        try:
            converted = open_beton(self._beton)
            if moment == MOMENTS[1]:
                self._put(damaged)
            reading = readers(converted)
        except DataError:
            seen = "refused"
        else:
            if moment == MOMENTS[2]:
                self._put(damaged)
            seen = self._read(converted, reading, damaged)
        if (seen == "harmless") == self._means_something(damaged, moment):
            return f"silent: {seen}"
        return seen

    def _read(self, converted: Converted, reading: list[Callable[[], list[Batch]]], damaged: Files) -> str:
        seen = "harmless"
        for read, expected in zip(reading, self._expected, strict=True):
            try:
                batches = read()
            except DataError as error:
                seen = "named"
                if not self._names_a_damaged_sample(str(error), converted, damaged):
                    return f"silent: {error}"
            else:
                if not all(map(same, batches, expected)):
                    return "silent: a wrong image or label"
        return seen

    def _names_a_damaged_sample(self, message: str, converted: Converted, damaged: Files) -> bool:
        named = re.search(r"sample (\d+) \((.*)\) (?:fails|is cut off|does not)", message)
        if named is None or converted.manifest.column("path")[int(named[1])] != named[2]:
            return False
        return self._differs(damaged, [self._regions["images"][int(named[1])]])

    def _means_something(self, damaged: Files, moment: str) -> bool:
        """Whether what is read from this moment on has changed. Each byte of a manifest counts, by its checksum."""
        if moment != MOMENTS[0]:
            return self._differs(damaged, self._regions["images"])
        spans = [span for name, spans in self._regions.items() if name not in MEANINGLESS for span in spans]
        sizes_differ = len(damaged.beton) != len(self.files.beton)
        return sizes_differ or damaged.manifest != self.files.manifest or self._differs(damaged, spans)

    def _differs(self, damaged: Files, spans: list[Span]) -> bool:
        return any(damaged.beton[start:end] != self.files.beton[start:end] for start, end in spans)

    def _put(self, files: Files) -> None:
        """In place, as damage comes to a file that is in use."""
        with open(self._beton, "r+b") as file:
            file.write(files.beton)
            file.truncate()
        manifest_path(self._beton).write_bytes(files.manifest)


def readers(converted: Converted) -> list[Callable[[], list[Batch]]]:
    """An epoch of training batches augmented on the device and on the host; and all samples."""
    part = subset_of(converted, np.arange(len(converted)))
    options = PlanOptions(persons=4, pictures=3, recipe=RECIPES["sysu"], seed=0)
    trainers = [
        StreamedLoader(part, options, world=World(CPU), workers=1, augment_on=where) for where in ("device", "host")
    ]
    tester = StreamedTestLoader(converted, batch_size=16, device=CPU, workers=2)
    return [
        *(lambda trainer=trainer: _copied(trainer.epoch(0)) for trainer in trainers),
        lambda: _copied(tester.samples(np.arange(len(converted)))),
    ]


def _copied(epoch: AbstractContextManager[Iterator[Batch]]) -> list[Batch]:
    with epoch as batches:
        return [
            Batch(b.images.clone(), b.person_B.clone(), b.index_B.clone(), b.augmentation.clone(), b.count)
            for b in batches
        ]


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(vars(one)[name], vars(other)[name]) for name in vars(one) if name != "count")
