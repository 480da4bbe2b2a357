"""python -m ffcv_convert: its output and exit codes."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ffcv_convert import __main__ as cli
from ffcv_convert.beton import open_beton
from ffcv_convert.datasets import DATASETS
from ffcv_convert.datasets.dataset import Dataset
from tests.conftest import REPOSITORY, SMALL, Run
from tests.faults.failing_images import draw_custom_set
from tests.support.refusals import assert_tells

SIZE = ["--height-px", "32", "--width-px", "16", "--workers", "2"]


def call(*arguments: object) -> int:
    """Call main(); returns the exit code, also argparse's."""
    try:
        return cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return int(stop.code or 0)


def test_a_name_that_is_not_utf_8_is_printed_escaped(capsys: pytest.CaptureFixture) -> None:
    cli.say("caf\udce9: up to date")
    assert capsys.readouterr().out == "caf\\udce9: up to date\n"


def test_convert_all_says_what_was_written_and_what_is_not_there(program: Run, data_root: Path, tmp_path: Path) -> None:
    arguments = ["-m", "ffcv_convert", "convert", "--data-root", data_root, "--beton-root", tmp_path, *SIZE]
    train, test = (tmp_path / "synthetic" / f"{part}.beton" for part in ("train", "test"))
    for state in ("written", "up to date"):
        done = program(*arguments)
        assert done.returncode == 0, done.stderr
        *absent, train_part, test_part, first, second = done.stdout.splitlines()
        assert absent == [
            f"{name}: not in {data_root}. To get {name}: {dataset.how_to_get}"
            for name, dataset in DATASETS.items()
            if name != "synthetic"
        ]
        assert train_part.startswith(
            "synthetic/train: 8 identities, 48 visible images of cameras 1 2 3 4 5 6 7 8 9, 48"
        )
        assert test_part.startswith("synthetic/test: ")
        assert [first, second] == [f"{train}: {state}, 32 x 16 px", f"{test}: {state}, 32 x 16 px"]
    assert open_beton(train).manifest.height_px == 32


@pytest.mark.parametrize(
    ("name", "near"),
    [("LLCM", None), ("Sysu", None), ("sysu-mm01", "sysu"), ("llcm ", "llcm"), ("MaSk1K", "market_sketch_1k"),
     ("PKU-Sketch", "pku_sketch"), ("reg-db", "regdb")],
)  # fmt: skip
def test_names_of_sets_are_understood_or_answered_with_the_right_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, near: str | None
) -> None:
    assert call("convert", "--data-root", tmp_path, "--dataset", name) == 2
    assert_tells(capsys.readouterr().err, *([name, f"Did you mean {near}"] if near else ["no such folder"]))


def test_a_set_of_no_given_size_has_its_own(data_root: Path, tmp_path: Path) -> None:
    common = ["convert", "--data-root", data_root, "--beton-root", tmp_path, "--dataset", "synthetic"]
    assert call(*common, "--encoding", "jpeg") == 0
    manifest = open_beton(tmp_path / "synthetic" / "test.beton").manifest
    assert (manifest.height_px, manifest.width_px, manifest.encoding) == (96, 48, "jpeg")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["convert", "--data-root", "nowhere"], "nowhere"),
        (["convert", "--data-root", "file"], "file"),
        (["convert", "--data-root", "empty"], "empty"),
        (["convert", "--data-root", "empty", "--dataset", "llcm"], "empty/LLCM"),
        (["convert", "--data-root", "empty", "--dataset", "synthetic"], "empty/synthetic"),
        (["convert", "--data-root", "hollow"], "hollow/LLCM/idx/train_vis.txt"),
        (["convert", "--data-root", "data", "--beton-root", "file"], "file/synthetic"),
        (["convert", "--data-root", "data", "--height-px", "30000"], "30000 x 48"),
        (["convert", "--dataset", "market"], "market_sketch_1k"),
        (["convert", "--height-px", "0"], "--height-px"),
        (["convert", "--width-px", "-4"], "--width-px"),
        (["convert", "--width-px", "4.5"], "--width-px"),
        (["convert", "--workers", "0"], "--workers"),
        (["convert", "--encoding", "png"], "--encoding"),
        (["convert", "--colour"], "--colour"),
        (["synthesise", "--root", "empty"], "empty"),
        (["synthesise", "--root", "new/set", "--train-identities", "0"], "--train-identities"),
        (["synthesise", "--root", "new/set", "--height-px", "31"], "height_px = 31"),
        (["synthesise", "--root", "new/set", "--seed", "-1"], "seed = -1"),
        (["synthesise", "--root", "file/set"], "'file'"),
        ([], "command"),
        (["verify"], "Beton"),
        (["verify", "--dataset", "llcm"], "Beton/llcm/train.beton"),
        (["verify", "--dataset", "llcm", "--workers", "0"], "--workers"),
    ],
)
def test_mistakes_end_with_2_and_a_message(
    data_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    named: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("empty").mkdir()
    Path("hollow/LLCM").mkdir(parents=True)
    Path("data").symlink_to(data_root)
    assert call(*arguments) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]  # without argparse's usage
    assert_tells("\n".join(errors), named)
    assert sorted(os.listdir()) == ["data", "empty", "file", "hollow"]


def test_a_bad_image_ends_with_2_and_its_name(
    data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(data_root, tmp_path / "data")
    image = sorted((tmp_path / "data" / "synthetic" / "test_nir").rglob("*.jpg"))[5]
    image.write_bytes(b"no image")
    assert call("convert", "--data-root", tmp_path / "data", "--beton-root", tmp_path / "beton", *SIZE) == 2
    assert_tells(capsys.readouterr().err, "error", image)
    assert os.listdir(tmp_path / "beton" / "synthetic") == []  # neither the part that could be written


@pytest.mark.parametrize("command", ["convert", "synthesise"])
def test_ctrl_c_ends_with_130(
    data_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "convert", stop)
    monkeypatch.setattr(cli.synthetic, "synthesise", stop)
    folder = {"convert": ["--data-root", data_root], "synthesise": ["--root", tmp_path / "synthetic"]}[command]
    assert call(command, *folder) == 130
    assert_tells(capsys.readouterr().err, "stopped")


def test_a_full_disk_ends_with_2_and_leaves_nothing(data_root: Path, tmp_path: Path) -> None:
    """A file size limit stands in for a full disk: both raise OSError while writing."""
    command = (
        f"ulimit -f 1000; exec '{sys.executable}' -m ffcv_convert convert --data-root '{data_root}' --beton-root ."
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert_tells(done.stderr, "error", "File too large")
    assert os.listdir(tmp_path / "synthetic") == []


def test_synthesise_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "new" / "set"
    small = ["--train-identities", 1, "--test-identities", 1, "--train-images", 1, "--test-images", 1]
    arguments = ["synthesise", "--root", root, *small, "--height-px", SMALL.height_px, "--workers", 1]
    assert call(*arguments) == 0
    assert capsys.readouterr().out == f"{root}: 19 images drawn\n"
    assert call(*arguments) == 0
    assert capsys.readouterr().out == f"{root}: up to date\n"


def test_converting_imports_neither_torch_nor_ffcv(program: Run, data_root: Path, tmp_path: Path) -> None:
    arguments = ["convert", "--data-root", str(data_root), "--beton-root", str(tmp_path), *SIZE]
    code = f"import sys; from ffcv_convert.__main__ import main; assert main({arguments!r}) == 0; print(*sys.modules)"
    done = program("-c", code)
    assert done.returncode == 0, done.stderr
    modules = set(done.stdout.splitlines()[-1].split())
    assert "ffcv_convert.writer" in modules
    assert not modules & {"torch", "torchvision", "ffcv", "pipelines", "dns"}


def test_a_broken_set_does_not_keep_the_others_from_being_converted(data_root: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "data" / "LLCM").mkdir(parents=True)
    (tmp_path / "data" / "synthetic").symlink_to(data_root / "synthetic")
    folders = ["--data-root", str(tmp_path / "data"), "--beton-root", str(tmp_path / "beton")]
    assert call("convert", *folders) == 2
    captured = capsys.readouterr()
    assert_tells(captured.err, tmp_path / "data" / "LLCM" / "idx" / "train_vis.txt", tmp_path / "data", "1 of 2")
    assert (tmp_path / "beton" / "synthetic" / "test.beton").exists()


@pytest.mark.parametrize("name", ["a link to itself", "a file in the place of a folder"])
def test_a_set_that_the_system_refuses_does_not_keep_the_others_from_being_converted(
    data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """SYSU-MM01 is converted first; its OSError is not a DataError."""
    sysu = tmp_path / "data" / "SYSU-MM01"
    for folder in ("exp", *(f"cam{camera}" for camera in range(1, 7))):
        (sysu / folder).mkdir(parents=True)
    for number, part in enumerate(("train", "val", "test"), start=1):
        (sysu / "exp" / f"{part}_id.txt").write_text(f"{number}\n")
    if name == "a link to itself":
        (sysu / "cam1" / "0001").symlink_to("0001")
    else:
        (sysu / "cam1" / "0001").touch()
    (tmp_path / "data" / "synthetic").symlink_to(data_root / "synthetic")
    folders = ["--data-root", tmp_path / "data", "--beton-root", tmp_path / "beton"]
    assert call("convert", *folders, *SIZE) == 2
    first, *_, last = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert_tells(first, sysu / "cam1" / "0001")
    assert_tells(last, tmp_path / "data", "1 of 2")
    assert (tmp_path / "beton" / "synthetic" / "test.beton").exists()


def test_a_set_that_the_system_refuses_does_not_keep_the_others_from_being_checked(
    beton_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refusing(dataset: Dataset, *arguments: Path, **options: Any) -> Iterator[str]:
        if dataset.name == "llcm":
            raise PermissionError(13, "Permission denied", "llcm/train.beton")
        yield f"{dataset.name} is good"

    for name in ("llcm", "synthetic"):
        shutil.copytree(beton_root / "synthetic", tmp_path / name)
    monkeypatch.setattr(cli, "verify", refusing)
    assert call("verify", "--beton-root", tmp_path) == 2
    captured = capsys.readouterr()
    assert captured.out == "synthetic is good\n"
    first, last = captured.err.splitlines()
    assert_tells(first, "error", "llcm/train.beton")
    assert_tells(last, "error", "1 of 2")


def test_a_first_conversion_that_failed_leaves_nothing_that_is_called_damaged(
    data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = draw_custom_set(tmp_path / "data" / "custom", identities=2)
    (root / "train/visible/1/a.png").write_bytes(b"no image")
    (root.parent / "synthetic").symlink_to(data_root / "synthetic")
    folders = ["--data-root", root.parent, "--beton-root", tmp_path / "beton"]
    assert call("convert", *folders, *SIZE) == 2
    assert os.listdir(tmp_path / "beton" / "custom") == []
    assert call("verify", *folders) == 0
    (tmp_path / "beton" / "synthetic" / "test.beton").unlink()
    capsys.readouterr()
    assert call("verify", *folders) == 2
    assert_tells(capsys.readouterr().err, tmp_path / "beton" / "synthetic" / "test.beton")


def test_names_that_a_terminal_would_obey_are_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = draw_custom_set(tmp_path / "data" / "custom", identities=2)
    (root / "train/visible/1/\x1b]0;owned\x07.png").write_bytes(b"no image")
    assert call("convert", "--data-root", root.parent, "--beton-root", tmp_path / "beton", *SIZE) == 2
    (root / "train/visible/1/\x1b]0;owned\x07.png").unlink()
    assert call("convert", "--data-root", root.parent, "--beton-root", tmp_path / "\x1b[31m", *SIZE) == 0
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err.replace("\x1b[A", "")  # tqdm's own
    assert "custom/train/visible/1/\\x1b]0;owned\\x07.png: " in captured.err
    assert "\\x1b[31m/custom/train.beton: written" in captured.out


def test_a_converted_set_without_its_raw_folder_is_used_as_it_is(beton_root: Path, tmp_path: Path, capsys) -> None:
    folders = ["--data-root", str(tmp_path / "gone"), "--beton-root", str(beton_root)]
    assert call("convert", "--dataset", "synthetic", *folders) == 0
    assert "is used as it is" in capsys.readouterr().out
