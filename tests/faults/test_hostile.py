"""Hostile lists, images and recipes: refused with the file, the problem and the next step."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import train_ffcv
from dns.training.config import read_config
from ffcv_convert.common.errors import ConfigError, DataError
from ffcv_convert.datasets import custom, llcm, pku_sketch, regdb
from ffcv_convert.datasets.dataset import Dataset
from ffcv_convert.images import ImageFormat
from tests.conftest import REPOSITORY, Refused
from tests.faults.conftest import Tally
from tests.faults.failing_images import bombs, draw_custom_set
from tests.support.refusals import assert_tells, refusal

SMALL = ImageFormat(24, 12)

LEADS_OUT = ["../x.jpg", "a/../../x.jpg", "a/..", "..", ".", "/etc/passwd", "//x.jpg", "a\0b.jpg", "x" * 5000 + ".jpg"]
LISTS: dict[str, tuple[Dataset, str, str]] = {
    "llcm": (llcm.DATASET, "idx/train_vis.txt", "{} 1\n"),
    "regdb": (regdb.DATASET, "idx/train_visible_1.txt", "{} 1\n"),
    "pku_sketch": (pku_sketch.DATASET, "trainPKUList_train.txt", "0 7 1 2 {}\n"),
    "custom": (custom.DATASET, "records.csv", 'path,person,camera,modality,split\n"{}",1,1,visible,train\n'),
}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("path", LEADS_OUT)
def test_a_list_that_names_a_path_outside_is_refused(tmp_path: Path, tally: Tally, name: str, path: str) -> None:
    dataset, file, line = LISTS[name]
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(line.format(path))
    with refusal(DataError, tmp_path, Path(file).name, "line", "names") as caught:
        dataset.list_records(tmp_path)
    tally.did("hostile_inputs")
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


# Prints, for each file, the message, by how many MB the peak memory grew, and the seconds it took.
LOAD = """
import json, pathlib, re, sys, time, warnings
warnings.simplefilter("ignore")
from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin
from ffcv_convert.common.errors import DataError
from ffcv_convert.images import ImageFormat, load_image
def peak_mb():  # of this process alone: ru_maxrss begins with that of the one that started it
    return int(re.search(r"VmHWM:\\s*(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1024
load_image(pathlib.Path(sys.argv[1]), ImageFormat())
for path in sys.argv[2:]:
    before, said, begin = peak_mb(), "", time.monotonic()
    try:
        load_image(pathlib.Path(path), ImageFormat())
    except DataError as error:
        said = str(error)
    print(json.dumps([said, peak_mb() - before, time.monotonic() - begin]))
"""


def test_a_bomb_is_refused_by_its_declared_size(tmp_path: Path, tally: Tally) -> None:
    """Before decoding, which would take 194 MB (true.png), half a minute (scans.jpg) or 10 GB (the others)."""
    good = draw_custom_set(tmp_path / "custom", identities=1) / "train/visible/1/a.png"
    files = []
    for name, content in bombs().items():
        files.append(tmp_path / name)
        files[-1].write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, good, *files], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    for file, line in zip(files, done.stdout.splitlines(), strict=True):
        message, grown_mb, seconds = json.loads(line)
        tally.did("hostile_inputs")
        assert message.startswith(f"{file}: ")
        assert re.search(r"\d+ x \d+|\d+ scans|exceeds limit|too large", message), "not by its declared size"
        assert grown_mb < 30, f"{file}: {grown_mb} MB"
        assert seconds < 5, f"{file}: {seconds} s"


PROGRAMS = ["!!python/object/apply:os.system [touch {0}]", "!!python/object/new:os.system [touch {0}]",
            "!!python/name:os.system", "!!python/object/apply:subprocess.run [[touch, {0}]]"]  # fmt: skip


def test_a_recipe_runs_no_program(tmp_path: Path, refused: Refused, tally: Tally) -> None:
    for number, text in enumerate(PROGRAMS):
        recipe = tmp_path / f"{number}.yaml"
        recipe.write_text(f"data:\n  set: {text.format(tmp_path / 'ran')}\n")
        with refusal(ConfigError, recipe):
            read_config(["--config-file", str(recipe)], description="")
        tally.did("hostile_inputs")
    assert_tells(refused(train_ffcv.train, ["--config-file", tmp_path / "0.yaml"]), tmp_path / "0.yaml")
    assert not (tmp_path / "ran").exists()
