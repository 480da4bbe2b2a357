"""The step: it learns, and each way of running it computes the same thing."""

from dataclasses import replace
from typing import Literal

import pytest
import torch

from dns.engine import Engine, EngineOptions, Precision, make_engine
from dns.losses import LossOptions
from dns.model import DNS, GROUPS, ModelOptions
from dns.optim import MultiplierOptions, OptimOptions, make_optimiser
from dns.step import make_step
from ffcv_convert.common.errors import ConfigError
from tests.support.refusals import refusal

pytestmark = pytest.mark.numerical

CPU = torch.device("cpu")
PLAIN = Engine(CPU, "fp64", channels_last=False, compile=False)
STEPS = 3
SAME = 1e-9  # float64 rounds to 1e-16, and a change grows about a hundredfold with each step
LR = 2.0**-6  # exact in float32 as well, which a fused optimiser's rates are

# How far the losses of one step may be from float64's, relative to the largest of them: five to ten times what was seen
# on an Intel Xeon, as it is and as on AVX2 and SSE4.1, with one thread and two: 1e-7 to 3e-7 in fp32, 3e-5 to 2e-4 in
# fp16, 1e-3 to 2e-3 in bf16. The formats round to 6e-8, 5e-4 and 4e-3, and errors of many channels cancel.
ROUNDED = {"fp32": 3e-6, "fp16": 2e-3, "bf16": 1e-2}


def run(engine: Engine, steps: int = STEPS) -> list[list[float]]:
    torch.manual_seed(0)
    model = engine.place(DNS(6, ModelOptions(architecture="resnet10_half", dropout=0.0), LossOptions())).train()
    optimiser = make_optimiser(
        model, OptimOptions(name="sgd", lr=LR, momentum=0.9, weight_decay=5e-4),
        MultiplierOptions(**dict.fromkeys(GROUPS, 1.0)), fused=engine.fused,
    )  # fmt: skip
    images = torch.randint(0, 256, (12, 32, 24, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    person = torch.tensor([0, 0, 1, 1, 2, 2] * 2)
    shift = torch.zeros(12, 1)
    step = make_step(
        model, optimiser, engine.scaler(),
        lambda pixels, table: ((pixels.float() / 255 - 0.5) + table[:, :, None, None]).permute(0, 3, 1, 2).chunk(2),
        engine,
    )  # fmt: skip
    return [torch.stack(list(step(images, shift, person).values())).tolist() for _ in range(steps)]


def check_same(found: list[list[float]], plain: list[list[float]]) -> None:
    for losses, expected in zip(found, plain, strict=False):
        assert losses == pytest.approx(expected, rel=SAME)


@pytest.fixture(scope="module")
def plain() -> list[list[float]]:
    return run(PLAIN, steps=12)


def test_the_step_learns_its_batch(plain: list[list[float]]) -> None:
    assert plain[-1][-1] < 0.5 * plain[0][-1], "the total"


def test_total_is_the_weighted_sum_of_its_parts(plain: list[list[float]]) -> None:
    for identity, circle, alignment, distillation, total in plain:
        assert total == pytest.approx(identity + circle + 0.2 * alignment + distillation, rel=SAME)


def test_fused_optimiser_with_rates_as_tensors_computes_the_same(plain: list[list[float]]) -> None:
    check_same(run(replace(PLAIN, fused=True)), plain)


def test_channels_last_computes_the_same(plain: list[list[float]]) -> None:
    check_same(run(replace(PLAIN, channels_last=True)), plain)


@pytest.mark.parametrize("precision", ROUNDED)
def test_a_step_in_low_precision_is_off_by_its_rounding(plain: list[list[float]], precision: Precision) -> None:
    [found] = run(replace(PLAIN, precision=precision), steps=1)
    error = max(abs(loss - expected) for loss, expected in zip(found, plain[0], strict=True)) / max(plain[0])
    assert SAME < error < ROUNDED[precision]


@pytest.mark.parametrize("precision", ["bf16", pytest.param("fp16", marks=pytest.mark.slow)])
def test_low_precision_learns(precision: Precision) -> None:
    """fp16 begins later: its scaler skips steps until the loss scale fits."""
    found = run(replace(PLAIN, precision=precision), steps=10)
    assert found[-1][-1] < 0.75 * found[0][-1]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_without_distillation_the_step_trains_all_but_its_classifiers(
    name: Literal["sgd", "adamw"], fused: bool
) -> None:
    """Two accumulated batches, without weight decay, and with an optimiser's state that is saved and restored."""
    torch.manual_seed(0)
    engine = replace(PLAIN, fused=fused)
    model = engine.place(DNS(6, ModelOptions(architecture="resnet10_half"), LossOptions(distillation=0))).train()
    options = OptimOptions(name=name, lr=LR, weight_decay=0.0)
    optimiser = make_optimiser(model, options, MultiplierOptions(), fused=fused)
    step = make_step(model, optimiser, engine.scaler(), lambda images, _: images.chunk(2), engine, accumulate=2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    images, person = torch.randn(16, 3, 32, 24), torch.tensor([0, 0, 1, 1] * 4)
    for _ in range(2):
        losses = step(images, torch.zeros(16, 1), person)
        optimiser.load_state_dict(optimiser.state_dict())
    assert list(losses) == ["identity", "circle", "alignment", "total"]
    same = {key for key, value in model.state_dict().items() if torch.equal(value, before[key])}
    assert same == {key for key in before if key.startswith("distillation.")}


def test_compiled_without_graph_breaks_and_without_recompiling(
    plain: list[list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled, real = [], torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda function, **how: real(function, **how, fullgraph=True, backend=backend)
    )

    def backend(graph: torch.fx.GraphModule, inputs: list) -> object:
        """Runs the captured graph as it is: what is captured, and how often, is what is tested here."""
        compiled.append(graph)
        return graph

    found = run(replace(PLAIN, compile=True))
    assert len(compiled) == 1
    check_same(found, plain)


@pytest.mark.parametrize("processor", [True, False])
@pytest.mark.parametrize("onednn", [True, False])
def test_bf16_is_chosen_where_the_processor_has_it_and_onednn_may_use_it(
    monkeypatch: pytest.MonkeyPatch, processor: bool, onednn: bool
) -> None:
    assert make_engine(EngineOptions(device="cpu")).precision in ("bf16", "fp32"), "torch has both queries"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: processor)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
    expected = "bf16" if processor and onednn else "fp32"
    assert make_engine(EngineOptions(device="cpu")).precision == expected


def test_auto_is_resolved_for_the_cpu() -> None:
    engine = make_engine(EngineOptions(device="cpu"))
    assert (engine.compile, engine.channels_last, engine.fused, engine.graph) == (False, False, False, False)
    assert engine.augment == "host"
    found = make_engine(
        EngineOptions(
            device="cpu", precision="fp16", channels_last="true", compile="true", fused="true", augment="device"
        )
    )
    assert found == Engine(CPU, "fp16", channels_last=True, compile=True, fused=True, augment="device")
    assert make_engine(found.options()) == found


def test_a_graph_needs_cuda() -> None:
    with refusal(ConfigError, "engine.graph", "CUDA"):
        make_engine(EngineOptions(device="cpu", graph="true"))


def test_a_device_that_is_not_there_is_named() -> None:
    with refusal(ConfigError, "engine.device", "'cuda:7'"):
        make_engine(EngineOptions(device="cuda:7"))
    with refusal(ConfigError, "engine.device", "'toaster'"):
        make_engine(EngineOptions(device="toaster"))
