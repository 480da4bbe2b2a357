"""Every format gives the same features; what is damaged, hostile or of another set ends in a message."""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from dns.evaluation.protocols import INFRARED, VISIBLE
from dns.judge import readers
from dns.judge.__main__ import main
from dns.judge.features import Features, read_features
from dns.judge.orders import place
from ffcv_convert.common.errors import CheckpointError, DataError
from tests.support.made_sets import make_set
from tests.support.refusals import refusal

MATRIX = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
PATHS = ["cam1/a b.jpg", "cam1/b.jpg", "cam2/c.jpg", "cam2/long.jpg"]
PERSONS = np.array([1, 1, 2, 2])
MODALITY = np.array([0, 1, 0, 1])


def write_csv(path: Path) -> None:
    lines = [
        f"{name},{person},{('visible', 'infrared')[modality]},{','.join(map(repr, row.astype(float).tolist()))}"
        for name, person, modality, row in zip(PATHS, PERSONS, MODALITY, MATRIX, strict=True)
    ]
    path.write_text("\n".join(["path,identity,modality,x,y,z", *lines]))


def write_mat73(path: Path) -> None:
    """As MATLAB does: a block of 512 bytes before the HDF5, axes reversed, cells as references to letters."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:
        file["features"] = MATRIX.T
        file["persons"], file["modality"] = PERSONS[None].astype(float), MODALITY[None].astype(float)
        cells = []
        for number, name in enumerate(PATHS):
            file[f"#refs#/{number}"] = np.array([[ord(letter)] for letter in name], dtype=np.uint16)
            cells.append(file[f"#refs#/{number}"].ref)
        file.create_dataset("paths", (1, len(cells)), dtype=h5py.ref_dtype)[0] = cells
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file")


CELLS = np.empty((4, 1), dtype=object)
CELLS[:, 0] = PATHS
COLUMNS = {"persons": PERSONS, "modality": MODALITY}
WRITERS: dict[str, Callable[[Path], object]] = {
    "a.npz": lambda path: np.savez(path, feats=MATRIX, paths=np.array(PATHS), **COLUMNS),
    "packed.npz": lambda path: np.savez_compressed(path, anything=MATRIX, paths=np.array(PATHS), **COLUMNS),
    "a.csv": write_csv,
    "a.pt": lambda path: torch.save(
        {"features": torch.from_numpy(MATRIX), "paths": PATHS, "persons": PERSONS.tolist(),
         "modality": torch.from_numpy(MODALITY)}, path,
    ),
    "cells.mat": lambda path: savemat(path, {"features": MATRIX, "paths": CELLS, **COLUMNS}),
    "letters.mat": lambda path: savemat(path, {"features": MATRIX, "paths": np.array(PATHS), **COLUMNS}),
    "new.mat": write_mat73,
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    found = read_features(tmp_path / name)
    (matrix,) = found.matrices.values()
    assert np.array_equal(matrix.astype(np.float32), MATRIX)
    assert list(found.path_N or []) == PATHS
    assert np.array_equal(found.person_N, PERSONS)
    assert np.array_equal(found.modality_N, MODALITY)
    assert found.camera_N is None


@pytest.mark.parametrize("name", ["a.npy", "a.csv", "a.pt", "half.pt", "whole.npy"])
def test_a_bare_matrix(name: str, tmp_path: Path) -> None:
    matrix = np.round(MATRIX * 4) if name == "whole.npy" else MATRIX
    if name.endswith("npy"):
        np.save(tmp_path / name, matrix.astype(np.int8) if name == "whole.npy" else matrix)
    elif name == "a.csv":
        np.savetxt(tmp_path / name, MATRIX, delimiter=",", fmt="%.9g")
    else:
        matrix = torch.from_numpy(MATRIX).to(torch.bfloat16 if name == "half.pt" else torch.float32)
        torch.save(matrix, tmp_path / name)
        matrix = matrix.float().numpy()
    found = read_features(tmp_path / name)
    assert np.array_equal(found.matrices["features"].astype(np.float32), matrix)
    assert found.path_N is None


class Hostile:
    def __reduce__(self) -> tuple:
        return (pytest.fail, ("code was run",))


def shaped(shape: str, kind: str = "<f4") -> bytes:
    """An .npy that claims to hold more than it does."""
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def objects_npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Hostile()], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def mat_bytes() -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, {"features": MATRIX})
    return buffer.getvalue()


HOSTILE = {
    "object.npy": objects_npy(),
    "objects.npz": zipped("features.npy", objects_npy()),
    "pickle.npy": pickle.dumps(Hostile()),
    "pickle.pt": pickle.dumps(Hostile()),
    "huge.npy": shaped("(1000000000000, 4)"),
    "huge.npz": zipped("features.npy", shaped("(1000000000000, 4)")),
    "negative.npy": shaped("(-4, 4)"),
    "text.npz": b"not a zip file",
    "empty.npz": b"",
    "empty.npy": b"",
    "empty.csv": b"",
    "empty.pt": b"",
    "empty.mat": b"",
    "cut.mat": mat_bytes()[:-20],
    "short.mat": mat_bytes()[:100],
    "turned.mat": mat_bytes()[:140] + b"\xff" * 40 + mat_bytes()[180:],
    "hdf5.mat": b"MATLAB 7.3".ljust(512) + readers.HDF5_MARK + b"\0" * 40,
    "letters.csv": b"1,2,3\n4,five,6\n",
    "ragged.csv": b"1,2,3\n4,5\n",
    "binary.csv": b"\xff\xfe\x00\x01",
    "nul.csv": b"a\x00b,1\n",
    "header.csv": b"path,x,y\n",
    "words.csv": b"identity,modality,x\n1,thermal,3\n",
    "half.csv": b"identity,x\n1.5,3\n",
    "inf.csv": b"identity,x\ninf,3\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_and_damaged_files_end_in_a_message(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(HOSTILE[name])
    with pytest.raises((DataError, CheckpointError)) as caught:
        read_features(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))


def test_a_pt_of_code_is_not_run(tmp_path: Path) -> None:
    torch.save({"features": Hostile()}, tmp_path / "a.pt")
    with refusal(CheckpointError, tmp_path / "a.pt"):
        read_features(tmp_path / "a.pt")


def test_a_small_file_may_not_unpack_to_more_than_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "free_bytes", lambda device: 1_000_000)
    np.savez_compressed(tmp_path / "a.npz", features=np.zeros((1000, 1000)))
    savemat(tmp_path / "a.mat", {"features": np.zeros((1000, 1000))}, do_compression=True)
    for name in ("a.npz", "a.mat"):
        with refusal(DataError, tmp_path / name, "0.0 GB"):
            read_features(tmp_path / name)


def test_a_file_of_matlab_that_points_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h5py = pytest.importorskip("h5py")
    (tmp_path / "secret").write_bytes(b"\1" * 64)
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file.create_dataset("features", (4, 2), "f8", external=[(str(tmp_path / "secret"), 0, 64)])
    with refusal(DataError, tmp_path / "a.mat", "features"):
        read_features(tmp_path / "a.mat")
    with h5py.File(tmp_path / "b.mat", "w") as file:
        file.create_dataset("features", (10**9, 10**5), "f8", chunks=(1, 10**5))
    with refusal(DataError, tmp_path / "b.mat", "800000.0 GB"):
        read_features(tmp_path / "b.mat")
    monkeypatch.setattr(readers, "find_spec", lambda name: None)
    with refusal(DataError, tmp_path / "b.mat", ".venv/bin/pip install '.[mat73]'"):
        read_features(tmp_path / "b.mat")


def test_other_endings_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1 2 3")
    with refusal(DataError, tmp_path / "a.txt", ".npz, .npy, .csv, .pt, .pth, .mat"):
        read_features(tmp_path / "a.txt")
    with refusal(DataError, tmp_path / "a.npz"):
        read_features(tmp_path / "a.npz")


@pytest.mark.parametrize(("wrong", "problem"), [(np.nan, "NaN"), (np.inf, "inf"), (0, "zero")])
def test_numbers_that_cannot_be_compared(wrong: float, problem: str, tmp_path: Path) -> None:
    matrix = MATRIX.copy()
    matrix[2] = wrong
    np.savez(tmp_path / "a.npz", features=matrix, paths=np.array(PATHS))
    with refusal(DataError, tmp_path / "a.npz", 3, PATHS[2], problem):
        read_features(tmp_path / "a.npz")


def test_names_that_stand_twice(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", features=MATRIX, paths=np.array([*PATHS[:3], PATHS[1]]))
    with refusal(DataError, tmp_path / "a.npz", 2, 4, PATHS[1]):
        read_features(tmp_path / "a.npz")


def test_several_arrays_without_a_known_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=MATRIX, two=MATRIX)
    with refusal(DataError, tmp_path / "a.npz", "one, two"):
        read_features(tmp_path / "a.npz")


def test_as_many_labels_as_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", features=MATRIX, paths=np.array(PATHS[:3]))
    with refusal(DataError, tmp_path / "a.npz", 4, 3, "path"):
        read_features(tmp_path / "a.npz")


SET = make_set(
    [(person, 1, modality, f"LLCM/{path}") for person, modality, path in zip(PERSONS, MODALITY, PATHS, strict=True)]
)


def given(paths: list[str] | None, rows: int = 4, **labels: np.ndarray) -> Features:
    return Features(Path("a.npz"), {"features": np.ones((rows, 2), np.float32)}, paths, **labels)


def test_features_of_another_set_are_refused() -> None:
    with refusal(DataError, "a.npz", 3, 4):
        place(given(None, 3), SET)
    with refusal(DataError, "a.npz", 4, "0001_c1.jpg"):
        place(given(["0001_c1.jpg", "b", "c", "d"]), SET)
    with refusal(DataError, "a.npz", 1, f"LLCM/{PATHS[3]}"):
        place(given(PATHS[:3], 3), SET)
    with refusal(DataError, "a.npz", f"LLCM/{PATHS[1]}", PATHS[1]):
        place(given([*PATHS[:3], f"LLCM/{PATHS[1]}"]), SET)
    with refusal(DataError, "a.npz", "identity"):
        place(given(None, person_N=np.array([1, 2, 1, 2])), SET)
    with refusal(DataError, "a.npz", "modality"):
        place(given(None, modality_N=np.array([1, 0, 0, 1])), SET)


def test_identities_may_be_numbered_in_another_way() -> None:
    placed = place(given(PATHS, person_N=np.array([70, 70, 3, 3])), SET)
    assert placed.given_N.all()


def test_a_name_that_ends_two_paths_is_refused() -> None:
    twice = make_set([(1, 1, VISIBLE, "cam1/a.jpg"), (1, 2, INFRARED, "cam2/a.jpg")])
    with refusal(DataError, "a.npz", 2, "a.jpg"):
        place(given(["a.jpg", "b.jpg"], 2), twice)


def test_rows_follow_their_names() -> None:
    order = np.random.default_rng(1).permutation(20)
    test = make_set([(1, 1, VISIBLE, f"f/{row}.jpg") for row in range(20)])
    matrix = np.arange(1, 21, dtype=np.float32)[:, None]
    placed = place(Features(Path("a.npz"), {"features": matrix}, [f"/elsewhere/f/{row}.jpg" for row in order]), test)
    assert np.array_equal(placed.matrices["features"][order], matrix)


@pytest.mark.parametrize(
    ("arguments", "holds"),
    [
        (["--claim=rank1"], "--claim"),
        (["--protocol=llcm-i2v"], "--protocol"),
        (["--dataset=nothing"], "--labels"),
        (["--order=published", "--trial=11"], "--trial=11"),
    ],
)
def test_the_program_ends_with_exit_code_2(
    arguments: list[str], holds: str, beton_root: Path, tmp_path: Path, refused: Callable
) -> None:
    np.save(tmp_path / "a.npy", MATRIX)
    assert holds in refused(main, [tmp_path / "a.npy", f"--beton-root={beton_root}", *arguments])
