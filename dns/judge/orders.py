"""Finds the image of each row of features: by its name, by the order of the set, or by the published code's order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dns.evaluation.trial import TestSet, Trial
from dns.judge.features import Features
from ffcv_convert.common.errors import DataError

KNOWN_ORDER = ("sysu", "llcm", "regdb")  # families of protocols whose published lists are known


@dataclass(frozen=True)
class Placed:
    """The features of a test set's N images. file: the first that they come from; matrices: name -> (N, D), NaN where
    given_N is false."""

    file: Path
    name: str
    matrices: dict[str, np.ndarray]
    given_N: np.ndarray


def place(features: Features, test: TestSet) -> Placed:
    """Put every row at its image: by name where the file has names, else row n is image n of the test part. Raises
    DataError where they do not fit."""
    images, found = len(test.person_N), len(features)
    if features.path_N is not None:
        row_F = _rows_by_name(features, test)
    elif found == images:
        row_F = np.arange(images)
    else:
        other = "" if test.tracklets else ", or state --order=published"
        raise DataError(
            f"{features.file}: {found:,} rows, but the test part has {images:,} images. Save one row an image{other}, "
            "or name the images (an array 'paths')"
        )
    _check_labels(features, test, row_F)
    return _placed([(features, row_F)], images)


def _placed(parts: Sequence[tuple[Features, np.ndarray]], images: int) -> Placed:
    given_N = np.zeros(images, dtype=bool)
    first = parts[0][0]
    matrices = {}
    for name, matrix_FD in first.matrices.items():
        matrices[name] = np.full((images, matrix_FD.shape[1]), np.nan, matrix_FD.dtype)
        for features, row_F in parts:
            matrices[name][row_F] = features.matrices[name]
            given_N[row_F] = True
    return Placed(first.file, " + ".join(features.file.name for features, _ in parts), matrices, given_N)


def _rows_by_name(features: Features, test: TestSet) -> np.ndarray:
    """Return the test image of each row. A name may begin with more folders than the set's path, or with fewer."""
    rows_of: dict[str, list[int]] = {}
    for row, path in enumerate(test.path_N):
        rows_of.setdefault(path, []).append(row)  # a frame may be in several tracklets
    row_of = {path: rows[0] for path, rows in rows_of.items()}
    ends = _unique_ends(row_of)
    names = list(features.path_N or ())
    rows = [row_of.get(name, ends.get(name, _shortened(name, row_of))) for name in names]
    known = [row for row in rows if row is not None]
    unknown = [name for name, row in zip(names, rows, strict=True) if row is None]
    if unknown:
        raise DataError(
            f"{features.file}: {len(unknown):,} of {len(names):,} names are no image of the test part, such as "
            f"{unknown[0]} (its own are such as {test.path_N[0]}). These are features of another set, trial or "
            "conversion: name the right DATASET, or leave these rows out"
        )
    by_row: dict[int, str] = {}
    for name, row in zip(names, known, strict=True):
        if by_row.setdefault(row, name) != name:
            raise DataError(f"{features.file}: {by_row[row]} and {name} are the same image. Keep one of them")
    left = {row: iter(rows_of[test.path_N[row]]) for row in by_row}
    placed = [next(left[row], row) for row in known]  # the second of a name is the frame of the second tracklet
    missing = sorted(set(range(len(test.path_N))) - set(placed))
    if missing:
        raise DataError(
            f"{features.file}: lacks {len(missing):,} of the test part's {len(test.path_N):,} images, such as "
            f"{test.path_N[missing[0]]}. Add their features; a frame of two tracklets needs a row for each"
        )
    return np.array(placed, dtype=np.int64)


def _unique_ends(row_of: Mapping[str, int]) -> dict[str, int]:
    """Return which image's path alone ends with these folders and this name."""
    ends: dict[str, int | None] = {}
    for path, row in row_of.items():
        parts = path.split("/")
        for start in range(1, len(parts)):
            end = "/".join(parts[start:])
            ends[end] = None if end in ends else row
    return {end: row for end, row in ends.items() if row is not None}


def _shortened(name: str, row_of: dict[str, int]) -> int | None:
    parts = name.split("/")
    return next((row_of[end] for start in range(1, len(parts)) if (end := "/".join(parts[start:])) in row_of), None)


def _check_labels(features: Features, test: TestSet, row_F: np.ndarray) -> None:
    """Refuse labels beside the features that differ from the set's: identities may be numbered in another way."""
    for name, own_F, set_N in (
        ("modality", features.modality_N, test.modality_N),
        ("identity", features.person_N, test.person_N),
    ):
        if own_F is None:
            continue
        wanted_F = set_N[row_F]
        pairs = np.unique(np.stack([own_F, wanted_F]), axis=1).shape[1]
        same = pairs == len(np.unique(own_F)) == len(np.unique(wanted_F))
        if name == "modality":
            same = np.array_equal(own_F, wanted_F)
        if not same:
            raise DataError(
                f"{features.file}: its column of {name} contradicts the converted set's. These are features of another "
                "set, trial or order: name the right DATASET, or save the names of the images beside the features"
            )


def place_published(files: Sequence[Features], test: TestSet, trial: Trial) -> list[Placed]:
    """Put rows at the images of the published code's query list and of one trial's gallery: a file of both, or two
    files in turn. Raises DataError where the counts do not fit."""
    for features in files:
        if features.path_N is not None:
            raise DataError(f"{features.file}: names its images, so that their order counts nothing. Leave --order out")
    sides = published_rows(test, trial)
    counts = tuple(map(len, sides))
    placed, left = [], list(files)
    while left:
        first = left.pop(0)
        if len(first) == sum(counts):
            placed.append(_placed([(first, np.concatenate(sides))], len(test.person_N)))
        elif len(first) == counts[0] and left and len(left[0]) == counts[1]:
            second = left.pop(0)
            _check_pair(first, second)
            placed.append(_placed([(first, sides[0]), (second, sides[1])], len(test.person_N)))
        else:
            raise DataError(
                f"{first.file}: {len(first):,} rows. {trial.protocol}, trial {trial.number}, has {counts[0]:,} queries "
                f"and {counts[1]:,} gallery images: give one file of {sum(counts):,} rows, or a file of each, in turn"
            )
    return placed


def published_rows(test: TestSet, trial: Trial) -> tuple[np.ndarray, np.ndarray]:
    """Return the queries and the gallery as the published code lists them. Its loaders of SYSU-MM01 and LLCM go by
    identity, camera and name; that of RegDB goes by the list of the trial, whose order the converted set keeps."""
    if trial.protocol.startswith("regdb"):
        return np.sort(trial.query_rows), np.sort(trial.gallery_rows)
    return trial.query_rows, trial.gallery_rows


def _check_pair(first: Features, second: Features) -> None:
    for name, matrix_QD in first.matrices.items():
        other = second.matrices.get(name)
        if other is None or other.shape[1] != matrix_QD.shape[1]:
            raise DataError(
                f"{second.file}: its features are not as wide as those of {first.file}, or of another kind. Give "
                "queries and gallery of one network"
            )
