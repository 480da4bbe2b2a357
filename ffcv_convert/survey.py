"""Tells the user how much a listed data set holds, what it lacks, and what is left out.

A half-unpacked archive converts as well as a whole one, so the published counts stand beside those of the listing. A
set that lacks a modality, a camera, or a tenth of what was published is incomplete, and `make train` stops.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ffcv_convert.beton import Modality
from ffcv_convert.beton.labels import ENOUGH_MATCHED, UNKNOWN_CAMERA
from ffcv_convert.datasets.dataset import Dataset, Trials
from ffcv_convert.datasets.files import ENDINGS, is_system
from ffcv_convert.records import AUXILIARY, Record

INCOMPLETE = " (incomplete)"  # after the name of a set, in every report
ENOUGH = 0.9  # share of a published count
SHOWN = 3  # names in a sentence
UNREAD = {".heic", ".heif", ".avif", ".gif", ".jp2", ".jxl", ".psd", ".svg", ".dng"}
OTHERS = (Modality.INFRARED, Modality.SKETCH)
SEARCHES = (  # query, gallery
    (Modality.INFRARED, Modality.VISIBLE),
    (Modality.VISIBLE, Modality.INFRARED),
    (Modality.SKETCH, Modality.VISIBLE),
)


@dataclass(frozen=True)
class Seen:
    """What a set holds. counts: `train identities`, `train visible images`, and so on, `train-1 identities` of each
    trial, and of video `train images`, `train tracklets`, `test queries`; cameras: (part, modality, camera) of every
    image."""

    counts: Mapping[str, int]
    cameras: frozenset[tuple[str, Modality, int]]


@dataclass
class Shortfalls:
    """Sentences about what a set lacks. untrainable, untestable: modalities that a part lacks; missing: what else makes
    a set incomplete; smaller: other differences from the published counts."""

    untrainable: list[str] = field(default_factory=list)
    untestable: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    smaller: list[str] = field(default_factory=list)


Row = tuple[int, int, int, str]  # identity, camera, modality, split of an image
Rows = Sequence[Row]


class Part(NamedTuple):
    """Every image of a part, its trials, and the manifest's rows of TRACKLET_COLUMNS, none for still images."""

    rows: Rows
    trials: Trials
    tracklets: Sequence[Sequence[int]] = ()


def see(parts: Iterable[Part]) -> Seen:
    """Count identities and images of all parts, and the identities of each trial. Of a tracklet, all frames that the
    set has count, also those that conversion leaves out."""
    persons: dict[str, set[int]] = defaultdict(set)
    images: dict[str, int] = defaultdict(int)
    tracklets: dict[str, int] = defaultdict(int)
    cameras = set()
    for part in parts:
        for (person, camera, modality, split), count in _images(part).items():
            persons[f"{split} identities"].add(person)
            images[f"{split} {Modality(modality).name.lower()} images"] += count
            cameras.add((split, Modality(modality), camera))
        for name, numbers in part.trials.items():
            persons[f"{name} identities"] = {part.rows[number][0] for number in numbers}
        for row, (_, query, _, frames, *_) in _with_rows(part):
            split = row[3]
            tracklets[f"{split} images"] += frames
            tracklets[f"{split} tracklets"] += 1
            if split == "test":
                tracklets["test queries"] += query
    counts = {key: len(found) for key, found in persons.items()} | images | tracklets
    return Seen(counts, frozenset(cameras))


def _images(part: Part) -> Counter[Row]:
    """Count the images of each identity, camera, modality and split."""
    if not part.tracklets:
        return Counter(part.rows)
    counts: Counter[Row] = Counter()
    for row, (_, _, _, frames, *_) in _with_rows(part):
        counts[row] += frames
    return counts


def _with_rows(part: Part) -> Iterator[tuple[Row, Sequence[int]]]:
    """Yield each tracklet with the row of its first image."""
    start = 0
    for tracklet in part.tracklets:
        yield part.rows[start], tracklet
        start += tracklet[0]


def describe(published: Mapping[str, int], part: str, seen: Seen) -> str:
    """Describe one part: identities, images, tracklets and queries, each with its published number, and the cameras of
    each modality."""
    keys = [f"{part} identities", *(f"{part} {modality.name.lower()} images" for modality in Modality)]
    keys += [f"{part} images"] if f"{part} images" in published else []  # of both, where no number of each is published
    keys += [f"{part} {things}" for things in ("tracklets", "queries")]
    figures = []
    numbered = {camera for split, _, camera in seen.cameras if split == part} != {0}
    for key in keys:
        if key not in seen.counts and key not in published:
            continue
        figure = f"{seen.counts.get(key, 0):,} {key.removeprefix(f'{part} ')}"
        figure += f" (published {published[key]:,})" if key in published else ""
        if key.endswith("images") and key != f"{part} images":
            of = {c for split, m, c in seen.cameras if split == part and m.name.lower() in key}
            figure += _of_cameras(of) if numbered else ""
        figures.append(figure)
    return ", ".join(figures)


def _of_cameras(numbers: set[int]) -> str:
    known = sorted(numbers - {UNKNOWN_CAMERA})
    if not known:
        return " of unknown cameras" if numbers else ""
    of = f"{len(known)} cameras" if len(known) > 12 else f"camera{'s' * (len(known) > 1)} {' '.join(map(str, known))}"
    return f" of {of}{' and unknown ones' * (len(numbers) > len(known))}"


def shortfalls(dataset: Dataset, parts: Iterable[str], seen: Seen) -> Shortfalls:
    """Find what `parts` of the set lack: modalities, cameras, published numbers."""
    found = Shortfalls()
    for part in parts:
        present = {modality for split, modality, _ in seen.cameras if split == part}
        needed = {"visible": Modality.VISIBLE in present}
        needed[" or ".join(_other_modalities(dataset, part))] = bool(present & set(OTHERS))
        gone = [f"{part} has no {name} image" for name, there in needed.items() if not there]
        (found.untestable if part == "test" else found.untrainable).extend(gone)
        for modality, cameras in dataset.cameras.get(part, {}).items():
            blind = {camera for camera in cameras if (part, modality, camera) not in seen.cameras}
            if blind and modality in present:
                found.missing.append(f"{part} has no {modality.name.lower()} image{_of_cameras(blind)}")
    for key, published in dataset.counts.items():
        if key.startswith(AUXILIARY) and f"{AUXILIARY} identities" not in seen.counts:
            continue  # stored only if the user asks
        number = seen.counts.get(key, 0)
        if number != published:
            far = number < ENOUGH * published and key not in dataset.unsure
            some = found.missing if far else found.smaller
            some.append(f"{number:,} {key}, published {published:,}")
    return found


def _other_modalities(dataset: Dataset, part: str) -> list[str]:
    """Return the modalities beside visible that a part may hold; a part of a published set has one."""
    names = [modality.name.lower() for modality in OTHERS]
    return [name for name in names if f"{part} {name} images" in dataset.counts] or names


def unmatched(rows: Rows, *, own: bool) -> list[str]:
    """Tell for each direction of search how many queries of a part have no image of their identity to find: any number
    in a set of the user's `own`, in a published one only if fewer than ENOUGH_MATCHED have a match."""
    images = {modality: Counter(row[0] for row in rows if row[2] == modality) for modality in Modality}
    told = []
    for query, gallery in SEARCHES:
        lone = {person: count for person, count in images[query].items() if person not in images[gallery]}
        without, total = sum(lone.values()), images[query].total()
        if images[gallery] and without > (0 if own else (1 - ENOUGH_MATCHED) * total):
            told.append(
                f"{without:,} of {total:,} {query.name.lower()} images are of an identity that no "
                f"{gallery.name.lower()} image shows ({len(lone):,} identities, first {min(lone)}): as queries they "
                "have no match, and enter no mean"
            )
    return told


class PassedOver:
    """What a listing leaves out.

    names: files and folders below `root` that are no image of `records` and match none of `reads`, as relative paths;
    those of file systems, NAS and archive tools come last. A folder without a listed image counts as one name,
    however much it holds. folders: those of `names` that are folders.
    """

    def __init__(self, root: Path, records: Iterable[Record], reads: Sequence[str]):
        taken = {record.image for record in records}
        self._root = root
        self._holders = {image.rpartition("/")[0] or "." for image in taken}
        paths = [PurePosixPath(name) for name in (*self._holders, *(str(PurePosixPath(p).parent) for p in reads))]
        visited = {str(folder) for path in paths for folder in (path, *path.parents)}
        names, self.folders = [], set()
        for folder in visited:
            if not (root / folder).is_dir():
                continue
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    name = entry.name if folder == "." else f"{folder}/{entry.name}"
                    if name in taken or name in visited or any(fnmatchcase(name, pattern) for pattern in reads):
                        continue
                    names.append(name)
                    if entry.is_dir():
                        self.folders.add(name)
        self.names = sorted(names, key=lambda name: (_by_system(name), name not in self.folders, name))

    def __str__(self) -> str:
        """Return a summary such as "3 files or folders passed over, first test/thermal"; empty if there are none."""
        if not self.names:
            return ""
        if len(self.names) == 1:
            return f"1 {'folder' if self.folders else 'file'} passed over: {self.names[0]}"
        return f"{len(self.names):,} files or folders passed over, first {', '.join(self.names[:SHOWN])}"

    def unread(self) -> list[str]:
        """Return the images of kinds that are not read, such as a phone's .heic."""
        return [name for name in self.names if _holds_other_images(name)]

    def suspicious(self, *, own: bool) -> list[str]:
        """Return the folders that a user may have meant, because they hold images: all such folders in a set of the
        user's `own`, else those whose images lie deeper than the images that are read."""
        return [
            name
            for name in self.names
            if name in self.folders
            and not _by_system(name)
            and (depth := _image_depth(self._root / name))
            and (own or depth > 1 or str(PurePosixPath(name).parent) in self._holders)
        ]


def _holds_other_images(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in UNREAD and not _by_system(name)


def _by_system(name: str) -> bool:
    return is_system(PurePosixPath(name).name)


def _image_depth(folder: Path) -> int:
    """Return 1 if `folder` holds an image, 2 if a folder in it does, and so on to 4; 0 if none does."""
    level = [folder]
    for depth in range(1, 5):
        deeper = []
        for place in level[:100]:  # enough to find images where there are some
            with suppress(PermissionError), os.scandir(place) as entries:
                for entry in entries:
                    if entry.is_dir():
                        deeper.append(Path(entry.path))
                    elif os.path.splitext(entry.name)[1].lower() in ENDINGS:
                        return depth
        level = deeper
    return 0
