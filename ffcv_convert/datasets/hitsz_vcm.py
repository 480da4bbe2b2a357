"""HITSZ-VCM (Lin et al., "Learning Modal-Invariant and Temporal-Memory", CVPR 2022): 927 identities, 12 cameras, video.

HITSZ-VCM/
  info/train_name.txt         a frame a line: 0001M1D2T1F6.jpg is identity 0001, modality M (1 infrared, 2 visible),
                              camera D, tracklet T and frame F; test_name.txt
  info/track_train_info.txt   a tracklet a line: modality, first and last frame (lines of train_name.txt, from 1, both
                              included), identity, camera; track_test_info.txt
  info/query_IDX.txt          the queries: lines of track_test_info.txt, from 1; the other tracklets are the gallery
  Train/0001/ir/D2/6.jpg      the frame above; rgb/ is the same for visible, Test/ for testing

The archives have also been unpacked with all identities in one folder (0001/ir/D2/6.jpg), and with the lists beside
them instead of in info/: both are read. A tracklet takes its range as it is, and gives its identity, camera and
modality to every frame in it, as the published loaders do, even if a frame's name says otherwise: `remarks` counts
these. Searching visible for infrared takes the same two halves the other way round.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets.dataset import Dataset
from ffcv_convert.datasets.files import is_number, read_lines, refuse_shared_identities, wrong_line
from ffcv_convert.decoding import RESTORE
from ffcv_convert.records import Record, Tracklet, by_tracklet, shown

MODALITIES = {"1": Modality.INFRARED, "2": Modality.VISIBLE}
FOLDERS = {Modality.INFRARED: "ir", Modality.VISIBLE: "rgb"}
TOPS = {"train": "Train", "test": "Test"}
NAME = re.compile(r"(\d{1,9})M([12])(D\d{1,9})T\d{1,9}F(\d{1,18}\.[A-Za-z]{1,5})", re.ASCII)
MOST_OVERLAP = 10  # times that the ranges name each frame, on average, before they count as damaged
ONE_ARCHIVE = "Restore the lists from one archive"


class Track(NamedTuple):
    """A line of a list of tracklets. first, last: as written, from 1; place: "track_train_info.txt line 3"."""

    modality: Modality
    first: int
    last: int
    person: int
    camera: int
    place: str


def list_records(root: Path) -> list[Record]:
    """Return the frames of every tracklet, in the order of the lists; training before testing."""
    records: list[Record] = []
    for split in TOPS:
        names, tracks = _frames(root, split), _tracks(root, split)
        queries = _queries(root, len(tracks)) if split == "test" else set()
        listed = 0
        for number, track in enumerate(tracks):
            if track.last > len(names):
                raise DataError(
                    f"{_info(root) / track.place}: the range ends at {track.last:,}, but {split}_name.txt has "
                    f"{len(names):,} frames. {ONE_ARCHIVE}"
                )
            frames = names[track.first - 1 : track.last]
            listed += len(frames)
            if listed > MOST_OVERLAP * len(names):
                raise DataError(
                    f"{_info(root) / track.place}: up to here the ranges name {listed:,} frames, but {split}_name.txt "
                    f"has {len(names):,}: they overlap. {ONE_ARCHIVE}"
                )
            if frames:
                query = number in queries
                one = Tracklet(number, len(frames), query, gallery=split == "test" and not query)
                records += [Record(path, track.person, track.camera, track.modality, split, one) for path in frames]
    refuse_shared_identities(_info(root), records)
    return records


def remarks(root: Path, records: Sequence[Record]) -> Iterator[str]:
    """Yield warnings of ranges without a frame, of ranges that share frames, of ranges that hold frames of another
    identity, camera or modality by their names, and of queries that no published test takes."""
    for split in TOPS:
        tracks = _tracks(root, split)
        empty = [track for track in tracks if track.last < track.first]
        if empty:
            yield f"tracklets with an empty range, which are left out: {len(empty):,}, first {empty[0].place}"
        shared = _overlapping([track for track in tracks if track.last >= track.first])
        if shared:
            yield (
                f"tracklets whose range holds frames of one that begins before it: {len(shared):,}, first "
                f"{shared[0].place}. These frames are stored for each"
            )
        foreign: list[tuple[Track, Record]] = []
        ranges = 0
        for one, frames in by_tracklet(record for record in records if record.split == split):
            others = [record for record in frames if not _is_named_as_labelled(record)]
            foreign += [(tracks[one.number], record) for record in others]
            ranges += bool(others)
        if foreign:
            track, record = foreign[0]
            yield (
                f"frames that are named as of another identity, camera or modality than their tracklet: "
                f"{len(foreign):,} in {ranges:,} of {len(tracks):,} tracklets, first {record.image} in {track.place}. "
                "They get the tracklet's labels, as in the published loaders"
            )
    visible = {r.tracklet.number for r in records if r.tracklet and r.tracklet.query and r.modality == Modality.VISIBLE}
    if visible:
        yield (
            f"queries that are visible tracklets, which no published test searches for: {len(visible):,}, first "
            f"{tracks[min(visible)].place}"
        )


def _overlapping(tracks: Sequence[Track]) -> list[Track]:
    """Return the tracklets that share frames with one that begins before them, in the order of their first frames."""
    found, end = [], 0
    for track in sorted(tracks, key=lambda track: track.first):
        found += [track] if track.first <= end else []
        end = max(end, track.last)
    return found


def _is_named_as_labelled(record: Record) -> bool:
    person, kind, camera = record.image.split("/")[-4:-1]
    return (int(person), kind, int(camera[1:])) == (record.person, FOLDERS[record.modality], record.camera)


def _info(root: Path) -> Path:
    """Return the folder of the lists."""
    return root / "info" if (root / "info").is_dir() else root


def _frames(root: Path, split: str) -> list[str]:
    """Return the path below `root` of every frame that the split's list names."""
    source = _info(root) / f"{split}_name.txt"
    in_tops = any((root / top).is_dir() for top in TOPS.values())
    top = f"{TOPS[split]}/" if in_tops else ""
    frames = []
    for place, line in read_lines(source):
        name = NAME.fullmatch(line)
        if name is None:
            raise wrong_line(source.parent, place, line, "a frame such as 0001M1D2T1F6.jpg")
        person, modality, camera, file = name.groups()
        frames.append(f"{top}{person}/{FOLDERS[MODALITIES[modality]]}/{camera}/{file}")
    return frames


def _tracks(root: Path, split: str) -> list[Track]:
    source = _info(root) / f"track_{split}_info.txt"
    tracks = []
    for place, line in read_lines(source):
        fields = line.split()
        if len(fields) != 5 or not all(map(is_number, fields)) or fields[0] not in MODALITIES or int(fields[1]) < 1:
            expected = "'modality first last identity camera' with modality 1 or 2, and frames from 1"
            raise wrong_line(source.parent, place, line, expected)
        first, last, person, camera = map(int, fields[1:])
        tracks.append(Track(MODALITIES[fields[0]], first, last, person, camera, place))
    return tracks


def _queries(root: Path, tracklets: int) -> set[int]:
    """Return the positions, from 0, of the tracklets that the test searches for."""
    source = _info(root) / "query_IDX.txt"
    queries = set()
    for place, line in read_lines(source):
        for field in line.replace(",", " ").split():
            if not is_number(field) or not 1 <= int(field) <= tracklets:
                raise DataError(
                    f"{source.parent / place}: {shown(field)} is not one of the {tracklets:,} tracklets of "
                    f"track_test_info.txt, which are numbered from 1. {RESTORE}"
                )
            queries.add(int(field) - 1)
    return queries


DATASET = Dataset(
    name="hitsz_vcm",
    folders=("HITSZ-VCM", "VCM-HITSZ", "hitsz_vcm", "VCM"),
    list_records=list_records,
    remarks=remarks,
    takes=("every",),
    how_to_get="follow the links of its repository (VCM-project233/HITSZ-VCM-data on GitHub) to Train, Test and info",
    marks=("info/track_train_info.txt", "track_train_info.txt"),
    reads=("info/*.txt", "t*_name.txt", "track_t*_info.txt", "query_IDX.txt"),
    layout="Frames are read where info/*_name.txt name them: Train/0001/ir/D2/6.jpg, or 0001/ir/D2/6.jpg",
    counts={
        "train identities": 500,
        "train images": 232_496,
        "train tracklets": 11_061,
        "test identities": 427,
        "test images": 230_763,
        "test tracklets": 10_802,
        "test queries": 5_159,
    },
)
