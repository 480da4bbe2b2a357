"""SYSU-MM01's official draw of galleries, exp/rand_perm_cam.mat: read, or refused if it does not fit."""

import io
import os
import struct
import subprocess
from collections.abc import Callable
from contextlib import redirect_stdout
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.convert import convert
from ffcv_convert.datasets import read_permutations, sysu
from ffcv_convert.images import ImageFormat
from ffcv_convert.records import Record
from tests.conftest import Run
from tests.support.refusals import assert_tells, refusal
from tests.support.trees import touch, write

# (identity, camera) -> number of images. Test identities are 5, 7, 12: not every camera saw each.
COUNTS = {(3, 1): 2, (3, 3): 2, (5, 1): 13, (5, 2): 1, (5, 3): 4, (5, 5): 10, (7, 4): 11, (7, 6): 3, (12, 1): 3,
          (12, 2): 27, (12, 4): 2, (12, 5): 9, (12, 3): 12}  # fmt: skip
TESTED = [(5, 1), (5, 2), (5, 5), (7, 4), (12, 1), (12, 2), (12, 4), (12, 5)]
IDENTITIES = {1: 12, 2: 12, 3: 20, 4: 20, 5: 20, 6: 12}  # as in the real file, not all cameras' cells are as many
Permutations = dict[tuple[int, int], np.ndarray]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "SYSU-MM01"
    for (person, camera), count in COUNTS.items():
        touch(root, *(f"cam{camera}/{person:04d}/{number:04d}.jpg" for number in range(1, 2 * count, 2)))
    for name, text in {"train": "3", "val": "3", "test": "5,7,12"}.items():
        write(root, f"exp/{name}_id.txt", text)
    return root


@pytest.fixture
def permutations() -> Permutations:
    rng = np.random.default_rng(5)
    return {
        place: np.stack([rng.permutation(count) + 1 for _ in range(10)]).astype(np.uint8)
        for place, count in COUNTS.items()
    }


def save(root: Path, permutations: Permutations, name: str = "rand_perm_cam") -> Path:
    """Save in the official form: six cells, each with one cell per identity: 10 x images positions from 1, or empty."""
    cameras = np.empty((6, 1), dtype=object)
    for camera, identities in IDENTITIES.items():
        cells = np.empty((identities, 1), dtype=object)
        for person in range(1, identities + 1):
            cells[person - 1, 0] = permutations.get((person, camera), np.empty((0, 0)))
        cameras[camera - 1, 0] = cells
    path = root / "exp" / "rand_perm_cam.mat"
    savemat(path, {name: cameras})
    return path


@pytest.fixture
def read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader runs in this process, without a limit on memory: each process imports SciPy."""

    def run(command: list[object], **_: object) -> "subprocess.CompletedProcess[bytes]":
        said = io.StringIO()
        with redirect_stdout(said):
            read_permutations.main(*map(str, command[2:]))
        return subprocess.CompletedProcess(command, 0, said.getvalue().encode(), b"")

    monkeypatch.setattr(read_permutations, "bound_memory", lambda more_bytes: None)
    monkeypatch.setattr(sysu.subprocess, "run", run)


def of_test_part(root: Path) -> list[Record]:
    return [record for record in sysu.list_records(root) if record.split == "test"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
def test_a_trial_is_the_first_ten_of_each_permutation(tree: Path, permutations: Permutations, dtype: type) -> None:
    save(tree, {place: order.astype(dtype) for place, order in permutations.items()})
    records = of_test_part(tree)
    trials = sysu.list_trials(tree, "test", records)
    assert list(trials) == [f"official-{trial}" for trial in range(1, 11)]
    for trial in range(10):
        expected = []
        for person, camera in TESTED:
            names = sorted(path.name for path in (tree / f"cam{camera}" / f"{person:04d}").iterdir())
            for place in permutations[person, camera][trial][:10]:
                expected.append(f"cam{camera}/{person:04d}/{names[int(place) - 1]}")
        chosen = [records[number] for number in trials[f"official-{trial + 1}"]]
        assert [record.image for record in chosen] == expected
        assert {record.modality for record in chosen} == {Modality.VISIBLE}
        groups = [(key, len(list(group))) for key, group in groupby(chosen, lambda r: (r.person, r.camera))]
        assert groups == [(place, min(10, COUNTS[place])) for place in TESTED]


def test_no_file_no_trials_and_none_for_training(tree: Path, permutations: Permutations) -> None:
    records = of_test_part(tree)
    assert sysu.list_trials(tree, "test", records) == {}
    save(tree, permutations)
    assert sysu.list_trials(tree, "train", [r for r in sysu.list_records(tree) if r.split == "train"]) == {}


WRONG: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "one more image": lambda order: np.concatenate([order, np.full((10, 1), 12, np.uint8)], axis=1),
    "one less image": lambda order: np.where(order[:, 1:] == 11, order[:, :1], order[:, 1:]),
    "a repeated place": lambda order: np.where(order == 11, 1, order),
    "places from 0": lambda order: order - 1,
    "halves": lambda order: order + 0.5,
    "not a number": lambda order: np.where(order == 3, np.nan, order),
    "nine trials": lambda order: order[:9],
    "no trial": lambda order: order[:0],
    "transposed": lambda order: order.T,
    "nothing": lambda order: np.empty((0, 0)),
    "text": lambda order: np.array(["abc"] * 10),
    "one number": lambda order: np.array([[3]]),
}


@pytest.mark.usefixtures("read_here")
@pytest.mark.parametrize("name", WRONG)
def test_a_permutation_that_does_not_fit_its_folder_is_refused(
    tree: Path, permutations: Permutations, name: str
) -> None:
    permutations[7, 4] = WRONG[name](permutations[7, 4])
    path = save(tree, permutations)
    with refusal(DataError, path, "identity 7", "camera 4", "11 images", tree / "cam4" / "0007"):
        sysu.list_trials(tree, "test", of_test_part(tree))


def test_an_identity_behind_the_last_cell_is_refused(tree: Path, permutations: Permutations) -> None:
    save(tree, permutations)
    write(tree, "exp/test_id.txt", "5,13")
    touch(tree, "cam1/0013/0001.jpg")
    with refusal(DataError, tree / "exp" / "rand_perm_cam.mat", "identity 13", "camera 1", "1 images"):
        sysu.list_trials(tree, "test", of_test_part(tree))


def test_permutations_of_other_identities_do_not_matter(tree: Path, permutations: Permutations) -> None:
    save(tree, permutations)
    expected = sysu.list_trials(tree, "test", of_test_part(tree))
    for place in ((3, 1), (5, 3), (7, 6), (12, 3)):  # training, infrared
        permutations[place] = np.array([[9]])
    save(tree, permutations)
    assert sysu.list_trials(tree, "test", of_test_part(tree)) == expected


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-300])


def scramble(path: Path) -> None:
    good = path.read_bytes()
    path.write_bytes(good[:140] + bytes(byte ^ 255 for byte in good[140:400]) + good[400:])


DAMAGED: dict[str, Callable[[Path], object]] = {
    "cut short": cut,
    "scrambled": scramble,
    "head alone": lambda path: path.write_bytes(path.read_bytes()[:128]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("rand_perm_cam = {1, 2, 3}\n" * 40),
    "three cameras": lambda path: savemat(path, {"rand_perm_cam": np.array([[1], [2], [3]], dtype=object)}),
    "a matrix": lambda path: savemat(path, {"rand_perm_cam": np.eye(6)}),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a link to itself": lambda path: (path.unlink(), path.symlink_to(path)),
    "a link to nothing": lambda path: (path.unlink(), path.symlink_to("nothing")),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_refused(tree: Path, permutations: Permutations, name: str) -> None:
    path = save(tree, permutations)
    DAMAGED[name](path)
    with refusal(DataError, path, "official"):
        sysu.list_trials(tree, "test", of_test_part(tree))


def unpacks_to_290_mb(path: Path) -> None:
    cells = np.empty((6, 1), dtype=object)
    cells[:, 0] = [np.zeros((10, 600_000))] * 6
    savemat(path, {"rand_perm_cam": cells}, do_compression=True)


def declares_cells_without_end(path: Path) -> None:
    def element(kind: int, content: bytes) -> bytes:
        return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)

    def cells(name: bytes, count: int, content: bytes) -> bytes:
        head = element(6, struct.pack("<II", 1, 0)) + element(5, struct.pack("<ii", count, 1)) + element(1, name)
        return element(14, head + content)

    inner = cells(b"", 10**8, b"")
    path.write_bytes(b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + cells(b"rand_perm_cam", 6, 6 * inner))


# Prints the message and the peak memory in MB of the process that read the file.
READ = """
import pathlib, resource, sys
from ffcv_convert.datasets import read_permutations, sysu
from ffcv_convert.common.errors import DataError
limit = resource.getrlimit(resource.RLIMIT_DATA)
try:
    sysu.list_trials(pathlib.Path(sys.argv[1]), "test", [])
except DataError as error:
    print(error)
assert resource.getrlimit(resource.RLIMIT_DATA) == limit, "the limit is for the child process alone"
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


@pytest.mark.parametrize("bomb", [unpacks_to_290_mb, declares_cells_without_end])
def test_a_file_that_needs_more_memory_than_a_real_one_is_refused(
    tree: Path, program: Run, bomb: Callable[[Path], None]
) -> None:
    path = tree / "exp" / "rand_perm_cam.mat"
    bomb(path)
    assert path.stat().st_size < 500_000
    done = program("-c", READ, tree)
    assert done.returncode == 0, done.stderr
    message, peak_mb = done.stdout.splitlines()
    assert_tells(message, path, "MemoryError")
    assert float(peak_mb) < 300  # of which a third is SciPy


def test_a_compressed_file_with_another_variable_is_read(tree: Path, permutations: Permutations) -> None:
    path, records = save(tree, permutations), of_test_part(tree)
    expected = sysu.list_trials(tree, "test", records)
    variables = {"another": np.eye(99), "rand_perm_cam": loadmat(path)["rand_perm_cam"]}
    savemat(path, variables, do_compression=True)
    assert sysu.list_trials(tree, "test", records) == expected


def test_another_variable_stops_the_conversion(tree: Path, permutations: Permutations) -> None:
    save(tree, permutations, name="rand_perm_cam_2")
    with refusal(DataError, tree / "exp" / "rand_perm_cam.mat", "KeyError"):
        convert(sysu.DATASET, tree.parent, tree.parent / "Beton", ImageFormat(32, 16), workers=1)
    assert not (tree.parent / "Beton").exists()
