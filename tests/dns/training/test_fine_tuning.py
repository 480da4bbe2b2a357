"""Training that starts from a trained DNS: what it takes, what it draws again, and what it refuses by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dns.losses import LossOptions
from dns.model import DNS, ModelOptions
from dns.published import NAMES
from dns.training.network import build_network, initial_network, started_from
from dns.training.options import Config
from dns.training.selection import training_setup
from ffcv_convert.common.errors import WeightsError
from tests.support.configs import make_config
from tests.support.refusals import assert_tells, refusal

State = dict[str, Tensor]
KEPT = ("visible_stem.", "other_stem.", "layer3.", "layer4.", "hss3.", "hss4.", "css.", "neck.")


@pytest.fixture(scope="module")
def trained() -> State:
    """A DNS of 5 identities whose every tensor differs from those of a new network, running statistics included."""
    torch.manual_seed(5)
    model = DNS(5, ModelOptions(architecture="resnet10_half", pretrained="none"), LossOptions())
    return {name: tensor + 0.25 + torch.rand(tensor.shape) for name, tensor in model.state_dict().items()}


def config_for(path: Path, architecture: str = "resnet10_half") -> Config:
    return make_config(f"--model.pretrained={path}", f"--model.architecture={architecture}")


def published(state: State, prefix: str = "") -> State:
    back = sorted(((ours, theirs) for theirs, ours in NAMES.items()), key=lambda pair: -len(pair[0]))
    net = {}
    for name, tensor in state.items():
        ours, theirs = next(pair for pair in back if name.startswith(pair[0]))
        net[prefix + theirs + name[len(ours) :]] = tensor
    return net


HELD: dict[str, Callable[[State], dict[str, Any]]] = {
    "ours": lambda state: {"format": "dns-ffcv", "version": 1, "model": state, "optimiser": {"state": {}}, "epoch": 3},
    "ours, of a later version": lambda state: {"format": "dns-ffcv", "version": 9, "model": state, "more": {}},
    "ours, its tensors alone": lambda state: state,
    "published": lambda state: {"net": published(state), "epoch": 57, "mAP": 0.5},
    "published, of DataParallel": lambda state: {"net": published(state, "module."), "epoch": 57},
    "published, its tensors alone": published,
}


@pytest.mark.parametrize("how", HELD)
def test_training_starts_from_all_that_does_not_depend_on_the_identities(
    how: str, trained: State, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "trained.pt"
    torch.save(HELD[how](trained), path)
    torch.manual_seed(0)
    fresh = build_network(config_for(path), 3).state_dict()
    torch.manual_seed(0)
    found = initial_network(config_for(path), 3).state_dict()
    kept = [name for name in found if name.startswith(KEPT)]
    assert all(torch.equal(found[name], trained[name]) for name in kept)
    drawn = found.keys() - kept
    assert {name.partition(".")[0] for name in drawn} == {"classifier", "distillation"}
    assert all(torch.equal(found[name], fresh[name]) for name in drawn)
    assert found["classifier.weight"].shape[0] == 3
    assert_tells(capsys.readouterr().err, "note", path, len(kept), len(drawn))


def test_what_only_training_reads_is_drawn_where_the_file_lacks_it(trained: State, tmp_path: Path) -> None:
    without = {name: tensor for name, tensor in trained.items() if not name.startswith(("css.", "distillation."))}
    torch.save(without, tmp_path / "trained.pt")
    config = config_for(tmp_path / "trained.pt")
    torch.manual_seed(0)
    fresh = build_network(config, 3).state_dict()
    torch.manual_seed(0)
    found = initial_network(config, 3).state_dict()
    assert all(torch.equal(found[name], trained[name]) for name in found if name.startswith(("layer3.", "hss3.")))
    assert all(torch.equal(found[name], fresh[name]) for name in found if name.startswith("css."))


def test_a_part_that_testing_reads_needs_its_option(trained: State, tmp_path: Path) -> None:
    without = {name: tensor for name, tensor in trained.items() if not name.startswith(("css.", "hss3.", "hss4."))}
    torch.save(without, path := tmp_path / "trained.pt")
    with refusal(WeightsError, path, "--model.hss=false"):
        initial_network(config_for(path), 3)


def test_a_dns_of_another_architecture_is_refused_with_its_name(trained: State, tmp_path: Path) -> None:
    torch.save({"model": trained}, tmp_path / "trained.pt")
    with refusal(WeightsError, tmp_path / "trained.pt", "--model.architecture=resnet10_half", "resnet18"):
        initial_network(config_for(tmp_path / "trained.pt", "resnet18"), 3)


@pytest.mark.parametrize("value", [torch.full((256,), torch.nan), torch.ones(256, dtype=torch.int32), None])
def test_a_damaged_dns_is_refused(value: Tensor | None, trained: State, tmp_path: Path) -> None:
    damaged = {name: tensor for name, tensor in trained.items() if name != "neck.running_mean"}
    damaged |= {} if value is None else {"neck.running_mean": value}
    torch.save({"model": damaged}, tmp_path / "trained.pt")
    with refusal(WeightsError, tmp_path / "trained.pt"):
        initial_network(config_for(tmp_path / "trained.pt"), 3)


def test_a_tensor_that_the_published_network_lacks_is_named(trained: State, tmp_path: Path) -> None:
    torch.save({"net": {**published(trained), "base.gate.weight": torch.ones(1)}}, tmp_path / "other.pth")
    with refusal(WeightsError, tmp_path / "other.pth", "base.gate.weight"):
        initial_network(config_for(tmp_path / "other.pth"), 3)


def test_rows_say_what_a_network_started_from(tmp_path: Path) -> None:
    (tmp_path / "start.pt").write_bytes(b"weights")
    stored = config_for(tmp_path / "start.pt").stored()
    digests = started_from(str(tmp_path / "start.pt"))
    assert training_setup(stored, digests)["started_from"] == (
        "start.pt, SHA-256 9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    )
    for known in ("none", "imagenet"):
        assert started_from(known) == {}
        stored["model"]["pretrained"] = known
        assert "started_from" not in training_setup(stored)
