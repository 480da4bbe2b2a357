"""Folders and images with names that have a meaning in a shell or in make: used as they are, or refused."""

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import eval as eval_script
from ffcv_convert.beton import open_beton
from ffcv_convert.convert import convert
from ffcv_convert.datasets import synthetic
from ffcv_convert.images import ImageFormat
from tests.conftest import REPOSITORY
from tests.faults.conftest import Tally
from tests.faults.failing_images import draw_custom_set
from tests.faults.training_child import Child, server, training

NAMES = [
    "a b", "it's", 'a "b"', "$HOME", "$(touch ran)", "`touch ran`", "a; touch ran", "a & touch ran", "a | touch ran",
    "*", "~", "-x", "#a", "a\\", "a\nb", "{trial}", "%s", "caf\u00e9", os.fsdecode(b"caf\xe9"),
]  # fmt: skip


def call(*arguments: object, cwd: Path) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "ffcv_convert", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "utf-8:strict"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, timeout=120)


def test_folders_and_images_of_any_name_are_converted(tmp_path: Path, tally: Tally, times) -> None:
    for number, name in enumerate(NAMES[:: times(6, 1)]):
        top = tmp_path / str(number)
        root = draw_custom_set(top / name / "custom", identities=1)
        for modality in ("visible", "infrared"):
            (root / "train" / modality / "1" / "a.png").rename(root / "train" / modality / "1" / f"{name}.png")
        folders = [f"--data-root=./{name}", f"--beton-root=./{name}/Beton"]  # ~ alone is the home folder
        for command in (["convert", "--height-px=24", "--width-px=12"], ["convert"], ["verify", "--deep"]):
            done = call(*command, *folders, "--dataset=custom", cwd=top)
            tally.did("hostile_inputs")
            assert done.returncode == 0, (name, command, done.stderr.decode())
        train = open_beton(top / name / "Beton" / "custom" / "train.beton")
        assert train.manifest.column("path") == [f"train/{m}/1/{name}.png" for m in ("visible", "infrared")]
        assert not list(tmp_path.rglob("ran"))


def test_training_and_testing_in_folders_of_any_name(data_root: Path, tmp_path: Path, tally: Tally, times) -> None:
    convert(synthetic.DATASET, data_root, tmp_path / "Beton", ImageFormat(32, 16), workers=1)
    names = [name for name in NAMES if "{trial}" not in name]  # which stands for a number here
    with server():
        for name in names[:: times(9, 2)]:
            betons, run = tmp_path / name / "Beton", tmp_path / name / name
            shutil.copytree(tmp_path / "Beton", betons)
            code, said = training(betons, run, "--optim.epochs=1", "--run.save_minutes=0").end()
            assert code == 0, said
            again = training(betons, run, "--optim.epochs=1").end()
            assert again[0] == 0, again[1]
            options = [f"--eval.checkpoint={run / 'last.pt'}", f"--eval.export={tmp_path / name / name}.npz"]
            code, said = Child(partial(eval_script.evaluate, [*options, "--engine.precision=fp32"])).end()
            assert code == 0, said
            assert (tmp_path / name / f"{name}.npz").exists()
            tally.did("hostile_inputs")
            shutil.rmtree(run)
    assert not list(tmp_path.rglob("ran"))
