"""Reads files of features: a function a format, each of which returns the arrays of a file by their names.

Files may come from elsewhere and be damaged or hostile: nothing in them is run, and none may unpack to more than the
memory that is free.
"""

import csv
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dns.evaluation.memory import free_bytes
from dns.judge.names import MATRIX, label_of
from dns.training import checkpoint_reader
from ffcv_convert.common.errors import DataError, UserError

Content = Mapping[str, Any]  # name -> array, or a list of names
HDF5_MARK = b"\x89HDF\r\n\x1a\n"
HDF5_PLACES = (0, 512)  # where it stands: in a plain HDF5 file, and in MATLAB's


def read(path: Path) -> Content:
    """Read a file of features by the ending of its name. Raises DataError or CheckpointError."""
    kind = path.suffix.lower()
    if kind not in READERS:
        raise DataError(f"{path}: ends in none of {', '.join(READERS)}. Save the features in one of these formats")
    if not path.is_file():
        raise DataError(f"{path}: no such file. Name a file of features, such as one written by --eval.export")
    with _readable(path):
        return READERS[kind](path)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what libraries raise on damaged files into a DataError."""
    try:
        yield
    except (UserError, KeyboardInterrupt):
        raise
    except MemoryError:
        raise DataError(f"{path}: claims to hold more than the memory that is free. Get the file again") from None
    except Exception as error:  # zip, zlib, value, key, type and index errors, by format and kind of damage
        raise DataError(
            f"{path}: not readable as {path.suffix} ({type(error).__name__}): cut short, damaged or of another format. "
            "Get the file again, or save it again"
        ) from None


def _check_size(path: Path, size_bytes: int) -> None:
    free = free_bytes(torch.device("cpu"))
    if size_bytes > free:
        raise DataError(
            f"{path}: unpacks to {size_bytes / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory are free. Save the "
            "features alone, or take a machine with more memory"
        )


def _no_objects(path: Path, content: Content) -> Content:
    """Refuse arrays of Python objects, which numpy reads by running code; they were not read."""
    for name, array in content.items():
        if array.dtype.hasobject:
            raise DataError(f"{path}: {name} holds Python objects, not numbers. Save it as an array of numbers or text")
    return content


def read_npz(path: Path) -> Content:
    with zipfile.ZipFile(path) as archive:
        _check_size(path, sum(member.file_size for member in archive.infolist()))
    try:
        with np.load(path, allow_pickle=False) as file:
            return _no_objects(path, {name: file[name] for name in file.files})
    except ValueError as error:
        raise _objects(path, error) from None


def read_npy(path: Path) -> Content:
    try:
        array = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise _objects(path, error) from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: is an archive, not a single array. Rename it to end in .npz")
    return {MATRIX: array}


def _objects(path: Path, error: ValueError) -> Exception:
    if "pickle" not in str(error).lower():
        return error
    return DataError(
        f"{path}: holds Python objects or is no NumPy file; none of it was run. Save plain arrays of numbers, and "
        "names as an array of text"
    )


def read_csv(path: Path) -> Content:
    """Read a line an image. With a header, columns that are named as labels are (see names.py), and all others
    are the features in order; without one, all columns are features."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file)
        first = next(lines, [])
        header = first if not all(map(_is_number, first)) else []
        labels = {number: name for number, name in enumerate(header) if label_of(name)}
        found: dict[str, list[str]] = {name: [] for name in labels.values()}
        vectors = []
        for number, line in enumerate(lines if header else chain([first], lines), start=2 if header else 1):
            if not line:
                continue
            if len(line) != len(first):
                raise DataError(f"{path} line {number}: {len(line)} cells, the first line has {len(first)}. Correct it")
            for column, name in labels.items():
                found[name].append(line[column])
            cells = [cell for column, cell in enumerate(line) if column not in labels]
            try:
                vectors.append(np.array(cells, dtype=np.float64))
            except ValueError:
                wrong = next(cell for cell in cells if not _is_number(cell))
                raise DataError(f"{path} line {number}: {wrong!r} is no number. Correct the line") from None
    content: dict[str, Any] = {name: np.array(column) for name, column in found.items()}
    if len(labels) < len(first):
        content[MATRIX] = np.stack(vectors) if vectors else np.zeros((0, len(first) - len(labels)))
    return content


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def read_pt(path: Path) -> Content:
    content = checkpoint_reader.read(path)
    if isinstance(content, Tensor):
        content = {MATRIX: content}
    if not isinstance(content, dict):
        raise DataError(
            f"{path}: holds a {type(content).__name__}, not a tensor or a dictionary of tensors. Save "
            "{'features': tensor, 'paths': list of names}"
        )
    return {str(name): _array(value) for name, value in content.items() if isinstance(value, (Tensor, list, tuple))}


def _array(value: Any) -> np.ndarray:
    if not isinstance(value, Tensor):
        return np.array(value)
    value = value.detach().to_dense() if value.is_sparse else value.detach()
    narrow = value.is_floating_point() and value.dtype != torch.float64  # NumPy knows no bfloat16
    return (value.float() if narrow else value).numpy()


def read_mat(path: Path) -> Content:
    """Read MATLAB's files, of version 5 (scipy) and of version 7.3, which are HDF5 (h5py)."""
    with open(path, "rb") as file:
        start = file.read(HDF5_PLACES[-1] + len(HDF5_MARK))
    if any(start[place:].startswith(HDF5_MARK) for place in HDF5_PLACES):
        return _read_mat73(path)
    from scipy.io import loadmat, whosmat  # not above: takes a while

    _check_size(path, sum(8 * int(np.prod(shape, dtype=float)) for _, shape, _ in whosmat(path)))
    return {name: array for name, array in loadmat(path).items() if isinstance(array, np.ndarray)}


def _read_mat73(path: Path) -> Content:
    if find_spec("h5py") is None:
        raise DataError(
            f"{path}: MATLAB 7.3, which needs a library that is not installed here: .venv/bin/pip install '.[mat73]'. "
            "Or save it in MATLAB with -v7"
        )
    import h5py  # not above: it is an extra

    with h5py.File(path, "r") as file:
        own = [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
        datasets = {name: file[name] for name in own if isinstance(file[name], h5py.Dataset)}
        for name, one in datasets.items():
            if one.external or one.is_virtual:
                raise DataError(f"{path}: {name} lies in another file. Save it whole")
        _check_size(path, sum(one.size * one.dtype.itemsize for one in datasets.values()))
        return {name: _of_matlab(file, one) for name, one in datasets.items()}


def _of_matlab(file: Any, dataset: Any) -> Any:
    """Return an array in MATLAB's order: HDF5 has its axes the other way round. Cells hold references to texts."""
    array = np.asarray(dataset[()])
    if array.dtype.hasobject:
        return np.array(["".join(map(chr, np.asarray(file[cell][()]).T.ravel("F"))) for cell in array.ravel()])
    return array.T


READERS: dict[str, Callable[[Path], Content]] = {
    ".npz": read_npz, ".npy": read_npy, ".csv": read_csv, ".pt": read_pt, ".pth": read_pt, ".mat": read_mat,
}  # fmt: skip
