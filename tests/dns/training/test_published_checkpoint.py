"""Published checkpoints: whose they are by the names of their tensors, and what is said where that is not clear."""

from pathlib import Path
from typing import cast

import pytest
from torch import Tensor

from dns.methods import METHODS
from dns.training.published_checkpoint import is_published, method_of, recognised, renamed
from ffcv_convert.common.errors import CheckpointError
from tests.support import goldens
from tests.support.refusals import refusal

FILE = Path("published.t")
LOOK_ALIKE = ["agw", "caj"]
# The file of goldens whose names a checkpoint has -> the methods that it may be of.
OF = {
    "methods/agw.json": LOOK_ALIKE,
    "methods/caj.json": LOOK_ALIKE,
    "methods/deen.json": ["deen"],
    "methods/deen_regdb.json": ["deen"],
    "methods/baseline.json": ["baseline"],
    "model_float64.json": ["dns"],
}


def names_of(golden: str) -> dict[str, Tensor]:
    """The names of a published checkpoint's tensors; names alone decide."""
    return cast(dict[str, Tensor], dict.fromkeys(goldens.read_json(golden)["state_dict_shapes"], golden))


@pytest.mark.parametrize("wrapped", ["", "module.", "module._orig_mod."])
@pytest.mark.parametrize("golden", OF)
def test_a_checkpoint_is_recognised_by_its_names(golden: str, wrapped: str) -> None:
    net = {wrapped + name: tensor for name, tensor in names_of(golden).items()}
    assert recognised(net) == OF[golden]
    assert is_published(net)
    for method in OF[golden]:
        assert {name.partition(".")[0] for name in renamed(net, FILE, method)} >= {"visible_stem", "neck", "classifier"}
    if OF[golden] != LOOK_ALIKE:
        assert method_of(net, FILE) == OF[golden][0]


def test_where_two_methods_have_the_same_names_the_user_says_which() -> None:
    with refusal(CheckpointError, FILE, "METHOD=agw", "--model.method=agw", *LOOK_ALIKE):
        method_of(names_of("methods/agw.json"), FILE)


@pytest.mark.parametrize("golden", OF)
def test_another_method_s_checkpoint_is_refused_with_its_name(golden: str) -> None:
    net = names_of(golden)
    for method in METHODS:
        if method not in OF[golden]:
            with refusal(CheckpointError, FILE, f"not of {method}", f"METHOD={OF[golden][0]}"):
                renamed(net, FILE, method)


@pytest.mark.parametrize("golden", OF)
def test_of_names_that_fit_none_the_nearest_method_names_the_tensor(golden: str) -> None:
    net = {**names_of(golden), "base.gate.weight": cast(Tensor, None)}
    assert recognised(net) == []
    assert is_published(net)
    method = method_of(net, FILE)
    assert method in OF[golden]
    with refusal(CheckpointError, FILE, "base.gate.weight"):
        renamed(net, FILE, method)


def test_a_backbone_alone_is_no_published_checkpoint() -> None:
    assert not is_published(cast(dict[str, Tensor], dict.fromkeys(["conv1.weight", "layer1.0.conv1.weight"])))
