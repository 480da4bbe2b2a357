"""The set names and trials that `convert` stores."""

import os
import shutil
from pathlib import Path

import pytest

from ffcv_convert.beton import manifest_path, open_beton
from ffcv_convert.convert import convert, image_format_for
from ffcv_convert.datasets import DATASETS, regdb, synthetic
from ffcv_convert.images import ImageFormat
from ffcv_convert.sources import source_fingerprint

FORMAT = ImageFormat(64, 32)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("sysu", "sysu (synthetic)"),
        ("regdb", "regdb (synthetic)"),
        ("market_sketch_1k", "market_sketch_1k (synthetic)"),
        ("pku_sketch", "pku_sketch (synthetic)"),
        ("hitsz_vcm", "hitsz_vcm (synthetic)"),
        ("buptcampus", "buptcampus (synthetic)"),
        ("synthetic", "synthetic"),
    ],
)
def test_drawn_people_in_a_real_layout_do_not_pass_for_the_set(drawn_betons: Path, name: str, shown: str) -> None:
    for part in DATASETS[name].parts:
        assert open_beton(drawn_betons / name / f"{part}.beton").manifest.dataset == shown


def test_a_set_that_was_not_drawn_has_its_name_and_is_incomplete(drawn_root: Path, tmp_path: Path) -> None:
    shutil.copytree(drawn_root / "PKU-Sketch", tmp_path / "PKU-Sketch")
    (tmp_path / "PKU-Sketch" / "synthetic.json").unlink()
    for beton in convert(DATASETS["pku_sketch"], tmp_path, tmp_path / "Beton", FORMAT, workers=1):
        assert open_beton(beton).manifest.dataset == "pku_sketch (incomplete)"


def test_the_manifest_holds_the_trials(drawn_root: Path, drawn_betons: Path) -> None:
    root = drawn_root / "RegDB"
    manifest = open_beton(drawn_betons / "regdb" / "all.beton").manifest
    assert len(manifest.trials) == 20
    for name, samples in manifest.trials.items():
        split, trial = name.split("-")
        lines = "".join((root / f"idx/{split}_{short}_{trial}.txt").read_text() for short in ("visible", "thermal"))
        assert [manifest.samples[n][0] for n in samples] == [line.split()[0] for line in lines.splitlines()]
    for name in ("sysu", "pku_sketch", "synthetic"):
        assert open_beton(drawn_betons / name / "test.beton").manifest.trials == {}


def test_a_change_of_one_trial_list_alone_writes_the_set_again(drawn_root: Path, tmp_path: Path) -> None:
    shutil.copytree(drawn_root / "RegDB", tmp_path / "RegDB")
    (beton,) = convert(regdb.DATASET, tmp_path, tmp_path / "Beton", FORMAT, workers=1)
    older = open_beton(beton).manifest

    def written() -> bool:
        return convert(regdb.DATASET, tmp_path, tmp_path / "Beton", FORMAT, workers=1)[beton]

    assert not written()
    path = tmp_path / "RegDB" / "idx" / "test_visible_6.txt"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines))
    os.utime(path, ns=(0, 0))
    assert not written()  # the list's content counts, not its time
    path.write_text("".join(reversed(lines)))
    assert written()
    assert not written()
    newer = open_beton(beton).manifest
    assert newer.samples == older.samples
    assert newer.sha256 == older.sha256
    assert {name for name in older.trials if newer.trials[name] != older.trials[name]} == {"test-6"}
    assert newer.trials["test-6"][: len(lines)] == older.trials["test-6"][: len(lines)][::-1]


def test_the_fingerprint_covers_a_trials_name_and_order(tmp_path: Path) -> None:
    trials: list[dict[str, list[int]]] = [{}, {"a": [0, 1]}, {"a": [1, 0]}, {"b": [0, 1]}, {"a": [0, 1], "b": []}]
    assert len({source_fingerprint([], tmp_path, FORMAT, each) for each in trials}) == len(trials)


def test_a_size_once_chosen_outlives_its_manifest(data_root: Path, tmp_path: Path) -> None:
    """The .beton holds it too; if that is damaged as well, the set's own size is used."""
    for image_format in (ImageFormat(24, 12), ImageFormat(40, 20, "jpeg")):
        convert(synthetic.DATASET, data_root, tmp_path, image_format, workers=1)
        beton = tmp_path / "synthetic" / "train.beton"
        for damage in (lambda path: path.write_text("{}"), Path.unlink):
            damage(manifest_path(beton))
            assert image_format_for(synthetic.DATASET, beton, None, None, None) == image_format
    beton.write_bytes(b"")
    assert image_format_for(synthetic.DATASET, beton, None, None, None) == ImageFormat(
        synthetic.DATASET.height_px, synthetic.DATASET.width_px
    )
