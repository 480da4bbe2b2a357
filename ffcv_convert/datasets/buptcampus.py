"""BUPTCampus (Du et al., "Video-based Visible-Infrared Person Re-Identification with Auxiliary Samples", TIFS 2023).

BUPTCampus/
  train.txt  train_auxiliary.txt        a tracklet a line: identity, modality, camera, tracklet: 1746 RGB/IR TSG2 1;
  query.txt  gallery.txt                RGB/IR stands for a tracklet in each modality
  data_paths.json                       {identity: {modality: {camera: {tracklet: [path, ...]}}}}, paths below DATA/
  DATA/1/IR/CQ1/1_IR_CQ1_1_8535.jpg     identity, modality, camera, tracklet, frame; DATA/1/RGB/ for visible

3,080 identities, six cameras. The infrared images that a network made from visible ones (DATA/1/FakeIR/) are left out.
Auxiliary identities, each in one camera only, are read and stored only if the user asks (`--auxiliary`). Queries and
gallery hold both modalities: a search takes the queries of one and the gallery of the other.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets.dataset import Dataset
from ffcv_convert.datasets.files import is_number, read_lines, read_text, refuse_shared_identities, wrong_line
from ffcv_convert.records import AUXILIARY, Record, Tracklet, inside, shown

MODALITIES = {"RGB": Modality.VISIBLE, "IR": Modality.INFRARED}
WORDS = {"RGB/IR": ("RGB", "IR"), "RGB": ("RGB",), "IR": ("IR",)}
CAMERAS = ("LS3", "G25", "CQ1", "W4", "TSG1", "TSG2")  # 1 to 6: 0 would say that a part has no cameras
LISTS = {"train": ("train.txt",), AUXILIARY: ("train_auxiliary.txt",), "test": ("query.txt", "gallery.txt")}
PATHS = "data_paths.json"
CLEAN = re.compile(r"(?:\w[\w.-]*/)*\w[\w.-]*", re.ASCII)  # a path that cannot lead out


class Listed(NamedTuple):
    """A tracklet of a list: the keys of data_paths.json, all text."""

    person: str
    modality: str
    camera: str
    tracklet: str


def list_records(root: Path) -> list[Record]:
    """Return the frames of every tracklet in the order of the lists: training, auxiliary, queries, gallery; of a line
    with two modalities, visible before infrared. A query that is also in the gallery comes once."""
    paths = _paths(root)
    records: list[Record] = []
    for split, lists in LISTS.items():
        named: dict[Listed, list[str]] = {}  # the places where each is listed
        for name in lists:
            if split != AUXILIARY or (root / name).exists():  # who does not want them may lack the list
                for place, listed in _read(root, name):
                    named.setdefault(listed, []).append(place)
        for number, (listed, places) in enumerate(named.items()):
            for number_of, place in enumerate(places):
                if any(place.split()[0] == former.split()[0] for former in places[:number_of]):
                    raise DataError(f"{root / place}: names the tracklet of {places[0]} again. Correct the list")
            frames = _frames(root, paths, listed, places[0])
            query, gallery = ([place for place in places if place.startswith(name)] for name in ("query", "gallery"))
            one = Tracklet(number, len(frames), bool(query), bool(gallery))
            person, camera = int(listed.person), CAMERAS.index(listed.camera) + 1
            records += [Record(path, person, camera, MODALITIES[listed.modality], split, one) for path in frames]
    refuse_shared_identities(root, records)
    return records


def _paths(root: Path) -> dict[str, Any]:
    try:
        paths = json.loads(read_text(root / PATHS))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{root / PATHS}: not readable as JSON ({error}). Restore it from the archive") from None
    if not isinstance(paths, dict):
        raise DataError(f"{root / PATHS}: does not map identities to tracklets. Restore it from the archive")
    return paths


def _read(root: Path, name: str) -> Iterator[tuple[str, Listed]]:
    """Yield (place, tracklet) for each line and modality of a list."""
    for place, line in read_lines(root / name):
        fields = line.split()
        if len(fields) != 4 or not is_number(fields[0]) or fields[1] not in WORDS or fields[2] not in CAMERAS:
            expected = (
                f"'identity modality camera tracklet' with RGB, IR or RGB/IR and a camera of {', '.join(CAMERAS)}"
            )
            raise wrong_line(root, place, line, expected)
        for word in WORDS[fields[1]]:
            yield place, Listed(fields[0], word, *fields[2:])


def _frames(root: Path, paths: dict[str, Any], listed: Listed, place: str) -> list[str]:
    """Return the paths of a tracklet's frames below `root`. Raises DataError if data_paths.json has none."""
    frames: Any = paths
    for key in listed:
        frames = frames.get(key) if isinstance(frames, dict) else None
    if not isinstance(frames, list) or not frames or any(not isinstance(frame, str) for frame in frames):
        raise DataError(
            f"{root / place}: {PATHS} has no frames of {shown(' '.join(listed))}. Restore both from one archive, or "
            "remove the line"
        )
    return [
        f"DATA/{frame}" if CLEAN.fullmatch(frame) else inside(root, f"DATA/{frame}", f"{PATHS}, {' '.join(listed)},")
        for frame in frames
    ]


DATASET = Dataset(
    name="buptcampus",
    folders=("BUPTCampus", "buptcampus", "BUPT"),
    list_records=list_records,
    takes=("every", "auxiliary"),
    how_to_get="download it from the link of its repository (dyhBUPT/BUPTCampus on GitHub)",
    marks=(PATHS,),
    reads=(PATHS, *(name for names in LISTS.values() for name in names), "DATA/*/FakeIR"),
    layout=f"Frames are read where {PATHS} names them, below DATA/",
    # Nobody says whether queries are in the gallery too; then there are fewer images and tracklets.
    unsure=("test visible images", "test infrared images", "test tracklets"),
    counts={
        "train identities": 1_074,
        "train visible images": 398_069,
        "train infrared images": 398_069,
        "train tracklets": 7_148,
        "auxiliary identities": 930,
        "auxiliary visible images": 104_575,
        "auxiliary infrared images": 104_575,
        "auxiliary tracklets": 1_860,
        "test identities": 1_076,
        "test visible images": 347_292,
        "test infrared images": 352_188,
        "test tracklets": 5_920,
        "test queries": 1_076,
    },
)
