"""Images/s, TFLOP/s and MFU: the operations are counted from the network, the peaks are those of the card's name."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from dns.engine import Engine, EngineOptions, make_engine
from dns.losses import LossOptions
from dns.model import DNS, ModelOptions
from dns.training import throughput

SIZE_PX = (64, 32)
PRODUCTS = (nn.Conv2d, nn.Linear)


@pytest.fixture
def engine() -> Engine:
    return make_engine(EngineOptions(device="cpu", precision="fp32"))


def counted_by_hand(architecture: str, images: int) -> float:
    """TFLOP of the layers alone: two an element of the weights for each place of the output; twice that for the
    backward pass, but once for the first layer of each stem, whose input needs no gradient."""
    model, total = DNS(10, ModelOptions(architecture=architecture), LossOptions()), 0
    first = {
        id(next(m for m in stem.modules() if isinstance(m, PRODUCTS)))
        for stem in (model.visible_stem, model.other_stem)
    }

    def see(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal total
        places = out.numel() // layer.weight.shape[0]
        total += places * layer.weight.numel() * 2 * (2 if id(layer) in first else 3)

    for layer in model.modules():
        if isinstance(layer, PRODUCTS):
            layer.register_forward_hook(see)
    model(torch.zeros(images // 2, 3, *SIZE_PX), torch.zeros(images // 2, 3, *SIZE_PX))
    return total / 1e12


@pytest.mark.parametrize(
    "architecture", ["resnet50", "resnet10_half", "resnext50_32x4d", "resnet50_clip", "vit_tiny_patch16"]
)
def test_operations_are_counted_from_the_network(architecture: str) -> None:
    counted = throughput.count(
        ModelOptions(architecture=architecture), LossOptions(), 10, batch=8, size_px=SIZE_PX, accumulate=1
    )
    # What is not a layer, such as the products of HSS and of the losses, is little beside them.
    assert counted_by_hand(architecture, 8) < counted < 1.1 * counted_by_hand(architecture, 8)


def test_accumulated_batches_count_as_often_and_nothing_random_is_drawn() -> None:
    options, before = (ModelOptions(architecture="resnet10_half"), LossOptions()), torch.get_rng_state()
    one = throughput.count(*options, 10, batch=8, size_px=SIZE_PX, accumulate=1)
    assert throughput.count(*options, 10, batch=24, size_px=SIZE_PX, accumulate=3) == pytest.approx(3 * one)
    assert torch.equal(torch.get_rng_state(), before)


def test_speed_of_several_devices() -> None:
    work = throughput.Work(images=96, tflop=1.5, peak_tflops=None)
    assert work.speed(images=960, seconds=5.0) == {"images_per_s": 192.0, "tflops": 3.0}
    known = replace(work, peak_tflops=30.0).speed(images=960, seconds=5.0)
    assert known == {"images_per_s": 192.0, "tflops": 3.0, "mfu": 0.1}
    assert throughput.shown(known) == {"TFLOP/s": "3", "MFU": "10.0%"}
    assert work.speed(images=0, seconds=0.0) == {"images_per_s": 0.0, "tflops": 0.0}


@pytest.mark.parametrize(
    ("name", "precision", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989.4), ("NVIDIA H100 PCIe", "fp16", 756.5), ("NVIDIA H200", "bf16", 989.4),
        ("NVIDIA H200 NVL", "bf16", 835.5), ("NVIDIA A100-SXM4-80GB", "bf16", 311.9),
        ("NVIDIA GeForce RTX 4090", "fp16", 165.2), ("NVIDIA H100 80GB HBM3", "fp32", None),
        ("Some card", "bf16", None),
        ("NVIDIA RTX A1000 Laptop GPU", "bf16", None), ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "bf16", None),
    ],
)  # fmt: skip
def test_peak_of_a_card(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, name: str, precision: str, peak: float | None
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    card = replace(engine, device=torch.device("cuda"), precision=precision)  # type: ignore[arg-type]
    assert throughput.peak(card) == peak
    assert throughput.peak(engine) is None
