"""The synthetic set: LLCM's layout, the same bytes for the same options, complete or not at all."""

import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets import llcm
from ffcv_convert.records import check_records
from ffcv_convert.synthetic import Options, draw, synthesise
from tests.conftest import REPOSITORY, SMALL
from tests.support.refusals import assert_tells, refusal

TINY = Options(train_identities=2, test_identities=1, train_images=2, test_images=1, height_px=32)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny") / "Dataset" / "synthetic"
    synthesise(root, TINY, workers=1)
    return root


def test_layout_is_llcms(data_root: Path) -> None:
    root = data_root / "synthetic"
    images = [str(path.relative_to(root)) for path in root.rglob("*.jpg")]
    train = re.compile(r"(vis|nir)/(\d{4})/\2_c0[1-9]_s\d{6}_f\d{4}_\1\.jpg")
    test = re.compile(r"test_(vis|nir)/cam([1-9])/(\d{4})/\3_c0\2_s\d{6}_f\d{4}_\1\.jpg")
    assert all(train.fullmatch(name) or test.fullmatch(name) for name in images)
    assert {path.name for path in (root / "test_vis").iterdir()} == {f"cam{n}" for n in range(1, 10)}
    assert {path.name for path in (root / "test_nir").iterdir()} == {f"cam{n}" for n in (1, 2, 4, 5, 6, 7, 8, 9)}
    assert not [name for name in images if "_c03_" in name and name.endswith("_nir.jpg")]
    assert {path.name for path in root.iterdir()} == {"vis", "nir", "test_vis", "test_nir", "idx", "synthetic.json"}
    assert (root / "idx" / "test_id.txt").read_text() == "9,10,11,12,13\n"
    assert re.fullmatch(r"(nir/\S+ \d+\n)+", (root / "idx" / "train_nir.txt").read_text())


def test_listing_has_the_images_that_were_asked_for(data_root: Path) -> None:
    records = llcm.list_records(data_root / "synthetic")
    check_records(records, data_root / "synthetic")
    count = {
        (split, modality): sum((r.split, r.modality) == (split, modality) for r in records)
        for split in ("train", "test")
        for modality in llcm.CAMERAS
    }
    assert count == {
        ("train", Modality.VISIBLE): SMALL.train_identities * SMALL.train_images,
        ("train", Modality.INFRARED): SMALL.train_identities * SMALL.train_images,
        ("test", Modality.VISIBLE): SMALL.test_identities * SMALL.test_images * 9,
        ("test", Modality.INFRARED): SMALL.test_identities * SMALL.test_images * 8,
    }
    assert all((data_root / "synthetic" / record.image).is_file() for record in records)
    assert {r.person for r in records if r.split == "train"} == set(range(SMALL.train_identities))
    folders = {split: {r.image.split("/")[-2] for r in records if r.split == split} for split in ("train", "test")}
    assert not folders["train"] & folders["test"]


def test_bytes_follow_from_the_options_whatever_the_number_of_workers(tiny: Path, tmp_path: Path) -> None:
    synthesise(tmp_path / "again", TINY, workers=2)
    assert contents(tmp_path / "again") == contents(tiny)
    synthesise(tmp_path / "other", Options(**{**vars(TINY), "seed": 1}), workers=1)
    first, other = (set(contents(root).values()) for root in (tiny, tmp_path / "other"))
    assert len(first & other) == 1  # test_id.txt


def test_second_call_writes_nothing_and_other_options_are_refused(tiny: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny.parent.rglob("*")}
    assert synthesise(tiny, TINY, workers=1) == 0
    with refusal(DataError, tiny):
        synthesise(tiny, SMALL, workers=1)
    assert {path: path.stat().st_mtime_ns for path in tiny.parent.rglob("*")} == before


@pytest.mark.parametrize("text", [None, "", "[]", "{}", "not JSON"])
def test_a_folder_that_is_no_synthetic_set_is_not_touched(tmp_path: Path, text: str | None) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    if text is not None:
        (tmp_path / "mine" / "synthetic.json").write_text(text)
    before = contents(tmp_path)
    for root in (tmp_path / "mine", tmp_path / "mine" / "thesis.txt"):
        with refusal(DataError, root):
            synthesise(root, TINY, workers=1)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["train_identities", "test_identities", "train_images", "test_images"])
def test_counts_below_1_are_refused(name: str) -> None:
    with refusal(DataError, f"{name} = 0"):
        Options(**{name: 0})


def test_bad_height_and_seed_are_refused() -> None:
    with refusal(DataError, "height_px = 31"):
        Options(height_px=31)
    with refusal(DataError, "seed = -1"):
        Options(seed=-1)


def test_killed_half_way_leaves_no_set_no_process_and_the_next_call_completes(tiny: Path, tmp_path: Path) -> None:
    root, partial = tmp_path / "synthetic", tmp_path / "synthetic.dns-ffcv.partial"
    command = [sys.executable, "-m", "ffcv_convert", "synthesise", "--root", str(root), "--workers", "1"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not any(partial.rglob("*.jpg")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)  # its workers hold these pipes: they end with it
    assert not root.exists()
    assert partial.is_dir()
    assert synthesise(root, TINY, workers=1) == len(list(root.rglob("*.jpg")))
    assert contents(root) == contents(tiny)
    assert os.listdir(tmp_path) == ["synthetic"]


def test_a_folder_of_the_user_s_is_not_taken_for_what_a_killed_process_left(tmp_path: Path) -> None:
    (tmp_path / "synthetic.partial").mkdir()
    (tmp_path / "synthetic.partial" / "thesis.txt").write_text("x")
    before = contents(tmp_path)
    synthesise(tmp_path / "synthetic", TINY, workers=1)
    assert before.items() <= contents(tmp_path).items()
    assert sorted(os.listdir(tmp_path)) == ["synthetic", "synthetic.partial"]


def test_nothing_is_drawn_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "synthetic.dns-ffcv.partial").symlink_to("mine")
    with refusal(DataError, tmp_path / "synthetic.dns-ffcv.partial"):
        synthesise(tmp_path / "synthetic", TINY, workers=1)
    assert os.listdir(tmp_path / "mine") == []


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(draw, "_draw", stop)
    with pytest.raises(KeyboardInterrupt):
        synthesise(tmp_path / "synthetic", TINY, workers=1)
    assert os.listdir(tmp_path) == []


def test_two_at_once_the_second_is_refused(tmp_path: Path) -> None:
    (tmp_path / "synthetic.dns-ffcv.partial").mkdir()
    (tmp_path / "synthetic.dns-ffcv.partial" / "first.jpg").touch()
    first = os.open(tmp_path / "synthetic.dns-ffcv.partial", os.O_RDONLY)
    fcntl.flock(first, fcntl.LOCK_EX)
    with refusal(DataError, tmp_path / "synthetic.dns-ffcv.partial", "another process"):
        synthesise(tmp_path / "synthetic", TINY, workers=1)
    os.close(first)
    assert (tmp_path / "synthetic.dns-ffcv.partial" / "first.jpg").exists()


def test_without_shared_memory_one_process_draws_the_same_bytes(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    class Barred:
        def Lock(self) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(draw, "get_context", lambda _: Barred())
    synthesise(tmp_path / "again", TINY, workers=2)
    assert contents(tmp_path / "again") == contents(tiny)
    assert_tells(capsys.readouterr().err, "note", "dev/shm")
