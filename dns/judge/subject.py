"""Finds the test images that features are of: a converted set's test part, or labels beside the features."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from dns.evaluation.evaluator import test_set_of
from dns.evaluation.tables import joined
from dns.evaluation.trial import TestSet
from dns.judge.features import Features, read_labels
from dns.judge.orders import Placed
from dns.judge.readers import read
from ffcv_convert.beton.labels import STYLES
from ffcv_convert.common.errors import ConfigError, DataError
from ffcv_convert.common.world import World
from pipelines.data import TestImages, open_test
from pipelines.subset import trials_of


class Subject(NamedTuple):
    """The test images. about: data set and digest of the images, for the rows. images: None without a converted set."""

    test: TestSet
    about: Mapping[str, Any]
    images: TestImages | None = None


def open_subject(
    dataset: str, beton_root: Path, files: Sequence[Features], labels: Path | None, trial: int | None
) -> Subject:
    """Open the converted set; without one, or where `labels` names a file, make the test set of labels. Raises
    DataError, ConfigError."""
    folder = beton_root / dataset
    if labels is None and folder.is_dir():
        images = open_images(folder, trial)
        about = {"dataset": images.name, "images": joined(images.digests().values())}
        return Subject(test_set_of(images), about, images)
    source, columns = _labels(files, labels, folder)
    test = TestSet(columns["person"], columns["camera"], columns["modality"], columns["path"])
    numbers = (columns[name].astype("<i8").tobytes() for name in ("person", "camera", "modality"))
    digest = hashlib.sha256(b"".join(numbers))
    digest.update("\0".join(columns["path"]).encode(errors="surrogateescape"))
    print(f"note: {source}: the labels are its own, not those of a converted set")
    return Subject(test, {"dataset": dataset, "images": digest.hexdigest()})


def converted(root: Path, set_name: str, size_px: tuple[int, int]) -> Path:
    """Return the folder of a converted set: that of images of this size, if there is one. Raises DataError."""
    places = [root / f"{size_px[0]}x{size_px[1]}" / set_name, root / set_name]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise DataError(
            f"{root / set_name}: no such folder. Convert the set (make data DATASET={set_name}), or name another one: "
            "--dataset=NAME (make DATASET=NAME)"
        )
    return found


def open_images(folder: Path, trial: int | None) -> TestImages:
    """Open the test part of a converted set, or of a trial of a set that is split. Raises DataError, ConfigError."""
    splits = trials_of(folder)
    if splits and not trial:
        raise ConfigError(f"{folder}: has {len(splits)} splits. Name one: --trial=1 (make TRIAL=1)")
    return open_test(
        folder, World(torch.device("cpu")), trial=(trial or 0) if splits else 0, styles=STYLES, source="stream",
        batch_size=64, workers=1,
    )  # fmt: skip


def _labels(files: Sequence[Features], labels: Path | None, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return the labels' file and its columns: those of `labels`, else of the first file of features."""
    first = files[0]
    if labels is not None:
        source, columns = labels, read_labels(labels, read(labels))
    else:
        own = {"path": first.path_N, "person": first.person_N, "camera": first.camera_N, "modality": first.modality_N}
        source, columns = first.file, {name: column for name, column in own.items() if column is not None}
    missing = [name for name in ("person", "modality") if name not in columns]
    if missing:
        raise DataError(
            f"{source}: holds no column of {' or '.join(missing)}, and {folder} holds no converted set. Convert the "
            "set (make data DATASET=...), or name a file of identities, cameras and modalities: --labels=labels.csv"
        )
    images = len(columns["person"])
    if first.path_N is not None and len(first) == images:
        columns.setdefault("path", first.path_N)
    columns.setdefault("camera", np.zeros(images, dtype=np.int64))
    columns.setdefault("path", [f"{row:09d}" for row in range(images)])
    for name, column in columns.items():
        if len(column) != images:
            raise DataError(f"{source}: {images:,} identities, but {len(column):,} of {name}. Save one an image")
    return source, columns


def digest(placed: Placed) -> str:
    """Return the SHA-256 of the features, in the order of the test set."""
    found = hashlib.sha256()
    for name, matrix_ND in sorted(placed.matrices.items()):
        found.update(name.encode() + np.ascontiguousarray(matrix_ND).tobytes())
    return found.hexdigest()
