"""Plans SYSU-MM01's layout (shown in ffcv_convert/datasets/sysu.py), at any size or at the official one."""

import json
from pathlib import Path

import numpy as np

from ffcv_convert.beton import Modality
from ffcv_convert.datasets import sysu
from ffcv_convert.synthetic.options import Options, Plan, PlannedImage

# Its field `about` says which numbers come from the real set and which are our choice.
COUNTS_FILE = Path(__file__).with_name("sysu_mm01_counts.json")

# Counts: (camera, identity) -> number of images. Lists: name of the list -> its identities.
Counts = dict[tuple[int, int], int]
Lists = dict[str, list[int]]


def plan_sysu(options: Options) -> Plan:
    """Plan `train_identities` for train_id.txt or val_id.txt. As in the real set, some folders are in no list."""
    counts, lists = _official() if options.official_size else _small(options)
    modality_of = {camera: modality for modality, cameras in sysu.CAMERAS.items() for camera in cameras}
    images = [
        PlannedImage(f"cam{camera}/{person:04d}/{frame + 1:04d}.jpg", person, camera, frame, modality_of[camera])
        for (camera, person), count in sorted(counts.items())
        for frame in range(count)
    ]
    return images, {f"exp/{name}_id.txt": ",".join(map(str, persons)) + "\n" for name, persons in lists.items()}


def _official() -> tuple[Counts, Lists]:
    stored = json.loads(COUNTS_FILE.read_text(encoding="utf-8"))
    counts = {
        (int(camera), person): count
        for camera, row in stored["images"].items()
        for person, count in enumerate(row, start=1)
        if count
    }
    return counts, {name: stored[name] for name in ("train", "val", "test")}


def _small(options: Options) -> tuple[Counts, Lists]:
    trained = options.train_identities
    listed = trained + options.test_identities
    validation = max(1, trained // 4)  # the real set's share
    counts: Counts = {}
    for cameras in sysu.CAMERAS.values():
        for person in range(1, trained + 1):
            for turn in (np.arange(options.train_images) + person) % len(cameras):
                place = (cameras[turn], person)
                counts[place] = counts.get(place, 0) + 1
        counts |= {(c, person): options.test_images for c in cameras for person in range(trained + 1, listed + 1)}
    # Two unlisted identities: one seen by two visible cameras, one by both infrared cameras.
    counts |= {(c, listed + 1): options.test_images for c in (4, 5)}
    counts |= {(c, listed + 2): options.test_images for c in sysu.CAMERAS[Modality.INFRARED]}
    lists = {
        "train": list(range(1, trained - validation + 1)),
        "val": list(range(trained - validation + 1, trained + 1)),
        "test": list(range(trained + 1, listed + 1)),
    }
    return counts, lists
