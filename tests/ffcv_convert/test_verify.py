"""`verify` on intact sets: it reports their numbers, and checks every set even if one is damaged."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ffcv_convert.__main__ import main
from ffcv_convert.beton import Modality, open_beton
from ffcv_convert.datasets import DATASETS
from ffcv_convert.datasets.dataset import Dataset
from ffcv_convert.synthetic import Options
from ffcv_convert.synthetic.plan import plan
from ffcv_convert.verify import verify
from tests.support.refusals import assert_tells
from tests.support.trees import DRAWN

DRAWN_SETS = ["sysu", "regdb", "market_sketch_1k", "pku_sketch", "hitsz_vcm", "buptcampus", "synthetic"]
SKETCHED = [p.person for p in plan(Options(**DRAWN, layout="market_sketch_1k"))[0] if p.modality == Modality.SKETCH]


def numbers(train: tuple[int, int], test: tuple[int, int], other: str) -> dict[str, int]:
    """(visible, other) images of four training and two test identities."""
    return {
        "train identities": 4, "train visible images": train[0], f"train {other} images": train[1],
        "test identities": 2, "test visible images": test[0], f"test {other} images": test[1],
    }  # fmt: skip


NUMBERS = {
    "sysu": numbers((8, 8), (8, 4), "infrared"),
    "regdb": {
        "all identities": 6, "all visible images": 12, "all infrared images": 12,
        **{f"{split}-{trial} identities": count for split, count in (("train", 4), ("test", 2))
           for trial in range(1, 11)},
    },
    "market_sketch_1k": numbers(
        (8, sum(person <= 4 for person in SKETCHED)), (2, sum(person > 4 for person in SKETCHED)), "sketch"
    ),
    "pku_sketch": numbers((8, 4), (4, 2), "sketch"),
    "hitsz_vcm": {
        **numbers((8, 8), (24, 24), "infrared"), "train images": 16, "train tracklets": 8,
        "test images": 48, "test tracklets": 48, "test queries": 24,
    },
    "buptcampus": {
        **numbers((8, 8), (11, 11), "infrared"), "train images": 16, "train tracklets": 8,
        "test images": 22, "test tracklets": 22, "test queries": 2,
    },
    "synthetic": numbers((8, 8), (18, 16), "infrared"),
}  # fmt: skip


def check(name: str, data: Path, betons: Path, *, deep: bool = False) -> list[str]:
    return list(verify(DATASETS[name], data, betons, deep=deep, workers=1))


def shown(name: str) -> str:
    return name if name == "synthetic" else f"{name} (synthetic)"


def as_real(name: str, betons: Path, folder: Path) -> Dataset:
    """A data set that owns what was drawn in the layout of `name`, linked in `folder`. Cameras are not compared."""
    (folder / shown(name)).symlink_to(betons / name)
    return replace(DATASETS[name], name=shown(name), cameras={})


@pytest.mark.parametrize("name", DRAWN_SETS)
def test_drawn_sets_are_good_and_are_not_compared_with_the_published_numbers(
    drawn_root: Path, drawn_betons: Path, name: str
) -> None:
    samples = {part: len(open_beton(drawn_betons / name / f"{part}.beton")) for part in DATASETS[name].parts}
    good = [
        f"{drawn_betons / name / f'{part}.beton'}: {count} samples, structure and checksums are good"
        for part, count in samples.items()
    ]
    told = [f"{shown(name)}: {number} {key}" for key, number in NUMBERS[name].items()]
    lines = check(name, drawn_root, drawn_betons)
    assert lines[: len(good)] == good
    assert sorted(lines[len(good) :]) == sorted(told)


@pytest.mark.parametrize("name", DRAWN_SETS)
def test_numbers_that_agree_are_no_warning(drawn_betons: Path, tmp_path: Path, name: str) -> None:
    fitting = replace(as_real(name, drawn_betons, tmp_path), counts=NUMBERS[name])
    lines = list(verify(fitting, tmp_path, tmp_path, deep=False, workers=1))
    assert [line for line in lines if line.startswith("warning")] == []
    for key, number in NUMBERS[name].items():
        off = replace(fitting, counts={**NUMBERS[name], key: number + 1})
        lines = list(verify(off, tmp_path, tmp_path, deep=False, workers=1))
        warnings = [line for line in lines if line.startswith("warning")]
        assert warnings == [f"warning: {shown(name)}: {number} {key}, published {number + 1}"]


def test_a_published_number_of_what_is_not_there_is_warned_of(drawn_betons: Path, tmp_path: Path) -> None:
    counts = {"train-11 identities": 206, "all sketch images": 7}
    other = replace(as_real("regdb", drawn_betons, tmp_path), counts=counts)
    assert list(verify(other, tmp_path, tmp_path, deep=False, workers=1))[-2:] == [
        "warning: regdb (synthetic): 0 train-11 identities, published 206",
        "warning: regdb (synthetic): 0 all sketch images, published 7",
    ]


def test_a_camera_without_an_image_is_warned_of(drawn_betons: Path, tmp_path: Path) -> None:
    cameras = {"test": {Modality.INFRARED: (3, 6, 9, 8), Modality.VISIBLE: (2,)}}
    other = replace(as_real("sysu", drawn_betons, tmp_path), counts={}, cameras=cameras)
    lines = list(verify(other, tmp_path, tmp_path, deep=False, workers=1))
    assert lines[-1] == "warning: sysu (synthetic): test has no infrared image of cameras 8 9"
    assert sum(line.startswith("warning") for line in lines) == 1


@pytest.mark.parametrize("name", DRAWN_SETS)
def test_deep_decodes_and_converts_every_image_again(drawn_root: Path, drawn_betons: Path, name: str) -> None:
    shallow, lines = (check(name, drawn_root, drawn_betons, deep=deep) for deep in (False, True))
    root = DATASETS[name].find(drawn_root)
    for part in DATASETS[name].parts:
        beton = drawn_betons / name / f"{part}.beton"
        assert f"{beton}: every image decodes" in lines
        assert f"{beton}: every image converted again from {root} is the same" in lines
    assert [line for line in lines if "every image" not in line] == shallow


def test_without_the_raw_set_the_comparison_alone_is_left_out(drawn_betons: Path, tmp_path: Path) -> None:
    lines = check("sysu", tmp_path, drawn_betons, deep=True)
    assert sum("every image decodes" in line for line in lines) == 2
    assert not [line for line in lines if "converted again" in line]


def test_the_command_checks_every_set_though_one_is_damaged(
    drawn_root: Path, drawn_betons: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ["--data-root", str(drawn_root), "--beton-root", str(tmp_path), "--workers", "1"]
    for name in ("sysu", "pku_sketch", "synthetic"):
        shutil.copytree(drawn_betons / name, tmp_path / name)
    assert main(["verify", "--deep", *folders]) == 0
    good = capsys.readouterr()
    assert good.out.count("structure and checksums are good") == good.out.count("converted again from") == 6
    assert "warning" not in good.out + good.err

    (tmp_path / "sysu" / "train.beton").write_bytes(b"")  # the first that is checked
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["verify", *folders])
    out, err = capsys.readouterr()
    assert out.count("structure and checksums are good") == 4
    first, *_, last = err.splitlines()
    assert_tells(first, "error", tmp_path / "sysu" / "train.beton")
    assert_tells(last, "error", "1 of 3")
    assert main(["verify", "--dataset", "synthetic", *folders]) == 0
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["verify", "--dataset", "sysu", *folders])
