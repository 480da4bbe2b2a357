"""eval.py takes the memory layout that a network was trained in, on the same kind of device."""

from typing import Any, cast

import pytest
import torch

from dns.training import checkpoint, selection
from dns.training.config import read_config


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
