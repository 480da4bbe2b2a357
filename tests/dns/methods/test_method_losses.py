"""Losses and modules of AGW, CAJ, DEEN and the baseline against the published code's values, naive loops, and
degenerate batches, in float64."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dns.layers import NonLocal, gem
from dns.losses import circle_loss
from dns.methods.deen import EmbeddingExpansion, MultistageFusion, centre_pairs, orthogonality
from dns.triplets import distances, hard_triplet, own_distances, squared_triplet, weighted_triplet
from tests.support import goldens
from tests.support.golden_weights import golden_array
from tests.support.goldens import tensor

pytestmark = pytest.mark.numerical

VALUE, GRADIENT, MODULE = 1e-10, 1e-8, 1e-11
Loss = Callable[[Tensor, Tensor], Tensor]


def of_centres(rows_BD: Tensor, person_B: Tensor) -> Tensor:
    """CPM as the goldens lay it out: [visible, infrared] of the map itself, then of a branch."""
    own, branch = rows_BD.chunk(2)
    return centre_pairs(own, branch, person_B[: len(own)], margin=0.2)


def of_branches(rows_BD: Tensor, _: Tensor) -> Tensor:
    """The orthogonal loss as the goldens lay it out: the map itself, branch 1, branch 2."""
    return orthogonality(*rows_BD.chunk(3)[1:])


hard: Loss = partial(hard_triplet, margin=0.3)
circle: Loss = partial(circle_loss, margin=0.45, gamma=64.0)
SCALES = ("unit", "wide", "far", "near")
CASES: list[tuple[str, str, str, Loss]] = [
    *(("agw", "wrt", scale, weighted_triplet) for scale in (*SCALES, "same_image_twice")),
    *(("agw", "hard", scale, hard) for scale in SCALES),
    *(("caj", "squared", scale, squared_triplet) for scale in (*SCALES, "clamped")),
    *(("caj", "unsquared", scale, weighted_triplet) for scale in (*SCALES, "clamped")),
    *(("deen", "cpm", scale, of_centres) for scale in SCALES),
    *(("deen", "hard", scale, hard) for scale in SCALES),
    *(("deen", "orthogonal", scale, of_branches) for scale in ("small", "large")),
    *(("baseline", "circle", scale, circle) for scale in SCALES),
]


def apart(actual: Tensor, expected: np.ndarray, floor: float = 0.0) -> float:
    """Return the largest difference, relative to the largest expected magnitude or to `floor` if that is less."""
    largest = max(float(np.abs(expected).max()), floor)
    return float(np.abs(actual.detach().numpy() - expected).max()) / (largest or 1.0)


@pytest.mark.parametrize(("file", "kind", "scale", "loss"), CASES, ids=[f"{c[0]}-{c[1]}-{c[2]}" for c in CASES])
def test_losses_are_the_published_ones(file: str, kind: str, scale: str, loss: Loss) -> None:
    golden, name = goldens.arrays(f"methods/{file}_losses.npz"), f"{kind}_{scale}"
    rows = tensor(golden[f"{name}_x"]).double().requires_grad_()
    value = loss(rows, tensor(golden.get(f"{name}_labels", np.zeros(0))))
    value.backward()
    tied = scale == "same_image_twice"  # whose gradient the row's maximum has: it does not cancel, because of the 1e-6
    assert value.dtype == torch.float64
    assert apart(value, golden[f"{name}_value"]) < VALUE
    assert rows.grad is not None
    assert apart(rows.grad, golden[f"{name}_grad"]) < (1e-6 if tied else GRADIENT)


def test_gem_is_the_published_one() -> None:
    golden = goldens.arrays("methods/baseline_losses.npz")
    maps = tensor(golden["gem_x"]).double().requires_grad_()
    pooled = gem(maps)
    pooled.sum().backward()
    assert apart(pooled, golden["gem"]) < MODULE
    assert maps.grad is not None
    assert apart(maps.grad, golden["gem_grad_of_sum"]) < GRADIENT


ATTENTION = {"g": "g", "theta": "theta", "phi": "phi", "W.0": "step.expand", "W.1": "step.norm"}
# Ours -> theirs, of submodules.
NON_LOCAL = {ours: {"g": "g.0"}.get(theirs, theirs) for theirs, ours in ATTENTION.items()}
FUSION = {
    f"{ours}.{name}": f"{kind}.{theirs}"
    for ours, kind in (("channels", "CNL"), ("positions", "PNL"))
    for theirs, name in ATTENTION.items()
}
EXPANSION = {f"branches.{one}.expand": f"FC{one + 1}" for one in (0, 1)} | {
    f"branches.{one}.dilated.{step}": f"FC{one + 1}{step + 1}" for one in (0, 1) for step in range(3)
}
MODULES: dict[str, tuple[str, Callable[[], nn.Module], dict[str, str]]] = {
    "nl8": ("agw", lambda: NonLocal(8), NON_LOCAL),
    "nl32": ("agw", lambda: NonLocal(32), NON_LOCAL),
    "mfa0": ("deen", lambda: MultistageFusion(16, 8, stride=1), FUSION),
    "mfa1": ("deen", lambda: MultistageFusion(16, 8, stride=2), FUSION),
    "mfa1odd": ("deen", lambda: MultistageFusion(16, 8, stride=2), FUSION),
    "dee": ("deen", lambda: EmbeddingExpansion(16, dropout=0.0), EXPANSION),
}


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", MODULES)
def test_modules_are_the_published_ones(name: str, memory_format: torch.memory_format) -> None:
    """Outputs in test and training, and every gradient, whatever the memory format of the maps."""
    file, make, submodules = MODULES[name]
    golden, module = goldens.arrays(f"methods/{file}_losses.npz"), make().double()
    theirs = {ours: f"{submodules[ours.rpartition('.')[0]]}.{ours.rpartition('.')[2]}" for ours in module.state_dict()}
    for ours, value in module.state_dict().items():
        value.copy_(tensor(golden_array(f"{name}.{theirs[ours]}", value.shape)))
    inputs = [tensor(golden[key]).double() for key in (f"{name}_x", f"{name}_x0", f"{name}_x1") if key in golden]
    inputs = [maps.to(memory_format=memory_format).requires_grad_() for maps in inputs]
    with torch.no_grad():
        assert apart(module.eval()(*inputs), golden[f"{name}_eval"]) < MODULE
    output = module.train()(*inputs)
    assert apart(output, golden[f"{name}_train"]) < MODULE
    (output * tensor(golden[f"{name}_weight_of_sum"])).sum().backward()
    for maps, key in zip(inputs, ("x",) if f"{name}_x" in golden else ("x0", "x1"), strict=False):
        assert maps.grad is not None
        assert apart(maps.grad, golden[f"{name}_grad_{key}"]) < MODULE, key
    for ours, parameter in module.named_parameters():
        assert parameter.grad is not None
        # Of biases before a batch norm the gradient is 0 but for rounding.
        assert apart(parameter.grad, golden[f"{name}_grad.{theirs[ours]}"], floor=1.0) < MODULE, ours


@pytest.mark.parametrize(
    ("block", "maps"),
    [
        (NonLocal(8), (torch.randn(2, 8, 4, 3),)),
        (MultistageFusion(16, 8, stride=2), (torch.randn(2, 16, 2, 3), torch.randn(2, 8, 4, 6))),
    ],
    ids=["non-local", "MFA"],
)
def test_a_new_block_is_the_identity(block: nn.Module, maps: tuple[Tensor, ...]) -> None:
    assert torch.equal(block(*maps), maps[0])


# Naive loops. rows: lists of numbers.
Rows = list[list[float]]


def naive_distance(one: list[float], other: list[float]) -> float:
    return math.sqrt(max(sum((a - b) ** 2 for a, b in zip(one, other, strict=True)), 1e-12))


def naive_weighted(rows: Rows, person: list[int]) -> list[tuple[float, float]]:
    found = []
    for anchor, own in zip(rows, person, strict=True):
        positive = [naive_distance(anchor, row) for row, other in zip(rows, person, strict=True) if other == own]
        negative = [naive_distance(anchor, row) for row, other in zip(rows, person, strict=True) if other != own]
        near = [math.exp(d - max(positive)) for d in positive]
        far = [math.exp(-d) for d in negative]
        found.append(
            (
                sum(w * d for w, d in zip(near, positive, strict=True)) / (sum(near) + 1e-6),
                sum(w * d for w, d in zip(far, negative, strict=True)) / (sum(far) + 1e-6),
            )
        )
    return found


def naive_weighted_triplet(rows: Rows, person: list[int]) -> float:
    return sum(math.log1p(math.exp(p - n)) for p, n in naive_weighted(rows, person)) / len(rows)


def naive_squared_triplet(rows: Rows, person: list[int]) -> float:
    squares = [(min((p - n) ** 2, 88.0), p > n) for p, n in naive_weighted(rows, person)]
    return sum(math.log1p(math.exp(q if farther else -q)) for q, farther in squares) / len(rows)


def naive_hard(rows: Rows, person: list[int]) -> float:
    total = 0.0
    for anchor, own in zip(rows, person, strict=True):
        apart = [(naive_distance(anchor, row), other == own) for row, other in zip(rows, person, strict=True)]
        positive, negative = [d for d, same in apart if same], [d for d, same in apart if not same]
        total += max(max(positive) - min(negative, default=math.inf) + 0.3, 0)
    return total / len(rows)


def naive_centres(rows: Rows, person: list[int]) -> Rows:
    """The mean of each identity's rows, in the order of first occurrence."""
    groups = [[row for row, other in zip(rows, person, strict=True) if other == own] for own in dict.fromkeys(person)]
    return [[sum(column) / len(group) for column in zip(*group, strict=True)] for group in groups]


def naive_cpm(rows: Rows, person: list[int]) -> float:
    quarter = len(rows) // 4
    parts = [rows[start : start + quarter] for start in range(0, len(rows), quarter)]
    c1, c2, c3, c4 = (naive_centres(part, person[:quarter]) for part in parts)

    def pull(across: list[float], than: list[float]) -> float:
        return sum(max(a - n + 0.2, 0) for a, n in zip(across, than, strict=True)) / len(across)

    def near(centres: Rows) -> list[float]:
        others = ([naive_distance(one, two) for two in centres if two is not one] for one in centres)
        return [min(one, default=math.inf) for one in others]

    def between(one: Rows, other: Rows) -> list[float]:
        return [naive_distance(*pair) for pair in zip(one, other, strict=True)]

    p, q = between(c2, c3), between(c1, c4)
    first = pull(p, between(c1, c3)) + pull(p, near(c3)) / 2 + pull(p, near(c1)) / 2
    second = pull(q, between(c2, c4)) + pull(q, near(c4)) / 2 + pull(q, near(c2)) / 2
    return (first + second) / 2


def naive_orthogonality(rows: Rows, _: list[int]) -> float:
    third = len(rows) // 3
    pairs = zip(rows[third : 2 * third], rows[2 * third :], strict=True)
    return sum(a * b for one, two in pairs for a, b in zip(one, two, strict=True)) / (3 * third)


NAIVE = {
    "weighted": (weighted_triplet, naive_weighted_triplet),
    "squared": (squared_triplet, naive_squared_triplet),
    "hard": (hard, naive_hard),
    "centre": (of_centres, naive_cpm),
    "orthogonal": (of_branches, naive_orthogonality),
}
BATCHES = {
    "three identities, not in order": [7, 7, 2, 2, 5, 5] * 4,
    "one identity": [3] * 24,
    "each its own identity": [4, 1, 0, 5, 2, 3] * 4,
    "no positive but the anchor": list(range(24)),
}


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("scale", [0.1, 1.0, 8.0])
@pytest.mark.parametrize("name", NAIVE)
def test_losses_equal_the_naive_loops(name: str, scale: float, batch: str) -> None:
    loss, naive = NAIVE[name]
    torch.manual_seed(5)
    rows, person = (scale * torch.randn(24, 7, dtype=torch.float64)).requires_grad_(), BATCHES[batch]
    if name == "centre" and batch.startswith("no positive"):
        pytest.skip("both modalities show the same identities: this batch has none in common")
    found = loss(rows, torch.tensor(person))
    found.backward()
    assert float(found.detach()) == pytest.approx(naive(rows.detach().tolist(), person), rel=1e-9, abs=1e-12)
    assert rows.grad is not None
    assert torch.isfinite(rows.grad).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", ["equal", "far", "huge"])
@pytest.mark.parametrize("name", NAIVE)
def test_degenerate_rows_give_finite_float32(name: str, rows: str, dtype: torch.dtype) -> None:
    """In float32, which the losses compute in at least: its exp() overflows at 88."""
    torch.manual_seed(6)
    spread = {"equal": torch.ones(24, 7), "far": 50 * torch.randn(24, 7), "huge": 1e5 * torch.randn(24, 7)}[rows]
    given = spread.to(dtype).requires_grad_()
    value = NAIVE[name][0](given, torch.tensor([7, 7, 2, 2, 5, 5] * 4))
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert given.grad is not None
    assert torch.isfinite(given.grad).all()


def test_anchors_that_are_far_too_far_add_88_and_no_gradient() -> None:
    """As published: identities are mixed up, 20 apart, so that every anchor is 20 nearer to the other one."""
    rows = torch.tensor([[0.0, 0], [20, 0], [0, 0.1], [20, 0.1]], dtype=torch.float64, requires_grad=True)
    value = squared_triplet(rows, torch.tensor([0, 0, 1, 1]))
    value.backward()
    assert float(value.detach()) == pytest.approx(88.0)
    assert rows.grad is not None
    assert not rows.grad.any()


def test_negatives_that_are_far_lose_their_weight() -> None:
    """As published, 1e-6 is added to weights that nothing was subtracted from: a negative 40 away counts as near."""
    rows = torch.tensor([[0.0], [1], [40], [41]], dtype=torch.float64)
    assert float(weighted_triplet(rows, torch.tensor([0, 0, 1, 1]))) > 1.0
    nearer = torch.tensor([[0.0], [1], [10], [11]], dtype=torch.float64)
    assert float(weighted_triplet(nearer, torch.tensor([0, 0, 1, 1]))) < 0.01


def test_distances_are_euclidean_and_equal_rows_have_no_gradient() -> None:
    torch.manual_seed(7)
    first, second = torch.randn(4, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(distances(first, second), torch.cdist(first, second))
    torch.testing.assert_close(own_distances(first, second[:4]), torch.cdist(first, second[:4]).diagonal())
    for distance in (distances, own_distances):
        rows = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
        distance(rows, rows.detach()).sum().backward()
        assert torch.equal(distance(rows, rows), torch.full_like(distance(rows, rows), 1e-6))
        assert rows.grad is not None
        assert not rows.grad.any()


def test_the_distance_within_a_modality_is_a_constant_of_cpm() -> None:
    """No gradient pulls it: with other identities far away, the loss moves the distance across modalities alone."""
    own = torch.tensor([[0.0, 0], [0, 0], [500, 0], [500, 0]] * 2, dtype=torch.float64)
    own[4:, 1] += 3.0  # infrared
    branch = (own + torch.tensor([0.0, 1.0])).requires_grad_()
    own.requires_grad_()
    centre_pairs(own, branch, torch.tensor([0, 0, 1, 1] * 2), margin=5.0).backward()
    assert own.grad is not None
    assert branch.grad is not None
    # Each identity's q = d(visible, infrared branch) and p = d(infrared, visible branch), nothing else: p pulls the
    # infrared rows of the map down to the visible branch, 2 below; q pulls the visible rows up to the infrared branch.
    assert own.grad[:4, 1].sign().tolist() == [-1.0] * 4
    assert own.grad[4:, 1].sign().tolist() == [1.0] * 4
    torch.testing.assert_close(own.grad[:4, 1], -own.grad[4:, 1])
    torch.testing.assert_close(branch.grad[4:, 1], -own.grad[:4, 1])
    torch.testing.assert_close(branch.grad[:4, 1], -own.grad[4:, 1])
