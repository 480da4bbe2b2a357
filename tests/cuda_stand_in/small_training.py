"""A small network, trained by the product's own step on the computing stand-in or on a CPU; how far two are apart."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dns.engine import Engine, Precision
from dns.methods import METHODS
from dns.network import Network
from dns.optim import OptimOptions, make_optimiser, set_learning_rate
from dns.step import CapturedStep, Step, make_step
from pipelines.augment.apply import Modalities, apply
from pipelines.augment.draw import draw
from pipelines.augment.recipes import RECIPES, Recipe
from tests.cuda_stand_in import computing  # noqa: F401  first: it makes everything below compute
from tests.cuda_stand_in.device import counts, violations
from tests.cuda_stand_in.order import computed

HEIGHT, WIDTH, STORED, IDENTITIES = 64, 32, 24, 6
LR = {"sgd": 0.005, "adamw": 0.001}
SEED = 5


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is trained. batches: accumulated ones; first_scale: of fp16's scaler, so that it overflows; left_out: parts
    of DNS, by the names of their options or weights."""

    precision: Precision = "fp64"
    optimiser: Any = "sgd"
    batches: int = 1
    dropout: float = 0.0
    steps: int = CapturedStep.WARM_UP + 4
    first_scale: float | None = None
    architecture: str = "resnet10_half"
    method: str = "dns"
    left_out: tuple[str, ...] = ()

    @property
    def recipe(self) -> Recipe:
        return RECIPES.get(self.method, RECIPES["sysu"])

    def __str__(self) -> str:
        said = {
            "overflows": self.first_scale, "accumulated": self.batches > 1, "dropout": self.dropout,
            self.architecture: self.architecture != "resnet10_half", self.method: self.method != "dns",
            f"without {' '.join(self.left_out)}": self.left_out,
        }  # fmt: skip
        return ", ".join([self.precision, self.optimiser, *(name for name, so in said.items() if so)])


@dataclass
class Parts:
    """Of a training, so that planted.py can put a fault into them."""

    model: Network
    optimiser: torch.optim.Optimizer
    step: Step
    set_rate: Callable[[torch.optim.Optimizer, float], None] = set_learning_rate


@dataclass
class Run:
    """What a training computed. replays: of its graph; kernels: how many the stand-in computed."""

    losses: list[list[float]] = field(default_factory=list)
    scales: list[float] = field(default_factory=list)
    state: dict[str, Tensor] = field(default_factory=dict)
    replays: int = 0
    kernels: int = 0


def engine(device: str, case: Case, **more: bool) -> Engine:
    """Both devices' engines compute alike: channels-last, with the fused optimiser. more: as graph=True."""
    return Engine(
        torch.device(device), case.precision, **{"channels_last": True, "compile": False, "fused": True, **more}
    )


def train(case: Case, engine: Engine, fault: Callable[[Parts], None] | None = None) -> Run:
    """Train, with a new batch, rate and seed at each step. Raises AssertionError where the stand-in did not compute."""
    parts, scaler = _assemble(case, engine)
    if fault:
        fault(parts)
    run, before = Run(), (counts(), computed.total(), len(violations()))
    for number, (inputs, rate, seeds) in enumerate(_batches(case, engine.device)):
        parts.set_rate(parts.optimiser, rate)
        if seeds:  # as a captured step: the first seed serves every accumulated batch
            torch.manual_seed(seeds[0])
        losses = parts.step(*inputs, dropout_seeds=seeds if engine.graph else ())
        assert all(loss.device.type == engine.device.type for loss in losses.values()), number
        run.losses.append([loss.item() for loss in losses.values()])
        run.scales.append(scaler.get_scale())
    run.state = {name: value.cpu().clone() for name, value in _state(parts).items()}
    run.replays, run.kernels = counts()["replay"] - before[0]["replay"], computed.total() - before[1]
    if not fault:
        _check_computed(case, engine, run, before[2])
    return run


def _assemble(case: Case, engine: Engine) -> tuple[Parts, torch.amp.GradScaler]:
    engine.activate()
    torch.manual_seed(0)
    method = METHODS[case.method]
    dropout = {"dropout": case.dropout} if "dropout" in method.model.__dataclass_fields__ else {}
    switched = {name: False for name in case.left_out if name in method.model.__dataclass_fields__}
    weights = {name: 0.0 for name in case.left_out if name not in switched}
    options = method.model(method=case.method, architecture=case.architecture, **dropout, **switched)
    model = engine.place(method.network(IDENTITIES, options, method.loss(**weights))).train()
    multipliers = method.multiplier(**{name: 0.25 + 0.15 * number for number, name in enumerate(model.groups())})
    optimiser = make_optimiser(
        model, OptimOptions(name=case.optimiser, lr=LR[case.optimiser]), multipliers, fused=engine.fused
    )
    scaler = engine.scaler()
    if case.first_scale:
        scaler = torch.amp.GradScaler(engine.device.type, init_scale=case.first_scale, growth_interval=3)
    stored = _images().to(engine.device)

    def augment(rows: Tensor, parameters: Tensor) -> Modalities:
        return apply(stored[rows], parameters, case.recipe)

    return Parts(
        model, optimiser, make_step(model, optimiser, scaler, augment, engine, accumulate=case.batches)
    ), scaler


def _images() -> Tensor:
    """Smooth pictures, as photographs are: uint8 (STORED, HEIGHT, WIDTH, 3)."""
    coarse = np.random.default_rng(SEED).integers(0, 256, (STORED, 3, 8, 4)).astype(np.float32)
    images = functional.interpolate(torch.from_numpy(coarse), (HEIGHT, WIDTH), mode="bilinear")
    return images.permute(0, 2, 3, 1).round().to(torch.uint8).contiguous()


def _batches(case: Case, device: torch.device) -> Iterator[tuple[tuple[Tensor, ...], float, list[int]]]:
    """Yield rows of images, augmentation parameters and identities; a rate; and seeds of dropout."""
    rng, half = np.random.default_rng(SEED + 1), 4 * case.batches
    for number in range(case.steps):
        pairs = [np.sort(rng.permutation(IDENTITIES)[:2]).repeat(2) for _ in range(case.batches)]
        person = np.tile(np.concatenate(pairs), 2)
        rows = person * (STORED // IDENTITIES) + rng.integers(0, STORED // IDENTITIES, 2 * half)
        parameters = draw(case.recipe, 2 * half, HEIGHT, WIDTH, seed=SEED, epoch=0, iteration=number)
        inputs = tuple(torch.from_numpy(one).to(device) for one in (rows, parameters, person))
        seeds = [1000 * number + batch for batch in range(case.batches)] if case.dropout else []
        yield inputs, LR[case.optimiser] * (1 + 0.3 * number), seeds


def _state(parts: Parts) -> dict[str, Tensor]:
    """Weights, running statistics, twins, and what the optimiser keeps of each parameter."""
    names = {parameter: name for name, parameter in parts.model.named_parameters()}
    kept = {
        f"{names[parameter]} {key}": value
        for parameter, state in parts.optimiser.state.items() for key, value in state.items()
    }  # fmt: skip
    return {**parts.model.state_dict(), **kept}


def _check_computed(case: Case, engine: Engine, run: Run, violations_before: int) -> None:
    """A silent fall-back to the CPU's path must not pass."""
    on_cuda = engine.device.type == "cuda"
    assert (run.kernels > 100 * case.steps) == on_cuda, f"{case} on {engine.device}: {run.kernels} kernels computed"
    replays = max(0, case.steps - CapturedStep.WARM_UP) if engine.graph else 0
    assert run.replays == replays, f"{case}: {run.replays} replays, not {replays}"
    assert violations()[violations_before:] == []


def equal_bits(found: Run, expected: Run) -> bool:
    """Whether every loss, weight, statistic, momentum and loss scale is the same."""
    same = found.state.keys() == expected.state.keys() and all(
        torch.equal(value, expected.state[name]) for name, value in found.state.items()
    )
    return same and (found.losses, found.scales) == (expected.losses, expected.scales)


def losses_apart(found: Run, expected: Run) -> list[float]:
    """Of each step: the largest difference of a loss, relative to the largest loss. NaN where one is not finite."""
    a, b = (torch.tensor(run.losses, dtype=torch.float64) for run in (found, expected))
    return ((a - b).abs().amax(1) / b.abs().amax(1)).tolist()


def states_apart(found: Run, expected: Run) -> float:
    """The largest difference of a tensor of the state from the expected one, by norm, relative to its norm or to 1: the
    momentum of a bias before a batch norm is nothing but rounding."""
    apart = []
    for name, value in found.state.items():
        exact = expected.state[name].double()
        apart.append(float((value.double() - exact).norm() / exact.norm().clamp(min=1)))
    return max(apart)
