"""eval.py takes the memory layout that a network was trained in, on the same kind of device; its results go beside the
checkpoint, or where that cannot be written below run.root."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch

from dns.training import checkpoint, selection
from dns.training.config import read_config
from ffcv_convert.common.errors import ReportError
from tests.support.refusals import assert_tells, refusal


@pytest.mark.parametrize(
    ("cuda_here", "trained_on", "asked", "layout"),
    [
        (False, "cpu", [], "true"),
        (False, "cuda", [], "auto"),
        (True, "cuda:1", [], "true"),
        (True, "cpu", [], "auto"),
        (True, "cpu", ["--engine.device=cpu"], "true"),
        (True, "cuda", ["--engine.device=cpu"], "auto"),
        (False, "cpu", ["--engine.channels_last=false"], "false"),
        (False, "", [], "auto"),  # a configuration without the section
    ],
)
def test_layout_is_the_training_s(
    monkeypatch: pytest.MonkeyPatch, cuda_here: bool, trained_on: str, asked: list[str], layout: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda_here)
    stored: dict[str, Any] = read_config(
        ["--config-file", str(selection.CONFIG_FOLDER / "llcm.yaml")], description=""
    ).stored()
    stored["engine"] |= {"device": trained_on, "channels_last": "true", "precision": "fp32"}
    if not trained_on:
        del stored["engine"]
    found = selection.config_for_checkpoint(asked, cast(checkpoint.Tested, {"config": stored}), 0, "")
    assert found.engine.channels_last == layout
    assert found.engine.precision == "auto", "which is this machine's own"


@pytest.mark.parametrize(
    ("pattern", "ours", "folder"),
    [
        ("zoo/llcm-seed0/best.pt", True, "mine/llcm-seed0-best"),
        ("zoo/shared.pt", True, "mine/zoo-shared"),
        ("zoo/regdb-seed0/trial-{trial}/best.pt", True, "mine/regdb-seed0-best"),
        ("zoo/llcm_{trial}_best.pth", False, "mine/llcm_all_best"),
        ("other/llcm-seed0/best.pt", True, "other/llcm-seed0"),
    ],
)
def test_results_of_a_checkpoint_in_a_read_only_folder_go_to_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
    pattern: str, ours: bool, folder: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(selection, "can_write", lambda path: "zoo" not in path.relative_to(tmp_path).parts)
    assert selection.result_folder(tmp_path / pattern, tmp_path / "mine", ours=ours) == tmp_path / folder
    said = capsys.readouterr().err
    if ours and folder.startswith("mine"):
        assert_tells(said, "note", tmp_path / folder)
    else:
        assert not said
    assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_written_the_option_that_helps_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "can_write", lambda _: False)
    for ours in (True, False):
        with refusal(ReportError, "--run.root"):
            selection.result_folder(tmp_path / "best.pt", tmp_path / "mine", ours=ours)
    with refusal(ReportError, tmp_path / "features.npz", "--eval.export"):
        selection.check_export(str(tmp_path / "features.npz"))
    selection.check_export("none")
