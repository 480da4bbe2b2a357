"""Links inside a data set are followed, also out of it (shared disks); a broken link stops the conversion."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ffcv_convert.beton import open_beton
from ffcv_convert.common.errors import DataError
from ffcv_convert.convert import convert
from ffcv_convert.datasets import DATASETS, custom
from ffcv_convert.images import ImageFormat
from ffcv_convert.verify import verify
from tests.faults.failing_images import draw_custom_set

SMALL = ImageFormat(24, 12)

# Set -> what lies on another disk, with a link in its place: folders, lists and an image.
LINKED = {
    "llcm": ["idx", "test_vis", "test_nir/cam1", "vis/0001"],
    "sysu": ["exp/test_id.txt", "cam1", "cam4/0001", "cam3/0001/0001.jpg"],
    "regdb": ["idx/test_thermal_10.txt", "Thermal", "Visible/1"],
    "pku_sketch": ["trainPKUList_test.txt", "photo"],
    "market_sketch_1k": ["photo", "sketch/A/query"],
}


def betons(name: str, data_root: Path, beton_root: Path) -> dict[str, bytes]:
    return {
        beton.name: beton.read_bytes() for beton in convert(DATASETS[name], data_root, beton_root, SMALL, workers=1)
    }


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, paths in LINKED.items() for path in paths])
def test_what_lies_elsewhere_is_read_through_its_link(
    data_root_of: Callable[[str], Path], tmp_path: Path, name: str, path: str
) -> None:
    root = tmp_path / "data" / DATASETS[name].folders[0]
    shutil.copytree(data_root_of(name), root)
    plain = betons(name, tmp_path / "data", tmp_path / "plain")
    (root / path).rename(tmp_path / "elsewhere")
    (root / path).symlink_to(tmp_path / "elsewhere")
    assert betons(name, tmp_path / "data", tmp_path / "linked") == plain


@pytest.mark.parametrize(
    ("name", "path"), [(name, path) for name, paths in LINKED.items() for path in paths] + [("sysu", "exp")]
)
def test_a_broken_link_stops_the_conversion(
    data_root_of: Callable[[str], Path], tmp_path: Path, name: str, path: str
) -> None:
    """Ignoring it would shrink the set silently."""
    root = tmp_path / "data" / DATASETS[name].folders[0]
    shutil.copytree(data_root_of(name), root)
    shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()
    (root / path).symlink_to(tmp_path / "gone")
    with pytest.raises(DataError) as caught:
        betons(name, tmp_path / "data", tmp_path)
    assert str(root / path) in str(caught.value)
    assert not (tmp_path / name).exists()


def test_a_custom_set_of_links_is_read_and_verified(tmp_path: Path) -> None:
    """A linked set, split folder, identity and image; links within the set too."""
    root = draw_custom_set(tmp_path / "disk" / "custom", identities=3)
    for name in ("train/infrared", "train/visible/2", "train/visible/3/a.png"):
        (root / name).rename(tmp_path / "disk" / name.replace("/", "-"))
        (root / name).symlink_to(tmp_path / "disk" / name.replace("/", "-"))
    (root / "train/visible/1/b.png").symlink_to("../2/a.png")
    (root / "train/visible/4").symlink_to("1")
    (root / "train/infrared/4").symlink_to(root / "train/infrared/1")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "custom").symlink_to(root)
    written = convert(custom.DATASET, tmp_path / "data", tmp_path / "Beton", SMALL, workers=1)
    assert [len(open_beton(beton)) for beton in written] == [10, 4]
    lines = list(verify(custom.DATASET, tmp_path / "data", tmp_path / "Beton", deep=True, workers=1))
    assert sum("converted again" in line for line in lines) == 2


def test_records_csv_may_be_a_link(tmp_path: Path) -> None:
    root = draw_custom_set(tmp_path / "data" / "custom", identities=1)
    rows = [
        f"{path.relative_to(root)},1,0,{path.parts[-3]},{path.parts[-4]}\n" for path in sorted(root.rglob("1/a.png"))
    ]
    (tmp_path / "mine.csv").write_text("path,person,camera,modality,split\n" + "".join(rows))
    (root / "records.csv").symlink_to(tmp_path / "mine.csv")
    assert len(custom.list_records(root)) == 4


@pytest.mark.parametrize("path", ["records.csv", "train", "train/visible", "train/visible/2", "train/visible/2/b.png"])
def test_a_broken_link_in_a_custom_set_stops_the_conversion(tmp_path: Path, path: str) -> None:
    root = draw_custom_set(tmp_path / "data" / "custom", identities=3)
    if (root / path).is_dir():
        shutil.rmtree(root / path)
    os.symlink("nothing", root / path)
    with pytest.raises(DataError) as caught:
        convert(custom.DATASET, root.parent, tmp_path / "Beton", SMALL, workers=1)
    assert str(root / path) in str(caught.value)
