"""Parameter groups and the schedule, against the learning rates printed in the published logs."""

from itertools import pairwise

import pytest
import torch

from dns.losses import LossOptions
from dns.model import DNS, GROUPS, ModelOptions
from dns.optim import (
    MultiplierOptions,
    OptimOptions,
    learning_rate,
    make_optimiser,
    parameter_groups,
    scaled_rate,
    schedule,
    set_learning_rate,
)
from tests.support import goldens

pytestmark = pytest.mark.numerical

MULTIPLIERS = dict(zip(GROUPS, [0.1, 0.2, 0.25, 1.0, 1.0, 1.0], strict=True))


def test_learning_rates_are_those_of_the_published_logs() -> None:
    golden = goldens.read_json("lr_from_published_logs.json")
    assert golden["columns"][:4] == ["dataset", "epoch", "iteration", "iterations_per_epoch"]
    for dataset, epoch, iteration, scheduled, last_group, first_group in golden["rows"]:
        peak = golden["peak_lr"][dataset]
        lr = learning_rate(
            epoch, iteration, scheduled=scheduled, peak=peak, epochs=golden["max_epoch"],
            peak_epoch=golden["peak_epoch"], published=True,
        )  # fmt: skip
        assert lr == pytest.approx(last_group, abs=1e-6)
        assert lr * MULTIPLIERS["rest"] == pytest.approx(first_group, abs=1e-6)


@pytest.mark.parametrize(
    ("method", "decay_epochs", "epochs"), [("agw", (20, 50), 81), ("caj", (20, 50), 100), ("deen", (20, 80), 151)]
)
def test_stepped_rates_are_those_of_the_published_code(method: str, decay_epochs: tuple[int, ...], epochs: int) -> None:
    """Of every epoch, whichever iteration of it: for the first group, whose multiplier is 0.1, and the others."""
    golden = goldens.read_json(f"methods/{method}_augmentation.json")["learning_rate_by_epoch"]["rows"]
    assert len(golden) == epochs
    rate = schedule(OptimOptions(lr=0.1, schedule="steps", decay_epochs=decay_epochs), iterations=700, batches=1)
    for epoch, rates in enumerate(golden):
        for iteration in (0, 1, 699):
            found = [rate(epoch, iteration) * multiplier for multiplier in (0.1, 1.0, 1.0)]
            assert found == pytest.approx(rates, rel=1e-12)


def test_the_baseline_s_rates_are_those_of_its_published_log() -> None:
    golden = goldens.read_json("methods/baseline_augmentation.json")
    rate = schedule(OptimOptions(lr=0.2), iterations=928, batches=1)
    assert [rate(epoch, 1) for epoch in range(100)] == pytest.approx(golden["learning_rate_at_start_of_epoch"][:100])
    for epoch, iteration, _, last_group, first_group, *_ in golden["published_log"]["every_fifth_row"]:
        assert rate(int(epoch), int(iteration)) == pytest.approx(last_group, abs=6e-7)
        assert 0.1 * rate(int(epoch), int(iteration)) == pytest.approx(first_group, abs=6e-7)


def test_stepped_rates_take_the_warm_up_and_the_rule_of_the_peak() -> None:
    options = OptimOptions(lr=1.0, schedule="steps", warm_up_epochs=2, decay_epochs=(3,), scale_lr="linear")
    rate = schedule(options, iterations=5, batches=4)
    assert [rate(epoch, 0) for epoch in range(5)] == pytest.approx([2, 4, 4, 0.4, 0.4])


def test_plain_schedule_rises_to_the_peak_and_falls_to_zero_without_jumps() -> None:
    schedule = {"scheduled": 10, "peak": 0.2, "epochs": 20, "peak_epoch": 4, "published": False}
    rates = [learning_rate(epoch, iteration, **schedule) for epoch in range(20) for iteration in range(10)]
    assert rates[0] == pytest.approx(0.2e-4)
    assert max(rates) == rates[40] == pytest.approx(0.2)
    assert all(0 < b - a < 0.2 / 39 for a, b in pairwise(rates[:41]))
    assert all(0 < a - b < 0.2 / 159 for a, b in pairwise(rates[40:]))
    assert rates[-1] == pytest.approx(0.2 / 160)


def test_groups_hold_every_parameter_once() -> None:
    model = DNS(7, ModelOptions(architecture="resnet18"), LossOptions())
    groups = parameter_groups(model, MultiplierOptions(**MULTIPLIERS))
    assert [group["name"] for group in groups] == list(GROUPS)
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in model.parameters())
    distillation = {id(parameter) for parameter in model.distillation.parameters()}
    assert {id(parameter) for parameter in groups[-1]["params"]} == distillation
    rest = {id(parameter) for parameter in groups[0]["params"]}
    assert {
        id(p) for part in (model.visible_stem, model.other_stem, model.hss3, model.css) for p in part.parameters()
    } <= rest


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_optimiser_takes_each_groups_rate(name: str, kind: type) -> None:
    model = DNS(3, ModelOptions(architecture="resnet18"), LossOptions())
    optimiser = make_optimiser(
        model,
        OptimOptions(name=name, lr=0.1, momentum=0.9, weight_decay=0.02),
        MultiplierOptions(**MULTIPLIERS),
        fused=False,
    )
    assert isinstance(optimiser, kind)
    set_learning_rate(optimiser, 0.5)
    assert [group["lr"] for group in optimiser.param_groups] == [0.5 * value for value in MULTIPLIERS.values()]
    assert {group["weight_decay"] for group in optimiser.param_groups} == {0.02}
    if name == "sgd":
        assert {(group["momentum"], group["nesterov"]) for group in optimiser.param_groups} == {(0.9, True)}


@pytest.mark.parametrize(("epochs", "top"), [(1, 5), (2, 10), (3, 15), (16, 80), (17, 160)])
def test_a_run_shorter_than_its_warm_up_still_peaks_and_ends_at_zero(epochs: int, top: int) -> None:
    schedule = {"scheduled": 10, "peak": 0.2, "epochs": epochs, "peak_epoch": 16, "published": False}
    rates = [learning_rate(epoch, iteration, **schedule) for epoch in range(epochs) for iteration in range(10)]
    assert rates[0] == pytest.approx(0.2e-4)
    assert max(rates) == rates[top] == pytest.approx(0.2)
    assert 0 < rates[-1] < 0.041


@pytest.mark.parametrize("fused", [False, True])
def test_a_first_step_that_the_scaler_skips_leaves_no_trace(fused: bool) -> None:
    """fp16 begins like that as a rule; a fused kernel's own momentum would then be what was in memory before."""
    model = DNS(3, ModelOptions(architecture="resnet18"), LossOptions())
    optimiser = make_optimiser(
        model,
        OptimOptions(name="sgd", lr=0.1, momentum=0.9, weight_decay=0.0),
        MultiplierOptions(**dict.fromkeys(GROUPS, 1.0)),
        fused=fused,
    )
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for loss in (float("inf"), 1.0):
        optimiser.zero_grad()
        scaler.scale(sum(parameter.sum() for parameter in model.parameters()) * loss).backward()
        scaler.step(optimiser)
        scaler.update()
    for name, parameter in model.named_parameters():
        assert torch.allclose(before[name] - parameter, torch.tensor(0.1 * (1 + 0.9)), atol=1e-5), name


def test_without_momentum_it_is_plain_descent() -> None:
    model = DNS(3, ModelOptions(architecture="resnet18"), LossOptions())
    for fused in (False, True):
        optimiser = make_optimiser(
            model, OptimOptions(name="sgd", lr=0.1, momentum=0.0, weight_decay=0.0), MultiplierOptions(), fused=fused
        )
        assert not optimiser.param_groups[0]["nesterov"]


@pytest.mark.parametrize(("rule", "expected"), [("none", 0.2), ("sqrt", 0.4), ("linear", 0.8)])
def test_the_peak_rate_grows_by_its_rule(rule: str, expected: float) -> None:
    assert scaled_rate(0.2, 4, rule) == pytest.approx(expected)
    assert scaled_rate(0.2, 1, rule) == 0.2
