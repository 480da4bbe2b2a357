"""Finds features and labels in what a file holds, and refuses what cannot be ranked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dns.evaluation.embedding import FEATURES, WEIGHTS, Embeddings
from dns.judge.names import BEFORE_NECK, COMPARED, LABELS, MATRIX, NAMES, label_of
from dns.judge.readers import Content, read
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import DataError


@dataclass(frozen=True)
class Features:
    """The features of N images. matrices: name in the table -> float (N, D). path_N and the rest: what the file says of
    the images, None where it says nothing. compared: what the method compares, its own first, where the file says
    that."""

    file: Path
    matrices: Mapping[str, np.ndarray]
    path_N: Sequence[str] | None = None
    person_N: np.ndarray | None = None
    camera_N: np.ndarray | None = None
    modality_N: np.ndarray | None = None
    compared: Sequence[str] = ()

    @property
    def own(self) -> str:
        """Return the name of the matrix that the method compares: the first, where the file does not say it."""
        named = (FEATURES.get(name, "") for name in self.compared)
        return next((name for name in named if name in self.matrices), next(iter(self.matrices)))

    def __len__(self) -> int:
        return len(next(iter(self.matrices.values())))

    def row_name(self, row: int) -> str:
        return f"row {row + 1} ({self.path_N[row]})" if self.path_N is not None else f"row {row + 1}"


def read_features(file: Path) -> Features:
    """Read and check a file of features. Raises DataError, CheckpointError."""
    content = read(file)
    matrices = _matrices(file, content)
    labels = read_labels(file, content)
    columns = {f"{name}_N": column for name, column in labels.items()}
    features = Features(file, matrices, **columns, compared=_compared(content))
    for name, matrix_ND in matrices.items():
        _check(features, name, matrix_ND)
    for name, column in labels.items():
        if len(column) != len(features):
            raise DataError(f"{file}: {len(features)} rows of features, but {len(column)} of {name}. Save one of each")
    return features


def read_labels(file: Path, content: Content) -> dict[str, Any]:
    """Return path, person, camera and modality, those that there are. Raises DataError for a name that stands twice."""
    found = {label: _named(content, NAMES[label]) for label in LABELS}
    labels: dict[str, Any] = {}
    for label, column in found.items():
        if column is None:
            continue
        labels[label] = _texts(column) if label == "path" else _numbers(file, label, column)
    if "path" in labels:
        first: dict[str, int] = {}
        for row, path in enumerate(labels["path"]):
            if first.setdefault(path, row) != row:
                raise DataError(f"{file}: rows {first[path] + 1} and {row + 1} are both of {path}. Keep one of them")
    return labels


def _named(content: Content, names: Sequence[str]) -> Any:
    lower = {name.strip().lower(): value for name, value in content.items()}
    return next((lower[name] for name in names if name in lower), None)


def _matrices(file: Path, content: Content) -> dict[str, np.ndarray]:
    both = {BEFORE_NECK, NAMES["vectors"][0]} <= content.keys()
    if both:
        bn, z = (_matrix(file, array) for array in (content[NAMES["vectors"][0]], content[BEFORE_NECK]))
        pair = Embeddings(torch.from_numpy(bn), torch.from_numpy(z))
        compared = _compared(content)
        names = [*Embeddings._fields, *(name for name in WEIGHTS if name in compared and bn.shape == z.shape)]
        return {FEATURES[name]: pair.compared(name).numpy() for name in names}
    array = _named(content, NAMES["vectors"])
    if array is None:
        rest = {name: value for name, value in content.items() if label_of(name) is None}
        wide = [value for value in rest.values() if getattr(value, "ndim", 0) > 1 and value.dtype.kind in "fiu"]
        if len(wide) != 1:
            held = ", ".join(sorted(content)) or "nothing"
            raise DataError(f"{file}: which array holds the features? It holds {held}. Name one of them {MATRIX!r}")
        (array,) = wide
    return {MATRIX: _matrix(file, array)}


def _compared(content: Content) -> list[str]:
    return _texts(content[COMPARED]) if COMPARED in content else []  # older files hold none


def _matrix(file: Path, array: np.ndarray) -> np.ndarray:
    """Return the array as float32 or float64 (N, D); axes of length 1 behind the second are dropped."""
    array = np.asarray(array)
    if array.ndim > 2 and set(array.shape[2:]) == {1}:
        array = array.reshape(array.shape[:2])
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fiu":
        shape = " x ".join(map(str, array.shape))
        raise DataError(
            f"{file}: the features are {shape or 'one number'} of {array.dtype}, not images x numbers. Save a row an "
            "image"
        )
    return array.astype(np.float64 if array.dtype == np.float64 else np.float32)


def _check(features: Features, name: str, matrix_ND: np.ndarray) -> None:
    """Raise DataError for numbers that cannot be compared."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("nd,nd->n", matrix_ND, matrix_ND, dtype=np.float64)
    for problem, wrong in (("holds NaN or inf", ~np.isfinite(squares)), ("is zero throughout", squares == 0)):
        rows = np.flatnonzero(wrong)
        if rows.size:
            raise DataError(
                f"{features.file}: {features.row_name(int(rows[0]))} of {name} {problem}, one of {rows.size:,} such "
                f"rows among {len(wrong):,}. Compute the features again"
            )


def _numbers(file: Path, label: str, column: Any) -> np.ndarray:
    """Return int64 labels; modalities may be words."""
    words = {modality.name.lower(): str(int(modality)) for modality in Modality}
    column = np.asarray(column).ravel()
    if column.dtype.kind not in "fiu":
        texts = [text.lower() for text in _texts(column)]
        column = np.array([words.get(text, text) if label == "modality" else text for text in texts])
    try:
        with np.errstate(invalid="ignore"):
            numbers = column.astype(np.float64)
            whole = numbers.astype(np.int64)
    except ValueError:
        whole, numbers = np.zeros(1), np.ones(1)
    allowed = np.isin(whole, list(Modality)) if label == "modality" else True
    if not ((whole == numbers) & allowed).all():
        kinds = "0 or visible, 1 or infrared, 2 or sketch" if label == "modality" else "whole numbers"
        raise DataError(f"{file}: its column of {label} holds other things than {kinds}. Correct it")
    return whole


def _texts(column: Any) -> list[str]:
    """Return a column of names; MATLAB's cells hold an array each, and its matrices of letters are filled up."""
    cells = column if isinstance(column, list) else np.asarray(column).ravel()
    texts = [str(np.asarray(cell).ravel()[0]) if np.asarray(cell).size else "" for cell in cells]
    return [text.strip().replace("\\", "/").removeprefix("./") for text in texts]
