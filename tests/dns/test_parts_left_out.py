"""DNS without some of its parts: the losses of those that are left, steps, checkpoints, what is refused by name."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dns import exchange
from dns.layers import gem
from dns.losses import LossOptions
from dns.model import DNS, ModelOptions
from dns.optim import MultiplierOptions, OptimOptions, make_optimiser
from dns.training import checkpoint, throughput
from dns.training.network import initial_network, trained_network
from dns.training.options import Config
from dns.training.state import TrainingState
from ffcv_convert.common.errors import CheckpointError, ConfigError, WeightsError
from ffcv_convert.common.world import World
from tests.dns.test_losses import naive_circle_loss, naive_mmd
from tests.support.configs import make_config
from tests.support.refusals import refusal

IDENTITIES = 3
PERSON = torch.tensor([0, 0, 1, 1, 2, 2] * 2)


@dataclass(frozen=True)
class Left:
    """What is left out, by options, and what must then be built."""

    options: dict[str, Any]
    hss: bool = True
    css: bool = True
    distillation: bool = True
    losses: tuple[str, ...] = field(default=("identity", "circle", "alignment", "distillation"))


NO_DA, NO_DD = {"loss.alignment": 0.0}, {"loss.distillation": 0.0}
CASES = {
    "nothing": Left({}),
    "HSS": Left({"model.hss": False}, hss=False),
    "DA": Left(NO_DA, losses=("identity", "circle", "distillation")),
    "DD": Left(NO_DD, distillation=False, losses=("identity", "circle", "alignment")),
    "CSS": Left({"model.css": False}, css=False),
    "DA and DD": Left(NO_DA | NO_DD, css=False, distillation=False, losses=("identity", "circle")),
    "all": Left(
        {"model.hss": False, "model.css": False} | NO_DA | NO_DD, hss=False, css=False, distillation=False,
        losses=("identity", "circle"),
    ),
}  # fmt: skip
EVERY = pytest.mark.parametrize("name", CASES)


def config_of(name: str, *more: str) -> Config:
    given = [f"--{key}={str(value).lower()}" for key, value in CASES[name].options.items()]
    return make_config(*given, "--optim.lr=0.01", *more)


def network(config: Config, seed: int = 0) -> DNS:
    torch.manual_seed(seed)
    return DNS(IDENTITIES, config.model, config.loss)


def images() -> tuple[Tensor, Tensor]:
    return torch.randn(len(PERSON), 3, 64, 32, generator=torch.Generator().manual_seed(1)).chunk(2)


def naive_distillation(model: DNS, space: Tensor, identity_weight: float) -> float:
    """By loops over images, from the twins as the loss has left them: it moves them before it uses them."""
    parts, half = model.distillation, len(space) // 2
    divergence, identity = 0.0, [0.0, 0.0]
    for row, vector in enumerate(space.double()):
        own, teacher = (parts.visible, parts.other_twin) if row < half else (parts.other, parts.visible_twin)
        student = (own.weight.detach().double() @ vector).softmax(0)
        taught = (teacher.double() @ vector).softmax(0)
        divergence += sum(float(s) * math.log(float(s) / float(t)) for s, t in zip(student, taught, strict=True))
        identity[row >= half] -= math.log(float(student[PERSON[row]]))
    return divergence / len(space) + identity_weight * sum(identity) / half


@EVERY
def test_the_loss_is_the_sum_of_the_parts_that_are_left(name: str) -> None:
    case, config = CASES[name], config_of(name)
    model, weights = network(config).train(), config.loss
    outputs = model(*images())
    found = {key: float(loss.detach()) for key, loss in model.loss(outputs, PERSON).items()}
    assert tuple(found) == (*case.losses, "total")
    z, z_hat, bn = (value if value is None else value.detach() for value in outputs[:3])
    assert (z_hat is not None) == case.css
    circle = naive_circle_loss(bn, PERSON, weights.circle_margin, weights.circle_gamma) / len(PERSON)
    expected = {"identity": float(functional.cross_entropy(outputs.logits_BC.detach(), PERSON)), "circle": circle}
    visible, other = z.chunk(2)
    aligned = 0.45 * naive_mmd(visible, other)
    if z_hat is not None:
        shifted, shifted_other = z_hat.chunk(2)
        aligned += 0.45 * naive_mmd(shifted, shifted_other)
        aligned += 0.05 * (naive_mmd(visible, shifted) + naive_mmd(other, shifted_other))
    expected["alignment"] = aligned
    if case.distillation:
        spaces = [bn] if z_hat is None else [bn, z_hat]
        expected["distillation"] = sum(naive_distillation(model, space, 0.25) for space in spaces)
    left = {key: expected[key] for key in case.losses}
    weighed = sum(value * {"alignment": 0.2}.get(key, 1.0) for key, value in left.items())
    assert found == pytest.approx({**left, "total": weighed}, rel=1e-3, abs=1e-5)


@EVERY
def test_nothing_is_built_that_no_loss_reads(name: str) -> None:
    case, model = CASES[name], network(config_of(name)).train()
    built = {key.partition(".")[0] for key in model.state_dict()}
    everywhere = {"visible_stem", "other_stem", "layer3", "layer4", "neck", "classifier"}
    wanted = {"hss3": case.hss, "hss4": case.hss, "css": case.css, "distillation": case.distillation}
    assert built == everywhere | {part for part, there in wanted.items() if there}
    model.loss(model(*images()), PERSON)["total"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_without_hss_the_maps_are_those_of_the_backbone() -> None:
    model, (visible, _) = network(config_of("HSS")).eval(), images()
    seen: list[Tensor] = []
    model.last_map.register_forward_hook(lambda _module, _given, output: seen.append(output))
    with torch.no_grad():
        maps = model.layer4(model.layer3(model.visible_stem(visible)))
        pooled, normalised = model.embed(visible, visible=True)
    assert torch.equal(pooled, functional.normalize(gem(maps), dim=1))
    assert torch.equal(normalised, functional.normalize(model.neck(gem(maps)), dim=1))
    assert torch.equal(seen[0], maps)  # what figures of saliency look at


@EVERY
@pytest.mark.parametrize(("optimiser", "fused"), [("sgd", False), ("sgd", True), ("adamw", False), ("adamw", True)])
def test_a_step_changes_every_parameter(name: str, optimiser: str, fused: bool) -> None:
    model = network(config_of(name)).train()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    stepper = make_optimiser(model, OptimOptions(name=optimiser, lr=0.01), MultiplierOptions(), fused=fused)
    groups = [group["name"] for group in stepper.param_groups]
    assert groups == ["rest", "layer3", "layer4", "neck", "classifier", *["distillation"] * CASES[name].distillation]
    model.begin_batch(0)
    model.loss(model(*images()), PERSON)["total"].backward()
    stepper.step()
    assert not any(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def state_of(config: Config, model: DNS) -> TrainingState:
    optimiser = make_optimiser(model, config.optim, config.multiplier, fused=False)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    return TrainingState(World(torch.device("cpu")), model, optimiser, scaler, config, (64, 32), "aa")


def trained_state(config: Config) -> TrainingState:
    state = state_of(config, network(config).train())
    state.model.loss(state.model(*images()), PERSON)["total"].backward()
    state.optimiser.step()
    return state


def saved(state: TrainingState, path: Path) -> checkpoint.Checkpoint:
    state.save(path)
    state.writer.wait()
    return checkpoint.load(path)


@EVERY
def test_a_checkpoint_goes_on_and_is_tested(name: str, tmp_path: Path) -> None:
    config, path = config_of(name), tmp_path / "last.pt"
    state = trained_state(config)
    content = saved(state, path)
    other = state_of(config, network(config, seed=9))
    other.restore(path, content)
    assert other.model.digest() == state.model.digest()
    tested = trained_network(path, checkpoint.load_to_test(path)["model"], config).eval()
    with torch.no_grad():
        for ours, theirs in zip(tested.embed(images()[1], visible=False), state.model.eval().embed(
            images()[1], visible=False), strict=True):  # fmt: skip
            assert torch.equal(ours, theirs)


def test_what_only_training_read_is_left_out_where_it_is_not_built(tmp_path: Path) -> None:
    """As in a checkpoint of an earlier version, which kept CSS and DD whatever the weights were."""
    config, path = config_of("DA and DD"), tmp_path / "last.pt"
    whole = trained_state(config_of("nothing"))
    content = saved(whole, path)
    tested = trained_network(path, content["model"], config).eval()
    with torch.no_grad():
        found, expected = (model.embed(images()[0], visible=True)[1] for model in (tested, whole.model.eval()))
    assert torch.equal(found, expected)
    with refusal(CheckpointError, path, "css.expand.bias", "--run.resume=never"):
        state_of(config, network(config)).restore(path, content)


@pytest.mark.parametrize(("trained", "tested", "told"), [
    ("nothing", "HSS", "--model.hss=true"),
    ("HSS", "nothing", "--model.hss=false"),
    ("CSS", "nothing", "--model.css=false"),
])  # fmt: skip
def test_a_network_with_other_parts_is_refused_with_its_option(
    trained: str, tested: str, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "other.pt"
    content = saved(trained_state(config_of(trained)), path)
    with refusal(CheckpointError, path, told):
        trained_network(path, content["model"], config_of(tested))
    starting = config_of(tested, f"--model.pretrained={path}")
    if trained == "CSS":  # only training reads it, so that another one may begin as it was drawn
        assert any(name.startswith("css.") for name in initial_network(starting, IDENTITIES).state_dict())
        return
    with refusal(WeightsError, path, told):
        initial_network(starting, IDENTITIES)


def test_a_network_without_parts_starts_from_one_with_the_same_parts(tmp_path: Path) -> None:
    state = trained_state(config_of("all"))
    saved(state, tmp_path / "all.pt")
    found = initial_network(config_of("all", f"--model.pretrained={tmp_path / 'all.pt'}"), IDENTITIES + 1)
    for name, tensor in found.state_dict().items():
        assert name == "classifier.weight" or torch.equal(tensor, state.model.state_dict()[name])


def test_without_css_alignment_needs_its_part_between_modalities() -> None:
    options = ModelOptions(architecture="resnet10_half", css=False)
    with refusal(ConfigError, "loss.alignment", "model.css", "loss.alignment_modalities"):
        DNS(2, options, LossOptions(alignment_modalities=0.0))
    DNS(2, options, LossOptions(alignment_modalities=0.0, alignment=0.0))


def test_operations_are_counted_without_the_parts() -> None:
    """A linear layer of CSS takes 2 D x 4 D operations an image forward, and twice that backward; it has two."""

    def counted(name: str) -> float:
        config = config_of(name)
        return throughput.count(config.model, config.loss, IDENTITIES, batch=12, size_px=(64, 32), accumulate=1)

    width = 256
    of_css = 2 * 6 * 12 * width * 4 * width
    of_distillation = 1e12 * (counted("CSS") - counted("all"))
    assert 1e12 * (counted("nothing") - counted("CSS")) > of_css
    assert of_distillation > 0
    assert counted("nothing") > counted("HSS") > counted("all")


def test_an_output_that_is_not_computed_is_not_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange._AllGather, "apply", lambda tensor, _world: torch.stack([tensor, tensor + 100]))
    model = network(config_of("CSS")).train()
    outputs = model(*images())
    joined, person = exchange.Gather(SimpleNamespace(size=2))(outputs, PERSON)  # type: ignore[arg-type]
    assert joined.shifted_BD is None
    assert len(joined.embedding_BD) == len(person) == 2 * len(PERSON)
    half = len(PERSON) // 2
    assert torch.equal(joined.pooled_BD[half : 2 * half], outputs.pooled_BD[:half] + 100)
