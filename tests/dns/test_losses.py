"""Losses and modules against the published code's values, naive double loops, and degenerate batches."""

import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dns import losses as losses_module
from dns.layers import gem
from dns.losses import DomainDistillation, LossOptions, circle_loss, domain_alignment, mmd, weighted_sum
from dns.shifting import CommonSpaceShifting, HeterogeneousSpaceShifting
from ffcv_convert.common.errors import ConfigError
from tests.support import goldens
from tests.support.golden_weights import golden_array
from tests.support.goldens import relative_error, tensor
from tests.support.refusals import refusal

pytestmark = pytest.mark.numerical

VALUE, GRADIENT = 1e-5, 1e-4
PUBLISHED = LossOptions()
TERMS = ("identity", "circle", "alignment", "distillation")
SCALES = {"kernels": PUBLISHED.alignment_kernels, "factor": PUBLISHED.alignment_factor}


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return goldens.arrays("losses.npz")


def fill(module: nn.Module, names: dict[str, str]) -> None:
    """Golden weights (seed 1) by their published names; `names` maps ours to those and must name every tensor."""
    state = module.state_dict()
    assert set(state) == set(names)
    for ours, published in names.items():
        state[ours] = tensor(golden_array(published, state[ours].shape, seed=1))
    module.load_state_dict(state)


@pytest.mark.parametrize("case", [0, 1, 2])
def test_mmd_is_the_published_one(golden: dict[str, np.ndarray], case: int) -> None:
    first = tensor(golden[f"mmd{case}_a"]).requires_grad_()
    value = mmd(first, tensor(golden[f"mmd{case}_b"]), **SCALES)
    value.backward()
    assert relative_error(value, golden[f"mmd{case}_value"]) < VALUE
    assert relative_error(first.grad, golden[f"mmd{case}_grad_a"]) < GRADIENT


@pytest.mark.parametrize("case", [0, 1, 2])
def test_domain_alignment_is_the_published_one(golden: dict[str, np.ndarray], case: int) -> None:
    pooled = tensor(golden[f"da{case}_z"]).requires_grad_()
    value = domain_alignment(pooled, tensor(golden[f"da{case}_z_hat"]), PUBLISHED)
    value.backward()
    assert relative_error(value, golden[f"da{case}_value"]) < VALUE
    assert relative_error(pooled.grad, golden[f"da{case}_grad_z"]) < GRADIENT


@pytest.mark.parametrize("case", [0, 1, 2])
@pytest.mark.parametrize(("margin", "gamma"), [(0.5, 64), (0.45, 64), (0.25, 128)])
def test_circle_loss_is_the_published_one(golden: dict[str, np.ndarray], case: int, margin: float, gamma: int) -> None:
    embedding = tensor(golden[f"da{case}_z"]).requires_grad_()
    value = circle_loss(embedding, tensor(golden[f"circle{case}_labels"]), margin=margin, gamma=gamma)
    value.backward()
    assert relative_error(value, golden[f"circle{case}_m{margin}_g{gamma}_value"]) < VALUE
    assert relative_error(embedding.grad, golden[f"circle{case}_m{margin}_g{gamma}_grad"]) < GRADIENT


def naive_circle_loss(embedding: Tensor, person: Tensor, margin: float, gamma: float) -> float:
    vectors = functional.normalize(embedding.double(), dim=1)
    total = 0.0
    for anchor in range(len(person)):
        positive, negative = [], []
        for other in range(len(person)):
            similarity = float(vectors[anchor] @ vectors[other])
            if person[anchor] != person[other]:
                negative.append(gamma * max(similarity + margin, 0) * (similarity - margin))
            elif anchor != other:
                positive.append(-gamma * max(1 + margin - similarity, 0) * (similarity - 1 + margin))
        if positive and negative:
            total += math.log1p(sum(map(math.exp, positive)) * sum(map(math.exp, negative)))
    return total / len(person)


@pytest.mark.parametrize("person", [[0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 2, 2], [0, 1, 2, 3, 4, 5]])
def test_circle_loss_equals_the_double_loop(person: list[int]) -> None:
    torch.manual_seed(3)
    embedding, label = torch.randn(6, 8), torch.tensor(person)
    expected = naive_circle_loss(embedding, label, 0.45, 16.0)
    assert float(circle_loss(embedding, label, margin=0.45, gamma=16.0)) == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("person", [[0, 1, 2, 3], [0, 0, 0, 0]])
def test_degenerate_batches_give_finite_gradients(person: list[int]) -> None:
    embedding = torch.ones(4, 8, requires_grad=True)
    loss = circle_loss(embedding, torch.tensor(person), margin=0.45, gamma=64.0)
    loss = loss + mmd(embedding[:2], embedding[2:], **SCALES)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(embedding.grad).all()


def naive_mmd(first: Tensor, second: Tensor) -> float:
    rows = [functional.normalize(row.double(), dim=0) for row in [*first, *second]]
    distance = [[float(((a - b) ** 2).sum()) for b in rows] for a in rows]
    count, half = len(rows), len(first)
    bandwidth = sum(map(sum, distance)) / (count * count - count) / 4
    total = 0.0
    for i in range(half):
        for j in range(half):
            for sign, a, b in ((1, i, j), (1, half + i, half + j), (-1, i, half + j), (-1, half + i, j)):
                total += sign * sum(math.exp(-distance[a][b] / (bandwidth * 2**power)) for power in range(5))
    return total / half**2


def test_mmd_equals_the_double_loop_and_is_zero_for_equal_sets() -> None:
    torch.manual_seed(4)
    first, second = torch.randn(5, 7), torch.randn(5, 7) + 0.5
    assert float(mmd(first, second, **SCALES)) == pytest.approx(naive_mmd(first, second), rel=1e-5)
    assert float(mmd(first, first, **SCALES)) == pytest.approx(0.0, abs=1e-5)


HSS = {
    "squeeze.weight": "hss.channel_attention.0.weight",
    "norm.weight": "hss.channel_attention.1.weight",
    "norm.bias": "hss.channel_attention.1.bias",
    "norm.running_mean": "hss.channel_attention.1.running_mean",
    "norm.running_var": "hss.channel_attention.1.running_var",
    "expand_height.weight": "hss.conv_h.weight",
    "expand_width.weight": "hss.conv_w.weight",
}


def test_hss_is_the_published_one(golden: dict[str, np.ndarray]) -> None:
    module = HeterogeneousSpaceShifting(64)
    fill(module, HSS)
    maps = tensor(golden["hss_x"])
    assert relative_error(module.eval()(maps), golden["hss_eval"]) < VALUE
    maps.requires_grad_()
    output = module.train()(maps)
    assert relative_error(output, golden["hss_train"]) < VALUE
    output.square().sum().backward()
    assert relative_error(maps.grad, golden["hss_train_grad_x"]) < GRADIENT


def test_css_and_gem_are_the_published_ones(golden: dict[str, np.ndarray]) -> None:
    module = CommonSpaceShifting(32, dropout=0.01).eval()
    names = {"norm": "css.mlp.0", "expand": "css.mlp.1", "project": "css.mlp.4"}
    fill(module, {f"{ours}.{kind}": f"{p}.{kind}" for ours, p in names.items() for kind in ("weight", "bias")})
    assert relative_error(module(tensor(golden["css_x"])), golden["css_eval"]) < VALUE
    assert relative_error(gem(tensor(golden["gem_x"])[..., None]), golden["gem"]) < VALUE


DISTILLATION = {
    "visible.weight": "visible_classifier.weight",
    "other.weight": "infrared_classifier.weight",
    "visible_twin": "visible_classifier_.weight",
    "other_twin": "infrared_classifier_.weight",
}


def test_domain_distillation_is_the_published_one_over_four_steps(golden: dict[str, np.ndarray]) -> None:
    module = DomainDistillation(32, 11, tau=0.2, identity_weight=0.25)
    fill(module, {ours: f"dd.{published}" for ours, published in DISTILLATION.items()})
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    for call in range(4):
        embedding = tensor(golden["dd_z"][call]).requires_grad_()
        person = tensor(golden["dd_labels"][call]).repeat(2)
        value = module(embedding, tensor(golden["dd_z_hat"][call]), person)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        assert relative_error(value, golden["dd_values"][call]) < VALUE
        assert relative_error(embedding.grad, golden["dd_grad_z"][call]) < GRADIENT
    for ours, published in DISTILLATION.items():
        assert relative_error(module.state_dict()[ours], golden[f"dd_after.{published}"]) < VALUE


def test_twins_are_copies_that_stand_still_in_evaluation() -> None:
    module = DomainDistillation(4, 3, tau=0.5, identity_weight=0.25)
    assert module.visible_twin.data_ptr() != module.visible.weight.data_ptr()
    with torch.no_grad():
        module.visible.weight += 1
    before = module.visible_twin.clone()
    module.eval()(torch.randn(4, 4), torch.randn(4, 4), torch.tensor([0, 1, 0, 1]))
    assert torch.equal(module.visible_twin, before)
    module.train()(torch.randn(4, 4), torch.randn(4, 4), torch.tensor([0, 1, 0, 1]))
    assert torch.allclose(module.visible_twin, before + 0.5)


def test_distillation_stays_finite_where_softmax_log_does_not() -> None:
    module = DomainDistillation(2, 2, tau=0.2, identity_weight=0.25)
    with torch.no_grad():
        module.visible.weight.copy_(torch.tensor([[400.0, 0.0], [0.0, 400.0]]))
        module.other_twin.copy_(module.visible.weight)
    assert torch.isfinite(module(torch.eye(2).repeat(2, 1) * 5, torch.eye(2).repeat(2, 1), torch.tensor([0, 1, 0, 1])))


def test_a_loss_of_weight_0_is_not_computed_and_the_others_are_summed_by_their_weights() -> None:
    losses = {name: lambda value=value: torch.tensor(value) for value, name in enumerate(TERMS, start=1)}
    losses["circle"] = lambda: pytest.fail("computed")
    found = weighted_sum(losses, LossOptions(identity=0.5, circle=0, alignment=3))
    assert {name: float(loss) for name, loss in found.items()} == {
        "identity": 1, "alignment": 3, "distillation": 4, "total": 0.5 + 9 + 4,
    }  # fmt: skip


def test_a_part_of_alignment_with_weight_0_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(6)
    pooled, shifted = torch.randn(8, 5), torch.randn(8, 5)
    whole = domain_alignment(pooled, shifted, PUBLISHED)
    modalities = domain_alignment(pooled, shifted, LossOptions(alignment_spaces=0))
    spaces = domain_alignment(pooled, shifted, LossOptions(alignment_modalities=0))
    torch.testing.assert_close(modalities + spaces, whole)
    calls: list[int] = []
    monkeypatch.setattr(losses_module, "mmd", lambda *_, **__: calls.append(1) or torch.zeros(()))
    domain_alignment(pooled, shifted, LossOptions(alignment_spaces=0))
    assert len(calls) == 2


def test_distillation_without_its_identity_term_is_the_divergence_alone() -> None:
    torch.manual_seed(7)
    spaces, person = (torch.randn(6, 4), torch.randn(6, 4)), torch.tensor([0, 1, 2] * 2)
    with_it, without = (DomainDistillation(4, 3, tau=0.2, identity_weight=weight).eval() for weight in (0.25, 0.0))
    without.load_state_dict(with_it.state_dict())
    identity = sum(
        functional.cross_entropy(classifier(half), person[:3])
        for space in spaces
        for classifier, half in zip((with_it.visible, with_it.other), space.chunk(2), strict=True)
    )
    torch.testing.assert_close(with_it(*spaces, person) - without(*spaces, person), 0.25 * identity)


def test_nothing_to_train_is_refused() -> None:
    nothing = LossOptions(identity=0, circle=0, alignment=0, distillation=0)
    with refusal(ConfigError, "--loss.identity"):
        weighted_sum({name: lambda: pytest.fail("computed") for name in TERMS}, nothing)
    with refusal(ConfigError, "loss.alignment", 0.2):
        LossOptions(alignment_modalities=0, alignment_spaces=0)


def test_the_ends_of_every_range_give_finite_losses_and_gradients() -> None:
    torch.manual_seed(8)
    person = torch.tensor([0, 0, 1, 1] * 2)
    margins = {"circle_margin": "margin", "circle_gamma": "gamma"}
    scales = {"alignment_kernels": "kernels", "alignment_factor": "factor"}
    for field in fields(LossOptions):
        for end in field.metadata["option"].limits:
            embedding = torch.randn(8, 5, requires_grad=True)
            if field.name in margins:
                loss = circle_loss(embedding, person, **{"margin": 0.45, "gamma": 64.0, margins[field.name]: end})
            elif field.name in scales:
                loss = mmd(*embedding.chunk(2), **{**SCALES, scales[field.name]: end})
            else:
                continue
            loss.backward()
            assert torch.isfinite(loss), (field.name, end)
            assert torch.isfinite(embedding.grad).all(), (field.name, end)
    widest = mmd(*torch.randn(8, 5, requires_grad=True).chunk(2), kernels=10, factor=10.0)
    assert torch.isfinite(widest)
