"""Computes a training's speed: images/s, TFLOP/s, and the share of the card's peak (model FLOPs utilisation, MFU)."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import torch

from dns.engine import Engine
from dns.methods import METHODS
from dns.network import NetworkOptions

# A card's peak by its name, in bf16 and fp16 with float32 sums, without sparsity: NVIDIA's data sheets and architecture
# papers. A part of a card (MIG), a Laptop's or a Ti is another card and has another name.
PEAK_TFLOPS = {
    "NVIDIA B200": 2250.0,
    "NVIDIA H200": 989.4,
    "NVIDIA H200 NVL": 835.5,
    "NVIDIA H100 80GB HBM3": 989.4,
    "NVIDIA H100 NVL": 835.5,
    "NVIDIA H100 PCIe": 756.5,
    "NVIDIA A100-SXM4-40GB": 311.9,
    "NVIDIA A100-SXM4-80GB": 311.9,
    "NVIDIA A100-PCIE-40GB": 311.9,
    "NVIDIA A100 80GB PCIe": 311.9,
    "NVIDIA L40S": 362.1,
    "NVIDIA GeForce RTX 5090": 209.5,
    "NVIDIA GeForce RTX 4090": 165.2,
    "NVIDIA GeForce RTX 3090": 71.0,
}
PEAK_PRECISIONS = ("bf16", "fp16")


@dataclass(frozen=True)
class Work:
    """What a step computes. images: on all devices together; tflop: 10^12 floating-point operations on each device;
    peak_tflops: the device's in a second, None where it is not known."""

    images: int
    tflop: float
    peak_tflops: float | None

    def speed(self, images: int, seconds: float) -> dict[str, float]:
        """Return the speed of steps with so many images in all: images_per_s; tflops, 10^12 operations a second on each
        device; mfu, from 0 to 1, where the peak is known."""
        images_per_s = images / max(seconds, 1e-9)
        found = {"images_per_s": images_per_s, "tflops": images_per_s / self.images * self.tflop}
        return {**found, "mfu": found["tflops"] / self.peak_tflops} if self.peak_tflops else found


class Pace:
    """The speed of the steps since the last line of the log. iteration: the epoch's, at the start."""

    def __init__(self, work: Work, iteration: int):
        self._work, self._iteration, self._time = work, iteration, time.monotonic()

    def since(self, iteration: int) -> dict[str, float]:
        """Return Work.speed of the steps from the last call to this one."""
        now, images = time.monotonic(), (iteration - self._iteration) * self._work.images
        found = self._work.speed(images, now - self._time)
        self._iteration, self._time = iteration, now
        return found


@cache  # trials and seeds, trained in turn, have the same count
def count(
    options: NetworkOptions, losses: Any, identities: int, *, batch: int, size_px: tuple[int, int], accumulate: int,
    views: int = 1,
) -> float:  # fmt: skip
    """Return the TFLOP (10^12 floating-point operations) of a step on one device: of convolutions and matrix products,
    forward and backward, a multiply-add as two. batch: images of `size_px` (height, width) that the device decodes for
    a step; views: of each visible one, see Network.forward.

    torch counts them on tensors without memory, in less than 2 s for ResNet-50. So neither the weights nor random
    numbers change. Losses that see other devices' embeddings too (optim.gather) count as if they saw their own.
    """
    from torch.utils.flop_counter import FlopCounterMode  # not above: it imports Triton

    half = batch // accumulate // 2
    with torch.device("meta"):
        model = METHODS[options.method].network(identities, options, losses)
        visible, other = torch.empty(views * half, 3, *size_px), torch.empty(half, 3, *size_px)
        person_B = torch.empty(2 * half, dtype=torch.int64)
    counted = {torch.ops.aten.convolution_backward: _of_convolution_backward}
    with FlopCounterMode(display=False, custom_mapping=counted) as counter:
        model.loss(model(visible, other), person_B)["total"].backward()
    return accumulate * counter.get_total_flops() / 1e12


def _of_convolution_backward(
    output: Sequence[int], given: Sequence[int], weight: Sequence[int], *more: Any, **_: Any
) -> int:
    """Return the operations of a convolution's backward pass: those of its forward pass for each gradient, of its input
    and its weight. torch's own count takes a grouped one, as ResNeXt's are, for one of all channels. The arguments
    are the shapes of aten.convolution_backward's; the last one says which gradients are asked for."""
    wanted = more[-1]
    return 2 * prod(output) * prod(weight[1:]) * (wanted[0] + wanted[1])


def shown(speed: Mapping[str, float]) -> dict[str, str]:
    """Return TFLOP/s and MFU of Work.speed, for a progress bar, which counts the images itself."""
    found = {"TFLOP/s": f"{speed['tflops']:.3g}"}
    return {**found, "MFU": f"{speed['mfu']:.1%}"} if "mfu" in speed else found


def peak(engine: Engine) -> float | None:
    """Return the TFLOP/s (10^12 operations a second) of the engine's device in its precision at best, or None."""
    if engine.device.type != "cuda" or engine.precision not in PEAK_PRECISIONS:
        return None
    return PEAK_TFLOPS.get(torch.cuda.get_device_name(engine.device))
