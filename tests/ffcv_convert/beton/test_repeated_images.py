"""The same pixels under two names: across parts, identities and modalities, and what is no such repeat."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ffcv_convert.__main__ import main
from ffcv_convert.beton import STYLES, open_beton, repeats
from ffcv_convert.beton.repeats import Repeat, count_in_both, find_repeats
from ffcv_convert.common.world import World
from ffcv_convert.convert import convert
from ffcv_convert.datasets import DATASETS, custom
from ffcv_convert.images import Encoding, ImageFormat
from pipelines.data import open_test
from pipelines.subset import also_trained, open_subset
from tests.support.refusals import assert_tells


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A set of one's own, two identities a part, each image of a noise of its own."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for modality in ("visible", "infrared"):
            for person in (1, 2):
                for name in ("a", "b"):
                    path = tmp_path / f"custom/{split}/{modality}/{person}/{name}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(rng.integers(0, 256, (16, 8, 3), dtype=np.uint8)).save(path)
    return tmp_path / "custom"


def found(own: Path, encoding: Encoding = "raw") -> tuple[list[Repeat], list[str]]:
    """The repeats of the converted set, and what conversion warned of."""
    said: list[str] = []
    written = convert(custom.DATASET, own.parent, own.parent / "B", ImageFormat(16, 8, encoding), workers=1,
                      say=said.append)  # fmt: skip
    return find_repeats([open_beton(beton) for beton in written]), [line for line in said if "warning" in line]


def copy(own: Path, *pairs: tuple[str, str]) -> None:
    for source, target in pairs:
        shutil.copy(own / source, own / target)


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
@pytest.mark.parametrize(
    ("pairs", "repeats"),
    [
        ([], []),
        ([("test/visible/1/a.png", "test/visible/1/b.png")], []),  # a video
        ([("train/visible/1/a.png", "test/visible/2/b.png"), ("train/infrared/2/a.png", "test/infrared/1/a.png")],
         [Repeat("test", "train", 2, "test/infrared/1/a.png", "train/infrared/2/a.png")]),
        ([("train/visible/1/a.png", "train/visible/2/b.png")],
         [Repeat("train", "another identity", 2, "train/visible/1/a.png", "train/visible/2/b.png")]),
        ([("test/visible/1/a.png", f"test/infrared/1/{name}.png") for name in "ab"],
         [Repeat("test", "another modality", 3, "test/visible/1/a.png", "test/infrared/1/a.png")]),
    ],
)  # fmt: skip
def test_repeats_are_counted_by_what_they_differ_in(
    own: Path, encoding: Encoding, pairs: Sequence[tuple[str, str]], repeats: list[Repeat]
) -> None:
    copy(own, *pairs)
    for _ in range(2):  # when converted, and when up to date
        assert found(own, encoding) == (repeats, [f"warning: custom: {repeat}" for repeat in repeats])


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_images_of_one_colour_are_no_repeats(own: Path, encoding: Encoding) -> None:
    black = Image.new("RGB", (8, 16))
    for path in ("train/visible/1/a.png", "test/visible/2/b.png", "test/infrared/1/a.png"):
        black.save(own / path)
    assert found(own, encoding)[0] == []


def test_equal_checksums_of_different_images_are_no_repeat(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "_checksums", lambda converted: np.zeros(len(converted), dtype=np.uint32))
    assert found(own)[0] == []
    copy(own, ("train/visible/1/a.png", "test/visible/2/b.png"))
    ((repeat,), _) = found(own)
    assert (repeat.of, repeat.count) == ("train", 1)
    test, train = (open_beton(own.parent / f"B/custom/{part}.beton") for part in ("test", "train"))
    assert count_in_both(test, np.arange(8), train, np.arange(8)) == 1


def test_tested_images_that_were_trained_on_are_counted(own: Path) -> None:
    copy(own, ("train/visible/1/a.png", "test/visible/2/b.png"), ("train/visible/1/a.png", "test/visible/1/a.png"))
    found(own)
    test, train = (open_subset(own.parent / "B/custom", part) for part in ("test", "train"))
    assert also_trained(test, train) == 2
    assert also_trained(test, test) == 8


def test_only_what_the_network_was_trained_on_counts(own: Path) -> None:
    copy(own, ("train/visible/1/a.png", "test/visible/2/b.png"))
    found(own)
    folder, world = own.parent / "B/custom", World(torch.device("cpu"))
    images = open_test(folder, world, trial=0, styles=STYLES, source="stream", batch_size=4, workers=1)
    trained_on = open_subset(folder, "train").digest()
    assert images.also_trained(folder, trained_on, trial=0, styles=STYLES) == 1
    assert images.also_trained(folder, "another set's", trial=0, styles=STYLES) is None
    (folder / "train.beton").unlink()
    assert images.also_trained(folder, trained_on, trial=0, styles=STYLES) is None


def test_strict_verification_ends_with_3_after_a_repeat(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy(own, ("train/visible/1/a.png", "test/visible/2/b.png"))
    found(own)
    verify = ["verify", "--beton-root", str(own.parent / "B")]
    assert main(verify) == 0
    with pytest.raises(SystemExit, match=r"^3$"):
        main([*verify, "--strict"])
    assert_tells(capsys.readouterr().err, "train/visible/1/a.png", "test/visible/2/b.png", "1 image")


@pytest.mark.parametrize("name", ["sysu", "regdb", "market_sketch_1k", "pku_sketch", "synthetic"])
def test_drawn_sets_hold_no_image_twice(drawn_betons: Path, name: str) -> None:
    assert find_repeats([open_beton(drawn_betons / name / f"{part}.beton") for part in DATASETS[name].parts]) == []
