"""One training step: augment, forward, losses, backward, optimiser. The trainer calls what a benchmark times."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from dns.config import ConfigError
from dns.losses import Losses
from dns.model import DNS

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Step = Callable[[Tensor, Tensor, Tensor], Losses]


@dataclass(frozen=True)
class Engine:
    """How the step runs on `device`. Every part can be switched off, so that its gain can be measured."""

    device: torch.device
    precision: Precision
    channels_last: bool
    compile: bool

    @property
    def fused(self) -> bool:
        """Fused optimiser kernels."""
        return self.device.type == "cuda"

    def options(self) -> dict[str, str]:
        """As the section `engine` of a configuration, every "auto" resolved."""
        return {
            "device": str(self.device),
            "precision": self.precision,
            "channels_last": str(self.channels_last).lower(),
            "compile": str(self.compile).lower(),
        }

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, DTYPES[self.precision], enabled=self.precision != "fp32")

    def place(self, model: DNS) -> DNS:
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return model.to(self.device).to(memory_format=layout)

    def arrange(self, images: Tensor) -> Tensor:
        return images if self.channels_last else images.contiguous()

    def scaler(self) -> torch.amp.GradScaler:
        """Passes everything through unless the precision is fp16."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")


def make_step(
    model: DNS,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    augment: Callable[[Tensor, Tensor], Tensor],
    engine: Engine,
) -> Step:
    """The function (images_BHWC uint8, augmentation table, person_B) -> Losses, detached and still on the device.

    `augment` turns the first two into (B, 3, H, W) float32. Nothing here reads a tensor back to the host.
    """

    def forward(images_BHWC: Tensor, table: Tensor, person_B: Tensor) -> Losses:
        images = engine.arrange(augment(images_BHWC, table))
        with engine.autocast():
            outputs = model(images)
        return model.loss(outputs, person_B)

    run = torch.compile(forward) if engine.compile else forward

    def step(images_BHWC: Tensor, table: Tensor, person_B: Tensor) -> Losses:
        losses = run(images_BHWC, table, person_B)
        optimiser.zero_grad(set_to_none=True)
        scaler.scale(losses.total).backward()
        scaler.step(optimiser)
        scaler.update()
        return Losses(*(loss.detach() for loss in losses))

    return step


def make_engine(device: str, precision: Literal["auto"] | Precision, channels_last: str, compile: str) -> Engine:
    """Resolve every "auto" for the device at hand, to what is fastest there.

    CUDA: bf16 (fp16 on cards without it), compiled, channels-last. CPU: bf16 where the processor has it in hardware
    (1.5 times fp32 then), else fp32; eager, for compiling takes longer than a small run; contiguous, which was no
    slower in any trial.

    Raises ConfigError for a device that is not there.
    """
    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        chosen = torch.device(name)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"engine.device = {name!r}: {str(error).splitlines()[0]}") from None
    cuda = chosen.type == "cuda"
    if precision == "auto" and cuda:
        precision = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    elif precision == "auto":
        precision = "bf16" if _cpu_has_bf16() else "fp32"
    return Engine(
        chosen,
        precision,
        channels_last=cuda if channels_last == "auto" else channels_last == "true",
        compile=cuda if compile == "auto" else compile == "true",
    )


def _cpu_has_bf16() -> bool:
    return any(flag in Path("/proc/cpuinfo").read_text() for flag in ("avx512_bf16", "amx_bf16"))
