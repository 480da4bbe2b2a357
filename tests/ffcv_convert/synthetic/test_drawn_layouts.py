"""Every layout drawn small, by the function and by the command."""

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from ffcv_convert.__main__ import main
from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.datasets import DATASETS
from ffcv_convert.records import check_records
from ffcv_convert.synthetic import FOLDERS, Options, synthesise
from ffcv_convert.synthetic.plan import plan
from tests.support.refusals import assert_tells, refusal
from tests.support.trees import DRAWN as SMALL

NEW = [layout for layout in FOLDERS if layout != "llcm"]


@pytest.mark.parametrize("layout", NEW)
def test_all_that_was_planned_is_there_and_nothing_else(drawn_root: Path, layout: str) -> None:
    root = drawn_root / FOLDERS[layout]
    images, lists = plan(Options(**SMALL, layout=layout))
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert found == {p.path for p in images} | set(lists) | {"synthetic.json"}
    assert all((root / path).read_text() == text for path, text in lists.items())
    for image in images:
        stored = cv2.imread(str(root / image.path), cv2.IMREAD_UNCHANGED)
        assert stored.ndim == (2 if image.grey_file else 3), image
        assert abs(stored.shape[0] - 64) <= 10, image
        if image.modality != Modality.VISIBLE:
            assert np.ptp(stored.astype(int), axis=2).max() == 0, image
        kind = b"BM" if layout == "regdb" else b"\xff\xd8"
        assert (root / image.path).read_bytes()[:2] == kind


@pytest.mark.parametrize("layout", NEW)
def test_the_converter_lists_what_was_planned_and_no_identity_twice(drawn_root: Path, layout: str) -> None:
    root = DATASETS[layout].find(drawn_root)
    assert root == drawn_root / FOLDERS[layout]
    records = DATASETS[layout].list_records(root)
    check_records(records, root)
    images, _ = plan(Options(**SMALL, layout=layout))
    # Two persons of SYSU-MM01's layout are on the disk and in no list.
    listed = {(p.path, p.person, p.modality) for p in images if layout != "sysu" or p.person <= 6}
    assert {(r.image, r.person, r.modality) for r in records} == listed
    persons = {split: {r.person for r in records if r.split == split} for split in ("train", "test", "all")}
    assert not persons["train"] & persons["test"]
    assert len(set.union(*persons.values())) == 6


@pytest.mark.parametrize("layout", NEW)
def test_second_call_writes_nothing_and_another_set_is_refused(drawn_root: Path, layout: str) -> None:
    root, options = drawn_root / FOLDERS[layout], Options(**SMALL, layout=layout)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert synthesise(root, options, workers=1) == 0
    for other in (replace(options, seed=1), replace(options, layout="llcm")):
        with refusal(DataError, root):
            synthesise(root, other, workers=1)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_a_set_drawn_before_there_were_layouts_is_llcms(tmp_path: Path) -> None:
    (tmp_path / "synthetic.json").write_text(
        '{"train_identities": 4, "test_identities": 2, "train_images": 2, "test_images": 1, "height_px": 64, "seed": 0}'
    )
    assert synthesise(tmp_path, Options(**SMALL), workers=1) == 0
    with refusal(DataError, tmp_path):
        synthesise(tmp_path, Options(**SMALL, layout="regdb"), workers=1)


def test_the_command_draws_a_layout_where_convert_looks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sizes = ["--train-identities=2", "--test-identities=1", "--height-px=32", "--workers=1"]
    assert main(["synthesise", "--layout", "pku_sketch", *sizes]) == 0
    assert capsys.readouterr().out == "Dataset/PKU-Sketch: 9 images drawn\n"
    assert len(DATASETS["pku_sketch"].list_records(Path("Dataset/PKU-Sketch"))) == 9
    assert main(["synthesise", "--layout", "pku_sketch", *sizes]) == 0
    assert capsys.readouterr().out == "Dataset/PKU-Sketch: up to date\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--official-size"], "--official-size"),
        (["--layout", "sysu", "--train-identities", "1"], "train_identities = 1"),
        (["--layout", "cuhk"], "--layout"),
    ],
)
def test_mistakes_end_with_2_and_a_message(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    named: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["synthesise", *arguments])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert_tells(capsys.readouterr().err, named)
    assert os.listdir() == []
