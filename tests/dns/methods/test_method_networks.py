"""Networks of every method on small backbones: rows, gradients, groups, options, compilation, and the optimiser."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dns import optim
from dns.layers import NonLocal
from dns.methods import METHODS, agw, baseline, caj, deen
from dns.methods.deen import Branch, MultistageFusion
from dns.network import Network
from ffcv_convert.common.errors import ConfigError
from tests.support.refusals import refusal

OTHERS = [name for name in METHODS if name != "dns"]  # tests/dns/test_model.py has those of DNS
IDENTITIES = 4
PERSON = torch.tensor([2, 2, 0, 0, 3, 3] * 2)
SIZE = (64, 32)


def small(method: str, architecture: str = "resnet10_half", losses: Any = None, **options: object) -> Network:
    torch.manual_seed(0)
    row = METHODS[method]
    chosen = row.model(method=method, architecture=architecture, **options)
    return row.network(IDENTITIES, chosen, losses or row.loss())


def batch(network: Network) -> tuple[Tensor, Tensor]:
    """Images of PERSON: two views of each visible one where the network has a block more than [visible, infrared]."""
    torch.manual_seed(1)
    views = 2 if network.blocks == 3 else 1
    return torch.randn(views * 6, 3, *SIZE), torch.randn(6, 3, *SIZE)


@pytest.mark.parametrize("architecture", ["resnet18", "resnet10_half"])
@pytest.mark.parametrize("method", OTHERS)
def test_small_networks_train_and_embed(method: str, architecture: str) -> None:
    network = small(method, architecture).train()
    outputs = network(*batch(network))
    assert [len(output) for output in outputs] == [6 * network.blocks] * len(outputs)
    losses = network.loss(outputs, PERSON)
    assert list(losses)[-1] == "total"
    losses["total"].backward()
    groups = network.groups()
    trained = [parameter for parameters in groups.values() for parameter in parameters]
    assert len({id(parameter) for parameter in trained}) == len(trained) == len(list(network.parameters()))
    assert all(parameter.grad is not None for parameter in trained)
    assert set(groups) == {field for field in METHODS[method].multiplier.__dataclass_fields__}
    width = {"resnet18": 512, "resnet10_half": 256}[architecture]
    for rows in network.eval().embed(torch.randn(3, 3, *SIZE), visible=False):
        assert rows.shape == (3, network.parts * width) == (3, network.width)
        torch.testing.assert_close(rows.unflatten(1, (network.parts, -1)).norm(dim=2), torch.ones(3, network.parts))


@pytest.mark.parametrize("method", OTHERS)
def test_each_modality_has_a_stem_of_its_own_that_starts_equal(method: str) -> None:
    network = small(method).eval()
    images = torch.randn(2, 3, *SIZE)
    same = [network.embed(images, visible=visible)[0] for visible in (True, False)]
    torch.testing.assert_close(*same)
    with torch.no_grad():
        network.get_submodule("other_stem").conv1.weight.zero_()
    torch.testing.assert_close(network.embed(images, visible=True)[0], same[0])
    assert not torch.allclose(network.embed(images, visible=False)[0], same[1])


@pytest.mark.parametrize(("architecture", "expected"), [("resnet50", 5), ("resnet18", 4), ("resnet10_half", 2)])
def test_non_local_blocks_are_counted_from_the_end_and_stand_in_all_blocks_of_a_short_stage(
    architecture: str, expected: int
) -> None:
    with torch.device("meta"):
        network = small("agw", architecture)
    blocks = {name for name, module in network.named_modules() if isinstance(module, NonLocal)}
    assert len(blocks) == expected
    assert {name.split(".")[1] for name in blocks} == {"1", "2"}  # layer2, layer3


@pytest.mark.parametrize("number", [1, 2])
def test_a_non_local_block_follows_each_of_the_last_blocks(number: int) -> None:
    """Blocks multiply by primes, and what stands in for non-local blocks by others: the product tells the order."""

    class Times(nn.Module):
        def __init__(self, seen: list[str], name: str):
            super().__init__()
            self.seen, self.name = seen, name

        def forward(self, maps: Tensor) -> Tensor:
            self.seen.append(self.name)
            return maps

    seen: list[str] = []
    stage = agw.Stage(nn.Sequential(*(Times(seen, f"block {one}") for one in range(3))), number, 8)
    stage.non_local = nn.ModuleList(Times(seen, f"non-local {one}") for one in range(number))
    stage(torch.ones(1))
    expected = [["block 0"], ["block 1"], ["block 2"]]
    for one in range(number):
        expected[3 - number + one].append(f"non-local {one}")
    assert seen == [name for names in expected for name in names]


def test_deen_on_three_stages_ends_with_layer3() -> None:
    network = small("deen", stages=3)
    assert network.width == 3 * 128
    assert sum(isinstance(module, MultistageFusion) for module in network.modules()) == 2
    maps: list[Tensor] = []
    network.last_map.register_forward_hook(lambda _, __, output: maps.append(output))
    network.eval().embed(torch.randn(2, 3, *SIZE), visible=True)
    assert maps[0].shape == (6, 128, SIZE[0] // 16, SIZE[1] // 16)


@pytest.mark.parametrize("method", OTHERS)
def test_the_last_stage_keeps_its_resolution(method: str) -> None:
    network = small(method).eval()
    maps: list[Tensor] = []
    network.last_map.register_forward_hook(lambda _, __, output: maps.append(output))
    network.embed(torch.randn(2, 3, *SIZE), visible=True)
    assert maps[0].shape[2:] == (SIZE[0] // 16, SIZE[1] // 16)


def test_deen_refuses_maps_of_an_odd_number_of_places() -> None:
    network = small("deen").eval()
    with refusal(ConfigError, "model.method=deen", "3 x 5", "--data.height_px"):
        network.embed(torch.randn(2, 3, 48, 80), visible=True)


def test_rows_of_deen_are_the_map_and_its_branches() -> None:
    """Row r of each third is image r: the first third is what the network without DEE computes."""
    network = small("deen", dropout=0.0).eval()
    visible, other = batch(network)
    pooled = network(visible, other)[0]
    z, _ = network.embed(visible, visible=True)
    for part, rows in zip(z.chunk(3, dim=1), pooled.chunk(3), strict=True):
        torch.testing.assert_close(nn.functional.normalize(rows[:6], dim=1), part)


def test_initialisation_is_the_published_one() -> None:
    for method in OTHERS:
        network: Any = small(method)
        assert float(network.neck.weight.detach().mean()) == pytest.approx(1.0, abs=3e-3)
        assert float(network.neck.weight.detach().std()) == pytest.approx(0.01, rel=0.2)
        assert not network.neck.bias.any()
        assert float(network.classifier.weight.detach().std()) == pytest.approx(0.001, rel=0.1)
        names = {name for name, _ in network.named_parameters()}
        assert ("neck.bias" in names) == (method == "baseline")
        assert "neck.bias" in network.state_dict()
        assert not [name for name in network.state_dict() if name.endswith("num_batches_tracked")]
    branch = Branch(256)
    for convolution, fan_in in ((branch.dilated[0], 9 * 256), (branch.expand, 64)):
        assert float(convolution.weight.detach().std()) == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("method", OTHERS)
def test_the_optimiser_leaves_the_neck_s_bias_and_can_be_saved(method: str, fused: bool) -> None:
    network: Any = small(method).train()
    options = optim.OptimOptions(lr=0.1, weight_decay=5e-4)
    optimiser = optim.make_optimiser(network, options, METHODS[method].multiplier(), fused=fused)
    for _ in range(2):
        network.loss(network(*batch(network)), PERSON)["total"].backward()
        optimiser.step()
    optimiser.load_state_dict(optimiser.state_dict())
    assert bool(network.neck.bias.any()) == (method == "baseline")


# Method, loss -> the module and the function that computes it.
COMPUTED: dict[tuple[str, str], tuple[Any, str]] = {
    ("agw", "identity"): (agw.functional, "cross_entropy"),
    ("agw", "triplet"): (agw, "weighted_triplet"),
    ("caj", "identity"): (caj.functional, "cross_entropy"),
    ("caj", "triplet"): (caj, "squared_triplet"),
    ("deen", "identity"): (deen.functional, "cross_entropy"),
    ("deen", "triplet"): (deen, "hard_triplet"),
    ("deen", "centre"): (deen, "centre_pairs"),
    ("deen", "orthogonal"): (deen, "orthogonality"),
    ("baseline", "identity"): (baseline.functional, "cross_entropy"),
    ("baseline", "circle"): (baseline, "circle_loss"),
}


@pytest.mark.parametrize(("method", "name"), COMPUTED)
def test_a_loss_of_weight_0_is_not_computed(method: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, function = COMPUTED[method, name]
    monkeypatch.setattr(module, function, lambda *_, **__: pytest.fail("computed"))
    network = small(method, losses=METHODS[method].loss(**{name: 0}))
    found = network.loss(network(*batch(network)), PERSON)
    others = [loss for one, loss in COMPUTED if one == method and loss != name]
    assert list(found) == [*others, "total"]
    with pytest.raises(pytest.fail.Exception, match="computed"):  # the patched function is what computes it
        small(method).loss(network(*batch(network)), PERSON)


def test_weights_and_margins_are_those_of_the_options() -> None:
    network = small("deen", losses=deen.LossOptions(identity=2, triplet=3, centre=5, orthogonal=7))
    outputs = network(*batch(network))
    found = network.loss(outputs, PERSON)
    weighted = 2 * found["identity"] + 3 * found["triplet"] + 5 * found["centre"] + 7 * found["orthogonal"]
    torch.testing.assert_close(found["total"], weighted)
    far = deen.LossOptions(triplet_margin=100, centre_margin=200)
    wider = small("deen", losses=far).loss(outputs, PERSON)
    near = small("deen", losses=deen.LossOptions(triplet_margin=50, centre_margin=100)).loss(outputs, PERSON)
    torch.testing.assert_close(wider["triplet"] - near["triplet"], torch.tensor(50.0))
    torch.testing.assert_close(wider["centre"] - near["centre"], torch.tensor(2 * 2 * 100.0))  # of each branch two


def test_caj_without_the_square_has_agw_s_triplet_loss() -> None:
    network = small("caj")
    outputs = network(*batch(network))
    person = PERSON[:6].repeat(3)
    squared, plain = (
        small("caj", losses=caj.LossOptions(square=square)).loss(outputs, PERSON)["triplet"] for square in (True, False)
    )
    torch.testing.assert_close(plain, agw.weighted_triplet(outputs[0], person))
    assert not torch.allclose(squared, plain)


def graphs(function: Callable) -> tuple[Callable, list]:
    """Return `function` compiled whole, and the graphs that come of it. A graph break, as a number that is read on the
    host makes one, and a shape that depends on numbers, fail."""
    found: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: list) -> object:
        found.append(graph)
        return graph

    return torch.compile(function, fullgraph=True, backend=backend), found


@pytest.mark.parametrize("method", OTHERS)
def test_compiled_whole_and_once(method: str) -> None:
    options = {"dropout": 0.0} if method == "deen" else {}
    network = small(method, **options).train()

    def losses(visible: Tensor, other: Tensor, person_B: Tensor) -> dict[str, Tensor]:
        return network.loss(network(visible, other), person_B)

    compiled, found = graphs(losses)
    for person in (PERSON, PERSON.flip(0) + 0, torch.tensor([1, 1, 1, 1, 0, 0] * 2)):
        expected, actual = losses(*batch(network), person), compiled(*batch(network), person)
        assert list(expected) == list(actual)
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
        actual["total"].backward()
    assert len(found) == 1


@pytest.mark.parametrize("method", OTHERS)
def test_embedding_is_compiled_whole(method: str) -> None:
    network = small(method).eval()
    compiled, found = graphs(network.embed)
    images = torch.randn(2, 3, *SIZE)
    with torch.inference_mode():
        for visible in (True, False, True):
            torch.testing.assert_close(compiled(images, visible=visible), network.embed(images, visible=visible))
    assert len(found) == 2
