"""The step: it learns, and each way of running it computes the same thing."""

import pytest
import torch

from dns.config import ConfigError
from dns.losses import Losses
from dns.model import DNS
from dns.optim import GROUPS, make_optimiser
from dns.step import Engine, make_engine, make_step

pytestmark = pytest.mark.alone  # two threads

CPU = torch.device("cpu")
STEPS = 4


def run(engine: Engine, steps: int = STEPS) -> list[list[float]]:
    torch.set_num_threads(2)  # in parallel runs too: sums in another order drift apart
    torch.manual_seed(0)
    model = engine.place(DNS(6, architecture="resnet18", dropout=0.0)).train()
    optimiser = make_optimiser(
        model, name="sgd", lr=0.02, momentum=0.9, weight_decay=5e-4, multipliers=dict.fromkeys(GROUPS, 1.0),
        fused=engine.fused,
    )  # fmt: skip
    images = torch.randint(0, 256, (12, 64, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    person = torch.tensor([0, 0, 1, 1, 2, 2] * 2)
    shift = torch.zeros(12, 1)
    step = make_step(
        model, optimiser, engine.scaler(),
        lambda pixels, table: ((pixels.float() / 255 - 0.5) + table[:, :, None, None]).permute(0, 3, 1, 2), engine,
    )  # fmt: skip
    return [torch.stack(step(images, shift, person)).tolist() for _ in range(steps)]


@pytest.fixture(scope="module")
def plain() -> list[list[float]]:
    return run(Engine(CPU, "fp32", channels_last=False, compile=False), steps=12)


def test_the_step_learns_its_batch(plain: list[list[float]]) -> None:
    total = Losses._fields.index("total")
    assert plain[-1][total] < 0.5 * plain[0][total]


def test_total_is_the_weighted_sum_of_its_parts(plain: list[list[float]]) -> None:
    for losses in map(lambda row: Losses(*row), plain):
        parts = losses.identity + losses.circle + 0.2 * losses.alignment + losses.distillation
        assert losses.total == pytest.approx(parts, rel=1e-5)


def test_fused_optimiser_with_rates_as_tensors_computes_the_same(plain: list[list[float]]) -> None:
    found = run(Engine(CPU, "fp32", channels_last=False, compile=False, fused=True))
    assert found[0] == plain[0]
    for step in range(1, STEPS):
        assert found[step] == pytest.approx(plain[step], rel=1e-3, abs=1e-4)


def test_channels_last_computes_the_same(plain: list[list[float]]) -> None:
    found = run(Engine(CPU, "fp32", channels_last=True, compile=False))
    assert found[0] == pytest.approx(plain[0], rel=1e-4)
    for step in range(1, STEPS):
        assert found[step] == pytest.approx(plain[step], rel=2e-2, abs=1e-3)


@pytest.mark.parametrize("precision", ["bf16", pytest.param("fp16", marks=pytest.mark.slow)])
def test_low_precision_stays_near_and_learns(plain: list[list[float]], precision: str) -> None:
    """fp16 begins later: its scaler skips steps until the loss scale fits."""
    found = run(Engine(CPU, precision, channels_last=False, compile=False), steps=10)
    assert found[0] == pytest.approx(plain[0], rel=5e-2, abs=5e-2)
    assert found[0] != plain[0]
    assert found[-1][-1] < 0.75 * found[0][-1]


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

    found = run(Engine(CPU, "fp32", channels_last=False, compile=True))
    assert len(compiled) == 1
    assert found[0] == pytest.approx(plain[0], rel=1e-5)
    assert found[-1] == pytest.approx(plain[STEPS - 1], rel=1e-3)


def test_auto_is_resolved_for_the_cpu() -> None:
    engine = make_engine("cpu", "auto", "auto", "auto")
    assert engine.precision in ("bf16", "fp32")
    assert (engine.compile, engine.channels_last, engine.fused, engine.graph) == (False, False, False, False)
    assert engine.augment == "host"
    found = make_engine("cpu", "fp16", "true", "true", "true", "false", "device")
    assert found == Engine(CPU, "fp16", channels_last=True, compile=True, fused=True, augment="device")
    assert make_engine(**found.options()) == found


def test_a_graph_needs_cuda() -> None:
    with pytest.raises(ConfigError, match=r"engine\.graph = 'true' needs CUDA"):
        make_engine("cpu", "fp32", "auto", "auto", graph="true")


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"engine\.device = 'cuda:7'"):
        make_engine("cuda:7", "auto", "auto", "auto")
    with pytest.raises(ConfigError, match=r"engine\.device = 'toaster'"):
        make_engine("toaster", "auto", "auto", "auto")
