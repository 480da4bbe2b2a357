"""Defines a `Record`, one per image of a data set, and the checks that training and testing rely on."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError


@dataclass(frozen=True, slots=True)
class Tracklet:
    """Frames of one identity in one camera and modality, one after the other; its records share one object. number: its
    place in its list, from 0; frames: how many the set has; query, gallery: whether the published test searches for it,
    and in it."""

    number: int
    frames: int
    query: bool = False
    gallery: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """One image. `image`: path relative to the set's root, with forward slashes. `person`: the original identity.
    `camera`: the original number; the artist of a sketch; where it is unknown, UNKNOWN_CAMERA, or 0 if the whole part
    has none. `split`: train, test, all (if each trial splits the set differently), or AUXILIARY. `tracklet`: None for
    a still image; its frames follow each other in a list of records."""

    image: str
    person: int
    camera: int
    modality: Modality
    split: str
    # Not in repr: sources.source_fingerprint digests it, and that of a still image must stay what it was.
    tracklet: Tracklet | None = field(default=None, repr=False)


AUXILIARY = "auxiliary"  # the split of identities that join the training only if the user asks for them
MAX_PATH = 4096  # bytes, the limit of Linux
OTHER_SPLIT = {"train": "test", "test": "train"}


def shown(text: str) -> str:
    """Return `text` for a message: quoted, and cut off if it is long, because damaged lists have endless lines."""
    return repr(text if len(text) <= 120 else f"{text[:120]}...")


def inside(root: Path, name: str, source: str) -> str:
    """Return `name` as a clean path below `root`. Raises DataError, naming `source` ("list.txt line 3"), if it leads
    out, or if it is written as in Windows."""
    path = PurePosixPath(name[: MAX_PATH + 1])
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name or len(name) > MAX_PATH:
        why = "an absolute path" if path.is_absolute() else "not inside this folder"
        raise DataError(f"{root}: {source} names {shown(name)}, which is {why}. Correct the list")
    if "\\" in name and not (root / path).exists():
        raise DataError(f"{root}: {source} names {shown(name)} with backslashes. Write / in their place")
    return str(path)


def below(root: Path, path: str) -> str:
    """Return `path` relative to `root` if it is an absolute path below it, else `path` itself."""
    given = Path(path)
    if given.is_absolute():
        for whole in (given, given.parent.resolve() / given.name):  # the image itself may be a link to a store
            for folder in (root.absolute(), root.resolve()):
                if whole.is_relative_to(folder):
                    return str(whole.relative_to(folder))
    return path


def by_tracklet(records: Iterable[Record]) -> Iterator[tuple[Tracklet, list[Record]]]:
    """Yield each tracklet with its frames; still images are left out."""
    for _, group in groupby(records, lambda record: id(record.tracklet)):
        frames = list(group)
        if frames[0].tracklet:
            yield frames[0].tracklet, frames


def check_records(records: Sequence[Record], root: Path) -> None:
    """Raise DataError unless every training identity has images in two modalities, and no image is listed twice, or for
    both training and testing. A frame may be in several tracklets."""
    seen: set[tuple[str, str]] = set()
    tracklets: set[tuple[str, str, int]] = set()
    modalities: dict[int, set[Modality]] = defaultdict(set)
    for record in records:
        key = (record.split, record.image)
        again = (*key, record.tracklet.number) if record.tracklet else None
        if key in seen and (again is None or again in tracklets):
            raise DataError(f"{root / record.image}: listed twice for {record.split}. Correct the list")
        seen.add(key)
        if again:
            tracklets.add(again)
        if (OTHER_SPLIT.get(record.split), record.image) in seen:
            raise DataError(
                f"{root / record.image}: listed for both train and test, so the test would be meaningless. "
                "Correct the list"
            )
        if record.split != "test":
            modalities[record.person].add(record.modality)
    if len(set().union(*modalities.values())) > 2:
        raise DataError(
            f"{root}: trains on both infrared and sketch images. Use only one of them: DNS pairs it with visible"
        )
    incomplete = sorted(person for person, kinds in modalities.items() if len(kinds) < 2)
    if incomplete:
        only = ", ".join(sorted(kind.name.lower() for kind in modalities[incomplete[0]]))
        raise DataError(
            f"{root}: training identity {incomplete[0]} has only {only} images"
            + (f" ({len(incomplete)} such identities)" if len(incomplete) > 1 else "")
            + ". Each needs both modalities: complete the set, or remove the identity from the list"
        )


def training_labels(records: Sequence[Record]) -> dict[int, int]:
    """Map original identities to labels 0, 1, 2, ..., in ascending order of identities."""
    return {person: label for label, person in enumerate(sorted({record.person for record in records}))}
