"""Data sets, pictures, recipes and names that would lead the programs astray: refused with file, problem, next step."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dns.training.config import read as read_recipe
from ffcv_convert.beton import open_beton
from ffcv_convert.common.errors import ConfigError, DataError
from ffcv_convert.convert import convert
from ffcv_convert.datasets import custom, llcm, market_sketch_1k, pku_sketch, regdb, sysu
from ffcv_convert.datasets.dataset import Dataset
from ffcv_convert.images import ImageFormat
from ffcv_convert.verify import verify
from tests.conftest import REPOSITORY, Run
from tests.faults.conftest import Tally
from tests.faults.failing_images import bombs, draw_custom_set

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
    with pytest.raises(DataError) as caught:
        dataset.list_records(tmp_path)
    tally.did("hostile_inputs")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: {Path(file).name} line ")
    assert message.endswith(", which is not below this folder. Correct the list")
    assert len(message) < 500 + len(str(tmp_path))


def picture_out(root: Path, outside: Path) -> None:
    (root / "train/visible/1/b.png").symlink_to(outside / "x.png")


def picture_out_in_steps(root: Path, outside: Path) -> None:
    (root / "step").symlink_to(outside)
    (root / "train/visible/1/b.png").symlink_to(root / "step" / "x.png")


def folder_out(root: Path, outside: Path) -> None:
    (root / "train/visible/1/a.png").unlink()
    (root / "train/visible/1").rmdir()
    (root / "train/visible/1").symlink_to(outside)


def folder_above_out(root: Path, outside: Path) -> None:
    (root / "train/visible").rename(outside / "visible")
    (root / "train/visible").symlink_to(outside / "visible")


def folder_beside(root: Path, outside: Path) -> None:
    """Whose name begins as the root's does."""
    beside = root.with_name(root.name + "-2")
    outside.rename(beside)
    (root / "train/visible/1/b.png").symlink_to("../../../../custom-2/x.png")


@pytest.mark.parametrize(
    "link", [picture_out, picture_out_in_steps, folder_out, folder_above_out, folder_beside], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("linked_root", [False, True])
def test_a_link_out_of_the_set_is_refused(
    tmp_path: Path, tally: Tally, link: Callable[[Path, Path], None], linked_root: bool
) -> None:
    data = tmp_path / "data"
    root = draw_custom_set((tmp_path / "disk" if linked_root else data) / "custom", identities=3)
    outside = tmp_path / "disk" / "outside"
    outside.mkdir(parents=True)
    shutil.copy(root / "train/visible/1/a.png", outside / "x.png")
    if linked_root:
        data.mkdir()
        (data / "custom").symlink_to(root)
    convert(custom.DATASET, data, tmp_path / "Beton", SMALL, workers=1)
    link(root, outside)
    if outside.exists():
        (outside / "secret").mkdir()
    with pytest.raises(
        DataError, match=r"custom/train/visible.*: a link to .*, which is not below .*\. Put the"
    ) as caught:
        convert(custom.DATASET, data, tmp_path / "Beton", SMALL, workers=1)
    assert "secret" not in str(caught.value)
    tally.did("hostile_inputs")


LISTED: dict[str, tuple[Dataset, list[str]]] = {
    "llcm": (llcm.DATASET, ["idx/train_vis.txt", "idx/test_id.txt", "idx"]),
    "sysu": (sysu.DATASET, ["exp/train_id.txt", "exp/val_id.txt", "exp/test_id.txt", "exp/rand_perm_cam.mat", "exp"]),
    "regdb": (regdb.DATASET, ["idx/train_visible_1.txt", "idx/test_thermal_10.txt", "idx"]),
    "pku_sketch": (pku_sketch.DATASET, ["trainPKUList_train.txt", "trainPKUList_test.txt"]),
    "market_sketch_1k": (market_sketch_1k.DATASET, ["photo", "photo/train", "sketch/A/query"]),
    "custom": (custom.DATASET, ["records.csv"]),
}


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, (_, files) in LISTED.items() for file in files])
def test_a_list_that_is_a_link_out_of_the_set_is_not_read(
    data_root_of: Callable[[str], Path], tmp_path: Path, tally: Tally, name: str, file: str
) -> None:
    """A message would show a line of it."""
    dataset, _ = LISTED[name]
    root = tmp_path / "data" / dataset.folders[0]
    if name == "custom":
        root.mkdir(parents=True)
    else:
        shutil.copytree(data_root_of(name), root)
    outside = tmp_path / "outside"
    if (root / file).is_dir():
        (root / file).rename(outside)
        (outside / "secret.jpg").touch()
    else:
        (root / file).unlink(missing_ok=True)
        outside.write_text("root:secret:0\n")
    (root / file).symlink_to(outside)
    with pytest.raises(DataError, match=r": a link to .*, which is not below .*\. Put the files themselves") as caught:
        convert(dataset, tmp_path / "data", tmp_path / "Beton", SMALL, workers=1)
    tally.did("hostile_inputs")
    assert str(root / file) in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_link_out_of_the_set_is_not_followed_by_verify(tmp_path: Path, tally: Tally) -> None:
    root = draw_custom_set(tmp_path / "data" / "custom", identities=3)
    convert(custom.DATASET, root.parent, tmp_path, SMALL, workers=1)
    picture = root / "train/visible/1/a.png"
    picture.rename(tmp_path / "x.png")
    picture.symlink_to(tmp_path / "x.png")
    with pytest.raises(DataError, match=r"1/a\.png: a link to .*/x\.png, which is not below"):
        list(verify(custom.DATASET, root.parent, tmp_path, deep=True, workers=1))
    tally.did("hostile_inputs")


def test_links_inside_the_set_are_followed(tmp_path: Path) -> None:
    root = draw_custom_set(tmp_path / "disk" / "custom", identities=3)
    (root / "train/visible/1/b.png").symlink_to("../2/a.png")
    (root / "train/visible/4").symlink_to("1")
    (root / "train/infrared/4").symlink_to(root / "train/infrared/1")
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    written = convert(custom.DATASET, tmp_path / "data", tmp_path / "Beton", SMALL, workers=1)
    assert [len(open_beton(beton)) for beton in written] == [10, 4]


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
    """Before anything is decoded: the one that keeps its promise would take 194 MB, that of scans half a minute, the
    others 10 GB."""
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
        refused = r"\d+ x \d+ pixels is no|a JPEG of \d+ scans is no|cannot be decoded .*(exceeds limit|too large)"
        assert re.search(f": ({refused})", message)
        assert message.endswith((". Replace it", ". Restore it from the data set's archive"))
        assert grown_mb < 30, f"{file}: {grown_mb} MB"
        assert seconds < 5, f"{file}: {seconds} s"


PROGRAMS = ["!!python/object/apply:os.system [touch {0}]", "!!python/object/new:os.system [touch {0}]",
            "!!python/name:os.system", "!!python/object/apply:subprocess.run [[touch, {0}]]"]  # fmt: skip


def test_a_recipe_runs_no_program(tmp_path: Path, program: Run, tally: Tally) -> None:
    for number, text in enumerate(PROGRAMS):
        recipe = tmp_path / f"{number}.yaml"
        recipe.write_text(f"data:\n  set: {text.format(tmp_path / 'ran')}\n")
        with pytest.raises(ConfigError, match=rf"{number}\.yaml: not readable as YAML"):
            read_recipe(["--config-file", str(recipe)], description="")
        tally.did("hostile_inputs")
    done = program("train_ffcv.py", "--config-file", tmp_path / "0.yaml")
    assert (done.returncode, (tmp_path / "ran").exists()) == (2, False)
    assert "0.yaml: not readable as YAML" in done.stderr
