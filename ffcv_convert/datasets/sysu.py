"""SYSU-MM01 (Wu et al., "RGB-Infrared Cross-Modality Person Re-Identification", ICCV 2017): 491 identities.

SYSU-MM01/
  exp/train_id.txt  exp/val_id.txt  exp/test_id.txt   identities, separated by commas; train and val are used to train
  exp/rand_perm_cam.mat                               the official random galleries, if you have them
  cam1/0001/0001.jpg ... cam2                         visible, indoor
  cam4/0001/0001.jpg ... cam5                         visible, outdoor
  cam3/0001/0001.jpg ... cam6                         infrared (camera 3 is in the same room as 2)

Identities that no list names are ignored, so the folders are never searched for identities.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from ffcv_convert.beton import Modality
from ffcv_convert.beton.labels import SHOTS, TRIALS
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets.dataset import Dataset, Trials, published
from ffcv_convert.datasets.files import images_in, read_identities, refuse_unpadded
from ffcv_convert.decoding import RESTORE
from ffcv_convert.records import Record

CAMERAS = {Modality.VISIBLE: (1, 2, 4, 5), Modality.INFRARED: (3, 6)}
READER = Path(__file__).with_name("read_permutations.py")
MAX_BYTES = 1 << 26  # memory for the official draw: its 45,863 images in ten trials are 4 MB as doubles


def list_records(root: Path) -> list[Record]:
    """Return training images, then test images; visible before infrared; then by identity, camera and name."""
    train_ids, val_ids, test_ids = (root / f"exp/{name}_id.txt" for name in ("train", "val", "test"))
    train = sorted({*read_identities(train_ids), *read_identities(val_ids)})
    test = read_identities(test_ids)
    both = sorted(set(train) & set(test))
    if both:
        raise DataError(f"{test_ids}: identity {both[0]} is also a training identity. {RESTORE}")
    for camera in (camera for cameras in CAMERAS.values() for camera in cameras):
        refuse_unpadded(root / f"cam{camera}", [*train, *test])
    return [
        Record(f"{folder}/{name}", person, camera, modality, split)
        for split, persons in (("train", train), ("test", test))
        for modality, cameras in CAMERAS.items()
        for person in persons
        for camera in cameras
        for folder in [f"cam{camera}/{person:04d}"]
        for name in images_in(root / folder)
    ]


def list_trials(root: Path, part: str, records: Sequence[Record]) -> Trials:
    """Return official-1 ... official-10: the first ten images of each (identity, visible camera) in its permutation."""
    path = root / "exp" / "rand_perm_cam.mat"
    if part != "test" or not os.path.lexists(path):  # a broken link is refused below
        return {}
    permutations = _read_permutations(root / "exp/rand_perm_cam.mat")
    visible = [(number, r) for number, r in enumerate(records) if r.modality == Modality.VISIBLE]
    trials: Trials = {}
    for (person, camera), group in groupby(visible, lambda pair: (pair[1].person, pair[1].camera)):
        numbers = [number for number, _ in group]
        cells = permutations[camera - 1]
        order = np.asarray(cells[person - 1]) if person <= len(cells) else np.empty((0, 0), dtype=int)
        places_N = np.arange(1, len(numbers) + 1)
        numeric = order.dtype.kind in "uif" and order.shape == (TRIALS, len(numbers))
        if not numeric or (np.sort(order, axis=1) != places_N).any():
            raise DataError(
                f"{path}: its permutation for identity {person}, camera {camera} does not fit the {len(numbers)} "
                f"images in {root / f'cam{camera}' / f'{person:04d}'}. Restore both, or remove the file"
            )
        # Only the first of each permutation are kept; MATLAB may store them as doubles.
        for trial, places in enumerate(order[:, :SHOTS].astype(int), start=1):
            trials.setdefault(f"official-{trial}", []).extend(numbers[place - 1] for place in places)
    return trials


def _read_permutations(path: Path) -> list[list[list]]:
    """Read [camera - 1][identity - 1] -> (trials, images), 1-based positions among the sorted file names.

    A child process reads the file, see read_permutations.py: it may be hostile.
    """

    def refuse(problem: str) -> DataError:
        return DataError(f"{path}: not the official permutation ({problem}). Restore it, or remove it")

    if not path.is_file():  # reading a pipe or a device would never end
        raise refuse("not a regular file")
    done = subprocess.run([sys.executable, READER, path, str(MAX_BYTES)], capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").split() or [f"exit code {done.returncode}"]
        raise refuse(said[-1])
    return json.loads(done.stdout)


DATASET = Dataset(
    name="sysu",
    folders=("SYSU-MM01", "SYSU_MM01", "sysu"),
    list_records=list_records,
    list_trials=list_trials,
    how_to_get="sign the agreement in its official repository (wuancong/SYSU-MM01 on GitHub) and unpack the archive",
    marks=("exp",),
    reads=("exp/*_id.txt", "exp/rand_perm_cam.mat"),
    layout="Images are read from cam1/0001 to cam6, with an identity's number in four digits",
    cameras={"train": CAMERAS, "test": CAMERAS},
    counts=published(Modality.INFRARED, train=(395, 22_258, 11_909), test=(96, 6_775, 3_803)),
)
