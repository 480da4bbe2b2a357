"""AGW, CAJ, DEEN and the baseline against their authors' outputs, losses, gradients and training steps, in float64.

Weights go through the names of the published checkpoints, dead tensors included. tests/data/README.md says how closely
the numbers have to agree: random weights multiply small differences by a thousand to a million in three steps.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from dns import optim
from dns.evaluation.embedding import Embeddings
from dns.methods import METHODS
from dns.network import Network
from dns.published import PublishedNames, fits, rename
from dns.training.checkpoint import load_model
from tests.support import goldens
from tests.support.golden_weights import golden_array
from tests.support.goldens import relative_error, tensor

pytestmark = pytest.mark.numerical

FILE = Path("published.t")  # named in errors
OUTPUTS = 1e-11
LOSSES = (1e-10, 1e-8, 1e-6)  # of each step
IDENTITIES = 12
NAMES = {  # golden -> method
    "agw": "agw", "caj": "caj", "deen": "deen", "deen_regdb": "deen", "baseline": "baseline",
}  # fmt: skip
AFTER = {"agw": 1e-5, "caj": 1e-5, "deen": 1e-9, "deen_regdb": 1e-9, "baseline": 1e-9}
COLUMNS = {"total", "identity", "triplet", "circle", "centre", "orthogonal"}
OURS = {"wrt": "triplet", "squared_wrt": "triplet", "cpm": "centre"}
WEIGHTED = {"centre": 0.8, "orthogonal": 0.01}  # in the goldens' columns


def published_net(name: str) -> dict[str, Tensor]:
    """Return the goldens' tensors by their published names."""
    facts = goldens.read_json(f"methods/{name}.json")
    net = {key: tensor(golden_array(key, shape)) for key, shape in facts["state_dict_shapes"].items()}
    net = {key: array.double() if array.is_floating_point() else array for key, array in net.items()}
    return net | {key: net[key] / 8 for key in facts["times_one_eighth"]}


def layout(name: str, net: dict[str, Tensor]) -> PublishedNames:
    (found,) = [one for one in METHODS[NAMES[name]].published if fits(net, one)]
    return found


def network(name: str) -> Network:
    method = METHODS[NAMES[name]]
    own = {"dropout": 0.0, "stages": 3 if name == "deen_regdb" else 4} if NAMES[name] == "deen" else {}
    model = method.network(IDENTITIES, method.model(method=NAMES[name], **own), method.loss())
    net = published_net(name)
    model = model.double()
    load_model(model, rename(net, FILE, layout(name, net)), FILE)
    return model


class Case(NamedTuple):
    name: str
    golden: dict
    facts: dict


@pytest.fixture(params=NAMES, scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    name = request.param
    return Case(name, goldens.arrays(f"methods/{name}.npz"), goldens.read_json(f"methods/{name}.json"))


@pytest.fixture(scope="module")
def tested() -> Callable[[str], Network]:
    """Name -> the goldens' network in evaluation. Read only."""
    return cache(lambda name: network(name).eval())


def images(golden: dict, modality: str) -> Tensor:
    return tensor(golden[f"x_{modality}"]).double()


def by_part(vectors_BD: Tensor, parts: int) -> Tensor:
    """(B, parts D) -> (parts B, D), as the goldens hold them."""
    return torch.cat(vectors_BD.chunk(parts, dim=1))


@pytest.mark.parametrize("modality", ["visible", "infrared"])
def test_embeddings_are_the_published_ones(case: Case, modality: str, tested: Callable[[str], Network]) -> None:
    model, golden = tested(case.name), case.golden
    count = len(golden[f"eval_{modality}_pooled"]) // model.parts
    with torch.inference_mode():
        found = model.embed(images(golden, modality)[:count], visible=modality == "visible")
    for vectors, kind in zip(found, ("pooled", "embedding"), strict=True):
        assert vectors.shape == (count, model.width)
        assert relative_error(by_part(vectors, model.parts), golden[f"eval_{modality}_{kind}"]) < OUTPUTS


@torch.inference_mode()
def similarity(model: Network, golden: dict, feature: str, *, flip: str, count: int) -> Tensor:
    """Compare infrared queries with a visible gallery as the engine does: flips added, or off."""
    both = []
    for modality in ("infrared", "visible"):
        found = model.embed(images(golden, modality)[:count], visible=modality == "visible")
        if flip != "off":
            mirrored = model.embed(images(golden, modality)[:count].flip(3), visible=modality == "visible")
            found = tuple(one + other for one, other in zip(found, mirrored, strict=True))
        if flip == "normalised":
            found = tuple(torch.nn.functional.normalize(one, dim=1) for one in found)
        both.append(Embeddings(bn=found[1], z=found[0]).compared(feature))
    return both[0] @ both[1].T


SIMILARITIES = {
    "agw": [("z", "off", "test_similarity_pooled"), ("bn", "off", "test_similarity_embedding")],
    "caj": [("z", "normalised", "test_similarity_pooled"), ("bn", "normalised", "test_similarity_embedding")],
    "deen": [
        ("sum", "off", "train_eval_similarity"), ("sum", "published", "test_flip_similarity_equal"),
        ("weighted", "published", "test_flip_similarity_weighted"),
    ],
    "deen_regdb": [("sum", "off", "train_eval_similarity")],
    "baseline": [],
}  # fmt: skip


def test_similarities_are_those_of_the_authors_tests(case: Case, tested: Callable[[str], Network]) -> None:
    for feature, flip, key in SIMILARITIES[case.name]:
        expected = case.golden[key]
        found = similarity(tested(case.name), case.golden, feature, flip=flip, count=len(expected))
        assert relative_error(found, expected) < OUTPUTS, key


def our_names(case: Case) -> dict[str, str]:
    """Our tensor name -> the published one."""
    shapes = case.facts["state_dict_shapes"]
    published = layout(case.name, {name: torch.empty(0) for name in shapes})
    return {ours: name for name in shapes for ours in rename({name: torch.empty(0)}, FILE, published)}


@pytest.mark.slow
def test_training_is_the_published_one(case: Case) -> None:
    """Outputs and gradient norms of the first step, losses of three, every tensor's norm after them."""
    name, golden, facts = case
    model, names = network(name).train(), our_names(case)
    visible, other = (images(golden, modality) for modality in ("visible", "infrared"))
    if "x_visible_second_view" in golden:
        visible = torch.cat([visible, images(golden, "visible_second_view")])
    person = tensor(golden["labels"]).repeat(2)
    method, options = METHODS[NAMES[name]], optim.OptimOptions(lr=0.1)
    optimiser = optim.make_optimiser(model, options, method.multiplier(), fused=False)
    columns = [OURS.get(column, column) for column in facts["loss_columns"]]
    for step, expected in enumerate(golden["loss_trajectory"]):
        outputs = model(visible, other)
        losses = model.loss(outputs, person)
        found = {key: WEIGHTED.get(key, 1) * float(loss.detach()) for key, loss in losses.items()}
        wanted = {key: value for key, value in zip(columns, expected.tolist(), strict=True) if key in COLUMNS}
        assert found == pytest.approx(wanted, rel=LOSSES[step])
        optimiser.zero_grad()
        losses["total"].backward()
        if step == 0:
            first = outputs[0]
            key = "train_embedding" if "train_embedding" in golden else "train_pooled"
            assert relative_error(first, golden[key]) < OUTPUTS
            assert relative_error(outputs.logits_BC, golden["train_logits"]) < OUTPUTS
            norms = {names[key]: float(parameter.grad.norm()) for key, parameter in model.named_parameters()}
            assert norms == pytest.approx(facts["grad_norms_step0"], rel=1e-8, abs=1e-11)
        rates = golden["group_learning_rates"][step].tolist()
        assert [group["name"] for group in optimiser.param_groups] == list(model.groups())
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate
        optimiser.step()
    state, after = model.state_dict(), facts["norms_after_3_steps"]
    for ours, theirs in names.items():
        tiny = 1e-3 if ours.endswith("running_mean") else 1e-11
        assert float(state[ours].norm()) == pytest.approx(after[theirs], rel=AFTER[name], abs=tiny), ours


COUNTS = {  # millions at 395 identities (RegDB 206), of parameters that get a gradient
    "agw": 24.36, "caj": 24.36, "deen": 42.04, "deen_regdb": 13.09, "baseline": 25.77,
}  # fmt: skip


def test_parameters_are_as_many_as_published(case: Case) -> None:
    method = METHODS[NAMES[case.name]]
    own = {"stages": 3} if case.name == "deen_regdb" else {}
    with torch.device("meta"):
        model = method.network(206 if own else 395, method.model(method=NAMES[case.name], **own), method.loss())
    trained = sum(parameter.numel() for parameters in model.groups().values() for parameter in parameters)
    assert trained / 1e6 == pytest.approx(COUNTS[case.name], abs=0.005)
    names = our_names(case)
    assert set(names) == set(model.state_dict())
    dead = set(case.facts["state_dict_shapes"]) - set(names.values())
    assert all(key in dead for key in case.facts["parameters_without_gradient"] if key != "bottleneck.bias")


def test_checkpoints_are_recognised_by_their_names(case: Case) -> None:
    """AGW's and CAJ's are alike; no other two are."""
    net = {name: torch.empty(0) for name in case.facts["state_dict_shapes"]}
    found = [name for name, method in METHODS.items() if any(fits(net, one) for one in method.published)]
    assert found == (["agw", "caj"] if case.name in ("agw", "caj") else [NAMES[case.name]])
    wrapped = {f"module.{name}": tensor for name, tensor in net.items()}
    assert fits(wrapped, layout(case.name, net))
