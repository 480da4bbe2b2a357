"""The normalisation belongs to the weights: a run, its tests and what starts from it keep theirs, or say so."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch

from dns.losses import LossOptions
from dns.model import DNS, ModelOptions
from dns.training import checkpoint, selection
from dns.training.network import initial_network
from dns.training.run_folder import first_change
from tests.conftest import REPOSITORY
from tests.support.configs import make_config
from tests.support.refusals import assert_tells

KEY = "augment.normalisation"
LUPERSON = f"--{KEY}=luperson"
Stored = dict[str, dict[str, Any]]


def before_the_option(stored: Stored) -> Stored:
    del stored["augment"]["normalisation"]
    return stored


@pytest.mark.parametrize(
    ("options", "name"),
    [([], "imagenet"), (["--model.architecture=resnet50_clip"], "clip"), ([LUPERSON], "luperson")],
)
def test_a_configuration_names_the_normalisation(options: list[str], name: str) -> None:
    config = make_config(*options)
    assert (config.augment.normalisation, config.normalisation_name) == (name, name)


@pytest.mark.parametrize(
    ("stored", "now", "before"),
    [
        (make_config(LUPERSON).stored(), [], "luperson"),
        (before_the_option(make_config().stored()), [LUPERSON], "imagenet"),
        (make_config().stored(), [LUPERSON], "imagenet"),
    ],
)
def test_a_run_does_not_go_on_with_another_one(stored: Stored, now: list[str], before: str) -> None:
    change = first_change(stored, make_config(*now))
    assert change is not None
    assert (change.key, change.before) == (KEY, before)


@pytest.mark.parametrize("now", [[], [f"--{KEY}=imagenet"]])
@pytest.mark.parametrize("stored", [make_config().stored(), before_the_option(make_config().stored())])
def test_auto_and_its_own_name_are_the_same(stored: Stored, now: list[str]) -> None:
    assert first_change(stored, make_config(*now)) is None


@pytest.mark.parametrize(
    ("options", "name"), [([LUPERSON], "luperson"), (["--model.architecture=resnet50_clip"], "clip"), ([], "imagenet")]
)
@pytest.mark.parametrize("asked", [[], [LUPERSON], ["--config-file", str(REPOSITORY / "configs" / "llcm.yaml")]])
def test_a_checkpoint_is_tested_with_its_own(options: list[str], name: str, asked: list[str]) -> None:
    content = cast(checkpoint.Tested, {"config": make_config(*options).stored()})
    found = selection.config_for_checkpoint(
        ["--eval.protocols=llcm-i2v", "--data.set=synthetic", *asked], content, 0, ""
    )
    assert found.normalisation_name == name


@pytest.mark.parametrize(("now", "noted"), [([], True), ([LUPERSON], False)])
def test_training_from_a_network_of_another_normalisation_is_noted(
    now: list[str], noted: bool, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = DNS(5, ModelOptions(architecture="resnet10_half"), LossOptions())
    torch.save({"config": make_config(LUPERSON).stored(), "model": model.state_dict()}, path := tmp_path / "a.pt")
    initial_network(make_config(f"--model.pretrained={path}", *now), 3)
    said = capsys.readouterr().err
    assert ("normalised by" in said) == noted
    if noted:
        assert_tells(said, path, LUPERSON, "imagenet")
