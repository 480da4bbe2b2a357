"""The network against the published code's outputs, gradients and training steps, through the published name map.

In float64, where processors, instruction sets and threads agree. In float32 the training outputs of one and the same
code move by 1e-4 to 5e-2 between them, so float32 is held to the embeddings of evaluation alone.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dns import optim
from dns.losses import LossOptions
from dns.model import DNS, GROUPS, ModelOptions
from dns.published import PUBLISHED, rename
from dns.training.checkpoint import load_model
from tests.support import goldens
from tests.support.goldens import relative_error, tensor

pytestmark = pytest.mark.numerical

Golden = dict[str, np.ndarray]
GOLDENS = Path("goldens")  # named in errors
FIRST_STEP, AFTER_THREE_STEPS = 1e-10, 1e-9  # a change of 1e-15 grows about a hundredfold with each step


@pytest.fixture(scope="module")
def golden() -> Golden:
    return goldens.arrays("model_float64.npz")


@pytest.fixture(scope="module")
def facts() -> dict:
    return goldens.read_json("model_float64.json")


def golden_model(dtype: torch.dtype = torch.float64) -> DNS:
    """With the margin that the published code gave when the goldens were made."""
    model = DNS(12, ModelOptions(dropout=0.0), LossOptions(circle_margin=0.5))
    load_model(model, rename(goldens.published_net(), GOLDENS), GOLDENS)
    return model.to(dtype)


@pytest.fixture(scope="module")
def embedding() -> Callable[[torch.dtype], DNS]:
    """dtype -> the goldens' network in evaluation. Read only."""
    return cache(lambda dtype: golden_model(dtype).eval())


def our_names(facts: dict) -> dict[str, str]:
    """Our tensor name -> the published one."""
    return {ours: name for name in facts["state_dict_shapes"] for ours in rename({name: torch.empty(0)}, GOLDENS)}


def batch(golden: Golden) -> tuple[Tensor, Tensor]:
    images = torch.cat([tensor(golden["x_visible"]), tensor(golden["x_infrared"])])
    return images.double(), tensor(golden["labels"]).repeat(2)


def test_every_tensor_of_ours_has_a_published_one(facts: dict) -> None:
    with torch.device("meta"):
        model = DNS(12, ModelOptions(), LossOptions())
    assert set(our_names(facts)) == set(model.state_dict())
    unused = {
        n for n in facts["state_dict_shapes"] if PUBLISHED.leaves_out(n) and not n.endswith("num_batches_tracked")
    }
    assert unused
    assert all(name.startswith(("base.base.layer1.", "base.base.layer2.")) for name in unused)


def test_parameter_count_is_the_published_one_without_the_unused() -> None:
    """64.50 M with 395 identities: ours, the twins that are buffers here, and the 1.435 M that nothing uses."""
    with torch.device("meta"):
        model = DNS(395, ModelOptions(), LossOptions())
    twins = model.distillation.visible_twin.numel() + model.distillation.other_twin.numel()
    assert (sum(parameter.numel() for parameter in model.parameters()) + twins) / 1e6 + 1.435 == pytest.approx(
        64.50, abs=0.005
    )


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, FIRST_STEP), (torch.float32, 1e-4)])
@pytest.mark.parametrize("modality", ["visible", "infrared"])
def test_embeddings_are_the_published_ones(
    golden: Golden, embedding: Callable[[torch.dtype], DNS], modality: str, dtype: torch.dtype, bound: float
) -> None:
    images = tensor(golden[f"x_{modality}"]).to(dtype)
    with torch.inference_mode():
        pooled, normalised = embedding(dtype).embed(images, visible=modality == "visible")
    assert pooled.dtype == normalised.dtype == dtype
    assert relative_error(pooled, golden[f"eval_{modality}_pooled"]) < bound
    assert relative_error(normalised, golden[f"eval_{modality}_embedding"]) < bound


def test_training_is_the_published_one(golden: Golden, facts: dict) -> None:
    """Outputs and gradient norms of the first step, losses of three, every tensor's norm after them."""
    model, names = golden_model().train(), our_names(facts)
    images, person = batch(golden)
    multipliers = dict(zip(GROUPS, golden["lr_multipliers"].tolist(), strict=True))
    options = optim.OptimOptions(name="sgd", lr=0.1, momentum=0.9, weight_decay=5e-4)
    optimiser = optim.make_optimiser(model, options, optim.MultiplierOptions(**multipliers), fused=False)
    for step, (lr, expected) in enumerate(zip(golden["lrs"].tolist(), golden["loss_trajectory"], strict=True)):
        outputs = model(*images.chunk(2))
        found = model.loss(outputs, person)
        assert [float(loss.detach()) for loss in found.values()] == pytest.approx(
            expected.tolist(), rel=AFTER_THREE_STEPS
        )
        optimiser.zero_grad()
        found["total"].backward()
        if step == 0:
            assert relative_error(outputs.embedding_BD, golden["train_embedding"]) < FIRST_STEP
            assert relative_error(outputs.logits_BC, golden["train_logits"]) < FIRST_STEP
            norms = {names[name]: float(parameter.grad.norm()) for name, parameter in model.named_parameters()}
            assert norms == pytest.approx(facts["grad_norms_step0"], rel=FIRST_STEP)
        optim.set_learning_rate(optimiser, lr)
        optimiser.step()
    state, expected = model.state_dict(), facts["param_norms_after_3_steps"]
    norms = {names[ours]: float(state[ours].norm()) for ours in state}
    assert norms == pytest.approx({name: expected[name] for name in norms}, rel=AFTER_THREE_STEPS)
    distillation = model.distillation
    assert relative_error(distillation.visible_twin, golden["dd_momentum_visible_after"]) < AFTER_THREE_STEPS
    assert relative_error(distillation.other_twin, golden["dd_momentum_infrared_after"]) < AFTER_THREE_STEPS


@pytest.mark.parametrize(("architecture", "width"), [("resnet18", 512), ("resnet10_half", 256)])
def test_smaller_networks_train_and_embed(architecture: str, width: int) -> None:
    torch.manual_seed(0)
    model = DNS(5, ModelOptions(architecture=architecture), LossOptions())
    outputs = model.train()(*torch.randn(8, 3, 96, 48).chunk(2))
    assert outputs.logits_BC.shape == (8, 5)
    model.loss(outputs, torch.tensor([0, 0, 1, 1] * 2))["total"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    pooled, embedding = model.eval().embed(torch.randn(3, 3, 96, 48), visible=False)
    assert pooled.shape == embedding.shape == (3, width)
    assert torch.allclose(embedding.norm(dim=1), torch.ones(3), atol=1e-5)


def test_each_modality_goes_through_its_own_stem() -> None:
    model = DNS(4, ModelOptions(architecture="resnet18"), LossOptions()).eval()
    images = torch.randn(2, 3, 96, 48)
    with torch.no_grad():
        model.other_stem.conv1.weight.zero_()
    assert not torch.allclose(model.embed(images, visible=True)[0], model.embed(images, visible=False)[0])


def test_css_runs_in_training_only(monkeypatch: pytest.MonkeyPatch) -> None:
    model = DNS(4, ModelOptions(architecture="resnet18"), LossOptions()).eval()
    monkeypatch.setattr(model.css, "forward", lambda vector: pytest.fail("CSS ran in evaluation"))
    model.embed(torch.randn(2, 3, 96, 48), visible=True)


def test_initialisation_is_the_published_one() -> None:
    torch.manual_seed(0)
    model = DNS(400, ModelOptions(), LossOptions())
    assert float(model.neck.weight.detach().mean()) == pytest.approx(1.0, abs=1e-3)
    assert float(model.neck.weight.detach().std()) == pytest.approx(0.01, rel=0.1)
    assert float(model.classifier.weight.detach().std()) == pytest.approx(0.001, rel=0.01)
    assert torch.equal(model.visible_stem.conv1.weight, model.other_stem.conv1.weight)
    assert model.visible_stem.conv1.weight.data_ptr() != model.other_stem.conv1.weight.data_ptr()
    assert model.layer4[0].conv2.stride == (1, 1)
    assert model.layer4[0].downsample[0].stride == (1, 1)
