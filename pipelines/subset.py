"""Chooses the samples of a converted set to train or test on: by split, trial and sketch styles."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from ffcv_convert.beton import STYLES, Converted, Modality, Tracklets, open_beton, tracklets_of
from ffcv_convert.beton.repeats import count_in_both
from ffcv_convert.common.errors import DataError


@dataclass(frozen=True)
class Subset:
    """N chosen samples of a `.beton`: sample numbers, identities (as numbered in the file), cameras and modalities, all
    int64, and source paths."""

    converted: Converted
    sample_N: np.ndarray
    person_N: np.ndarray
    camera_N: np.ndarray
    modality_N: np.ndarray
    path_N: Sequence[str]

    @cached_property
    def row_of_sample(self) -> np.ndarray:
        """Return the row in this subset of each sample in the file, int64; -1 for samples that were not chosen."""
        rows = np.full(len(self.converted), -1)
        rows[self.sample_N] = np.arange(len(self.sample_N))
        return rows

    @cached_property
    def tracklets(self) -> Tracklets | None:
        """Return the tracklets of the samples, None for still images and for a choice of frames: a tracklet's rows have
        to follow each other."""
        return tracklets_of(self.converted) if len(self.sample_N) == len(self.converted) else None

    def digest(self) -> str:
        """Return the SHA-256 of the chosen images, their identities and their tracklets, in order, independent of how
        they are stored. The file's checksum cannot serve here: it is the same for every trial."""
        camera_N = np.maximum(self.camera_N, 0)  # earlier versions stored an unknown one as 0
        columns = (self.person_N, camera_N, self.modality_N)
        digest = hashlib.sha256(b"".join(column.astype("<i8").tobytes() for column in columns))
        digest.update("\0".join(self.path_N).encode(errors="surrogateescape"))
        if one := self.tracklets:
            for column in (one.samples_T, one.frames_T, one.query_T, one.gallery_T):
                digest.update(column.astype("<i8").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class TrainIndex:
    """What the sampler draws from: N sample numbers, training labels (contiguous from 0) and modalities, int64."""

    sample_N: np.ndarray
    person_N: np.ndarray
    modality_N: np.ndarray

    def __len__(self) -> int:
        return len(self.sample_N)


def trials_of(folder: Path) -> list[int]:
    """Return the numbers of a set's trials, ascending; empty for a set with a single split."""
    if not (folder / "all.beton").exists():
        return []
    names = open_beton(folder / "all.beton").manifest.trials
    return sorted(int(name.removeprefix("train-")) for name in names if name.startswith("train-"))


def open_subset(folder: Path, split: Literal["train", "test"], *, trial: int = 0, styles: str = STYLES) -> Subset:
    """Open the training or test samples in `folder`. trial: 0 for a set with a single split. styles: keep only these
    artists' sketches; in training, also drop identities without a sketch of these styles.

    Raises DataError if the file, the trial or the styles are missing.
    """
    if trial and not (folder / "all.beton").exists() and (folder / f"{split}.beton").exists():
        raise DataError(
            f"{folder}: this set has a single split and no trial {trial}. Leave out data.trial (make TRIAL=)"
        )
    if split == "train" and not (folder / "train.beton").exists() and (folder / "test.beton").exists() and not trial:
        raise DataError(
            f"{folder}: was converted without images to train on, so it can only be tested on (make eval). Add a train "
            "part and convert it again to train"
        )
    converted = open_beton(folder / ("all.beton" if trial else f"{split}.beton"))
    chosen = np.arange(len(converted))
    if trial:
        trials = converted.manifest.trials
        if f"{split}-{trial}" not in trials:
            known = ", ".join(str(number) for number in trials_of(folder)) or "none"
            raise DataError(f"{converted.path}: has no trial {trial}. Its trials: {known}")
        chosen = np.array(trials[f"{split}-{trial}"], dtype=np.int64)
    person, camera, modality = (converted.structure.column(name) for name in ("person", "camera", "modality"))
    if set(styles) != set(STYLES):
        sketch = modality[chosen] == Modality.SKETCH
        wanted = sketch & np.isin(camera[chosen], [1 + STYLES.index(style) for style in styles])
        if not wanted.any():
            raise DataError(
                f"{converted.path}: has no sketch of the styles {styles}. Choose from {STYLES}, or take all"
            )
        drawn = np.isin(person[chosen], person[chosen[wanted]]) if split == "train" else True
        chosen = chosen[wanted | (~sketch & drawn)]
    return subset_of(converted, chosen)


def subset_of(converted: Converted, sample_N: np.ndarray) -> Subset:
    """Return the samples with the given numbers (int64)."""
    column, paths = converted.structure.column, converted.manifest.column("path")
    person_N, camera_N, modality_N = (
        np.ascontiguousarray(column(name)[sample_N]) for name in ("person", "camera", "modality")
    )
    return Subset(converted, sample_N, person_N, camera_N, modality_N, [paths[sample] for sample in sample_N])


def also_trained(test: Subset, train: Subset) -> int:
    """Count the images of `test` whose pixels are also those of an image of `train`, whatever their names."""
    return count_in_both(test.converted, test.sample_N, train.converted, train.sample_N)


def train_index(subset: Subset) -> TrainIndex:
    """Give the subset's identities the training labels 0, 1, 2, ... in ascending order."""
    label_N = np.unique(subset.person_N, return_inverse=True)[1]
    return TrainIndex(subset.sample_N, label_N.astype(np.int64), subset.modality_N)
