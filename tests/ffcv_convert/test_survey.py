"""What conversion says of a set: its numbers, what it passes over, and what makes it incomplete."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ffcv_convert import __main__ as cli
from ffcv_convert.beton import Modality, open_beton
from ffcv_convert.beton.labels import UNKNOWN_CAMERA
from ffcv_convert.datasets import sysu as module
from ffcv_convert.datasets.files import is_system
from ffcv_convert.survey import Part, describe, see, unmatched
from tests.support.refusals import assert_tells
from tests.support.trees import touch

VISIBLE, INFRARED, SKETCH = Modality
FOLDERS = [f"{split}/{modality}" for split in ("train", "test") for modality in ("visible", "infrared")]


def draw(path: Path, value: int | None = None) -> None:
    """Noise, or one grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(list(str(path).encode())).integers(0, 256, (32, 16, 3), dtype=np.uint8)
    Image.fromarray(noise if value is None else np.full_like(noise, value)).save(path)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A set of one's own: two identities in two modalities and cameras."""
    for folder in FOLDERS:
        for person in (1, 2):
            for camera in (1, 2):
                draw(tmp_path / "custom" / folder / f"{person:04d}/c{camera}/a.png")
    return tmp_path / "custom"


@pytest.fixture
def sysu(tmp_path: Path) -> Path:
    """A real set in SYSU-MM01's layout, though a small one."""
    root = tmp_path / "SYSU-MM01"
    for name, persons in (("train", "1,2"), ("val", "3"), ("test", "4,5")):
        touch(root, f"exp/{name}_id.txt")
        (root / f"exp/{name}_id.txt").write_text(persons)
    for camera in range(1, 7):
        for person in range(1, 6):
            draw(root / f"cam{camera}/{person:04d}/0001.jpg")
    return root


class Said:
    def __init__(self, code: int, out: str, err: str):
        self.code, self.lines, self.err = code, out.splitlines(), err

    @property
    def warnings(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("warning: ")]

    @property
    def passed_over(self) -> list[str]:
        return [line for line in self.lines if "passed over" in line]


CONVERT = ["convert", "--dataset", "custom", "--data-root"]
Convert = Callable[..., Said]


@pytest.fixture
def convert(tmp_path: Path, capsys: pytest.CaptureFixture) -> Convert:
    def call(name: str, *more: str) -> Said:
        roots = ["--data-root", str(tmp_path), "--beton-root", str(tmp_path / "Beton"), "--dataset", name]
        size = ["--height-px", "32", "--width-px", "16", "--workers", "1"]
        try:
            code = cli.main(["convert", *roots, *size, *more])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Said(code, *capsys.readouterr())

    return call


def test_a_part_is_told_in_one_line(own: Path, sysu: Path, convert: Convert) -> None:
    said = convert("custom")
    assert said.lines[:2] == [
        f"custom/{part}: 2 identities, 4 visible images of cameras 1 2, 4 infrared images of cameras 1 2"
        for part in ("train", "test")
    ]
    assert not said.passed_over + said.warnings
    assert convert("sysu").lines[0] == (
        "sysu/train: 3 identities (published 395), 12 visible images (published 22,258) of cameras 1 2 4 5, "
        "6 infrared images (published 11,909) of cameras 3 6"
    )


def test_camera_0_is_told_and_unknown_cameras_are_told_apart() -> None:
    rows = [(1, 0, VISIBLE, "train"), (1, UNKNOWN_CAMERA, INFRARED, "train")]
    rows += [(1, 2, VISIBLE, "test"), (1, UNKNOWN_CAMERA, VISIBLE, "test"), (1, 0, INFRARED, "test")]
    seen = see([Part(rows, {})])
    assert describe({}, "train", seen) == (
        "1 identities, 1 visible images of camera 0, 1 infrared images of unknown cameras"
    )
    assert describe({}, "test", seen) == (
        "1 identities, 2 visible images of camera 2 and unknown ones, 1 infrared images of camera 0"
    )
    assert describe({}, "train", see([Part([(1, 0, VISIBLE, "train")], {})])) == "1 identities, 1 visible images"


@pytest.mark.parametrize(
    "name", ["train/ir", "test/nir", "train/Visible", "val/visible", "train/visible_old", "infrared", "query/infrared"]
)
def test_a_folder_that_is_almost_a_known_one_is_named(own: Path, convert: Convert, name: str) -> None:
    draw(own / name / "0001/a.png")
    passed = name if name.startswith("t") else name.split("/")[0]
    said = convert("custom")
    assert said.code == 0
    assert said.passed_over == [f"custom: 1 folder passed over: {passed}"]
    (warning,) = said.warnings
    assert f": {passed}. Folders are read as train/visible/0001/c2" in warning


@pytest.mark.parametrize("name", ["thermal", "ir", "nir", "Infrared"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_modality_under_another_name_stops_with_the_names_that_are_read(
    own: Path, convert: Convert, name: str, split: str
) -> None:
    (own / split / "infrared").rename(own / split / name)
    said = convert("custom")
    assert said.code == (2 if split == "train" else 3)
    assert_tells(said.err, own, f"{split}/{name}", "train/infrared/0001/c3")


@pytest.mark.parametrize("name", ["train/visible/0001/c1/more/b.png", "test/infrared/0002/c2/2024/b.png"])
def test_an_image_one_level_too_deep_is_named(own: Path, convert: Convert, name: str) -> None:
    draw(own / name)
    said = convert("custom")
    assert said.passed_over == [f"custom: 1 folder passed over: {Path(name).parent}"]
    assert str(Path(name).parent) in said.warnings[0]


def test_deep_images_of_a_published_set_are_named_and_its_unlisted_identities_only_counted(sysu: Path, convert) -> None:
    draw(sysu / "cam1/0533/0001.jpg")  # no list names it, as some in the real set
    said = convert("sysu", "--allow-incomplete")
    assert said.passed_over == ["sysu: 1 folder passed over: cam1/0533"]
    assert not [warning for warning in said.warnings if "passed over" in warning]
    draw(sysu / "cam1/0001/again/0001.jpg")
    (sysu / "cam2/0002/0001.jpg").rename(sysu / "cam2/0002.jpg")
    (sysu / "cam2/0002/cam2").mkdir()
    draw(sysu / "cam2/0002/cam2/0001.jpg")
    said = convert("sysu", "--allow-incomplete")
    assert said.passed_over == ["sysu: 4 files or folders passed over, first cam1/0001/again, cam1/0533, cam2/0002"]
    (warning,) = [warning for warning in said.warnings if "passed over" in warning]
    assert "cam1/0001/again and 1 more" in warning


@pytest.mark.parametrize(
    "name",
    ["@eaDir", "__MACOSX", "lost+found", ".snapshot", "#recycle", "$RECYCLE.BIN", "~snapshot", ".ipynb_checkpoints",
     "@Recently-Snapshot", "System Volume Information"],
)  # fmt: skip
@pytest.mark.parametrize("folder", ["", "train", "train/visible", "test/infrared/0001", "train/visible/0002/c1"])
def test_folders_of_file_systems_and_archives_are_passed_over_and_counted(
    own: Path, convert: Convert, name: str, folder: str
) -> None:
    assert is_system(name)
    draw(own / folder / name / "0001/thumb.jpg")
    said = convert("custom")
    assert (said.code, said.warnings) == (0, [])
    assert said.passed_over == [f"custom: 1 folder passed over: {Path(folder) / name}"]


def test_files_of_unread_kinds_are_counted_and_those_of_systems_come_last(own: Path, convert: Convert) -> None:
    touch(own, "train/visible/0001/c1/b.heic", "train/visible/0001/c1/.DS_Store", "test/notes.txt", "Thumbs.db")
    said = convert("custom")
    assert said.passed_over == [
        "custom: 4 files or folders passed over, first test/notes.txt, train/visible/0001/c1/b.heic, Thumbs.db"
    ]
    (warning,) = said.warnings
    assert "images of a kind that is not read: train/visible/0001/c1/b.heic. Convert them" in warning


def test_a_line_counts_what_a_csv_does_not_name(own: Path, convert: Convert) -> None:
    rows = [
        f"{path.relative_to(own)},1,1,{path.parts[-4]},{path.parts[-5]}" for path in sorted(own.rglob("0001/c1/a.png"))
    ]
    (own / "records.csv").write_text("path,person,camera,modality,split\n" + "\n".join(rows))
    said = convert("custom")
    assert said.passed_over == [
        "custom: 8 files or folders passed over, first test/infrared/0001/c2, test/infrared/0002, test/visible/0001/c2"
    ]


def test_an_incomplete_set_is_written_stops_and_goes_on_when_asked(
    sysu: Path, convert: Convert, tmp_path: Path
) -> None:
    shutil.rmtree(sysu / "cam6")
    (sysu / "cam6").mkdir()
    said = convert("sysu")
    assert said.code == 3
    assert_tells(said.err, sysu, "train", "infrared", "camera 6", "ALLOW_INCOMPLETE=1")
    assert len(open_beton(tmp_path / "Beton/sysu/train.beton")) == 15
    assert convert("sysu").code == 3
    assert convert("sysu", "--allow-incomplete").code == 0


@pytest.mark.parametrize("camera", range(1, 7))
def test_a_camera_that_was_not_unpacked_stops(sysu: Path, convert: Convert, camera: int) -> None:
    shutil.rmtree(sysu / f"cam{camera}")
    said = convert("sysu")
    assert said.code == 3
    assert_tells(said.err, f"camera {camera}")


def test_an_incomplete_set_does_not_replace_an_older_conversion(sysu: Path, convert: Convert, tmp_path: Path) -> None:
    assert convert("sysu", "--allow-incomplete").code == 0
    before = (tmp_path / "Beton/sysu/train.beton").read_bytes()
    shutil.rmtree(sysu / "cam3")
    said = convert("sysu")
    assert said.code == 3
    assert_tells(said.err, sysu, tmp_path / "Beton" / "sysu")
    assert (tmp_path / "Beton/sysu/train.beton").read_bytes() == before


def test_numbers_near_the_published_ones_warn_and_far_ones_stop(
    sysu: Path, convert: Convert, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = dict(module.DATASET.counts)
    for key, number in {"train identities": 3, "train visible images": 12, "train infrared images": 6,
                        "test identities": 2, "test visible images": 8, "test infrared images": 4}.items():  # fmt: skip
        monkeypatch.setitem(module.DATASET.counts, key, number)  # type: ignore[arg-type]
    assert set(published) == set(module.DATASET.counts)
    said = convert("sysu")
    assert (said.code, said.warnings) == (0, [])
    monkeypatch.setitem(module.DATASET.counts, "train visible images", 13)  # type: ignore[arg-type]
    said = convert("sysu")
    assert (said.code, said.warnings) == (0, ["warning: sysu: 12 train visible images, published 13"])
    monkeypatch.setitem(module.DATASET.counts, "train visible images", 14)  # type: ignore[arg-type]
    said = convert("sysu")
    assert said.code == 3
    assert_tells(said.err, sysu, "12 train visible", 14)


def test_queries_without_a_match_are_counted_in_each_direction(own: Path, convert: Convert, tmp_path: Path) -> None:
    """Two teams numbered the people: of four infrared images two are of identity 2, whom no visible image shows."""
    (own / "test/visible/0002").rename(own / "test/visible/0007")
    for _ in range(2):  # when converted, and when up to date
        said = convert("custom")
        assert said.code == 0
        assert [line.split(": ")[1] for line in said.warnings] == ["custom/test"] * 2
        for warning, first in zip(said.warnings, (2, 7), strict=True):
            assert_tells(warning, "2 of 4", "infrared", "visible", f"first {first}")
    with pytest.raises(SystemExit, match=r"^3$"):
        cli.main(["verify", "--beton-root", str(tmp_path / "Beton"), "--strict"])


@pytest.mark.parametrize(("own", "warned", "told"), [(True, 1, 1), (False, 1, 0), (False, 2, 1)])
def test_a_published_set_may_have_five_per_cent_of_queries_without_a_match(own: bool, warned: int, told: int) -> None:
    rows = [(person, 1, SKETCH, "test") for person in range(20)]
    rows += [(person, 1, VISIBLE, "test") for person in range(warned, 40)]  # photos of others are not queries
    lines = unmatched(rows, own=own)
    assert len(lines) == told
    if told:
        assert_tells(lines[0], f"{warned} of 20", "sketch", "visible", f"{warned} identities", "first 0")


def test_a_modality_that_is_missing_as_a_whole_is_not_told_as_queries_without_a_match() -> None:
    assert unmatched([(1, 1, INFRARED, "test")], own=True) == []


def test_images_of_one_colour_are_named(own: Path, convert: Convert) -> None:
    draw(own / "train/visible/0001/c1/black.png", 0)
    draw(own / "train/visible/0002/c1/white.png", 255)
    said = convert("custom")
    assert said.warnings == ["warning: custom: images of one colour: train/visible/0001/c1/black.png and 1 more"]


def test_files_of_several_images_are_counted(own: Path, sysu: Path, convert: Convert) -> None:
    """Pages of a TIFF, frames of an animation, the second view of a stereo camera."""
    first, second = (Image.open(own / f"train/visible/000{n}/c1/a.png") for n in (1, 2))
    for name in ("pages.tif", "frames.png", "frames.webp"):
        first.save(own / "train/visible/0001/c2" / name, save_all=True, append_images=[second], lossless=True)
    first.save(sysu / "cam1/0001/0002.jpg", "MPO", save_all=True, append_images=[second])
    (warning,) = convert("custom").warnings
    assert_tells(warning, "several pages or frames", "train/visible/0001/c2/frames.png", "2 more")
    (warning,) = [line for line in convert("sysu", "--allow-incomplete").warnings if "frames" in line]
    assert_tells(warning, "cam1/0001/0002.jpg")


def test_images_wider_than_high_are_counted_in_sets_of_ones_own(own: Path, sysu: Path, convert: Convert) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    frame = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 32, 3), dtype=np.uint8))
    frame.save(own / "test/visible/0001/c1/frame.png")
    frame.save(own / "test/visible/0001/c1/upright.jpg", exif=exif)
    frame.save(sysu / "cam1/0001/0002.jpg")
    (warning,) = convert("custom").warnings
    assert_tells(warning, "wider than high", "test/visible/0001/c1/frame.png")
    assert "more" not in warning
    assert not [line for line in convert("sysu", "--allow-incomplete").warnings if "wider" in line]


def test_exif_is_applied_with_a_warning_in_published_sets_alone(own: Path, sysu: Path, convert: Convert) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    for path in (own / "train/visible/0001/c1/phone.jpg", sysu / "cam1/0001/0002.jpg"):
        Image.open(sysu / "cam1/0002/0001.jpg").save(path, exif=exif)
    assert not [line for line in convert("custom").warnings if "EXIF" in line]
    (warning,) = [line for line in convert("sysu", "--allow-incomplete").warnings if "EXIF" in line]
    assert "turned upright by EXIF, which the published code ignores: cam1/0001/0002.jpg" in warning


def test_test_images_alone_are_converted_and_verified(own: Path, convert: Convert, tmp_path: Path) -> None:
    assert convert("custom").code == 0
    shutil.rmtree(own / "train")
    said = convert("custom")
    assert said.code == 2
    assert_tells(said.err, tmp_path / "Beton/custom/train.beton", own)
    for path in (tmp_path / "Beton/custom").glob("train.*"):
        path.unlink()
    said = convert("custom")
    assert (said.code, said.warnings) == (0, [])
    assert said.lines[0].startswith("custom/test: ")
    assert open_beton(tmp_path / "Beton/custom/test.beton").manifest.height_px == 32
    assert cli.main([*CONVERT, str(tmp_path), "--beton-root", str(tmp_path / "Beton")]) == 0  # of no given size
    assert open_beton(tmp_path / "Beton/custom/test.beton").manifest.height_px == 32
    assert cli.main(["verify", "--beton-root", str(tmp_path / "Beton"), "--strict"]) == 0


@pytest.mark.parametrize("name", ["Train", "training", "TRAIN"])
def test_a_mistyped_training_part_does_not_make_a_set_to_test_alone(own: Path, convert: Convert, name: str) -> None:
    (own / "train").rename(own / name)
    said = convert("custom")
    assert said.code == 2
    assert_tells(said.err, own, "train", name)


def test_an_incomplete_set_is_named_so_in_every_report(sysu: Path, convert: Convert, tmp_path: Path) -> None:
    shutil.rmtree(sysu / "cam2")
    said = convert("sysu", "--allow-incomplete")
    assert "warning: sysu (incomplete): train has no visible image of camera 2" in said.warnings
    assert open_beton(tmp_path / "Beton/sysu/test.beton").manifest.dataset == "sysu (incomplete)"


def test_an_incomplete_set_does_not_count_as_not_converted(sysu: Path, capsys: pytest.CaptureFixture) -> None:
    roots = ["--data-root", str(sysu.parent), "--beton-root", str(sysu.parent / "Beton")]
    with pytest.raises(SystemExit, match=r"^3$"):
        cli.main(["convert", *roots, "--height-px", "32", "--width-px", "16", "--workers", "1"])
    assert_tells(capsys.readouterr().err.splitlines()[-1], "incomplete", "1 of 1")


def test_strict_verification_ends_with_3_after_a_warning(sysu: Path, convert: Convert, tmp_path: Path) -> None:
    convert("sysu")
    arguments = ["verify", "--beton-root", str(tmp_path / "Beton")]
    assert cli.main(arguments) == 0
    with pytest.raises(SystemExit, match=r"^3$"):
        cli.main([*arguments, "--strict"])
