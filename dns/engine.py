"""Decides where and how the network computes: device, precision, memory layout, compilation."""

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from dns.network import Network
from dns.option import AutoSwitch, device_type, option
from ffcv_convert.common.errors import ConfigError

Precision = Literal["fp64", "fp32", "bf16", "fp16"]
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
SWITCHES = ("channels_last", "compile", "fused", "graph", "combo_kernels", "cudnn_benchmark")


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How it runs"""

    device: str = option("auto", "auto, cpu, cuda, cuda:1", resumed=device_type)
    precision: Literal["auto", "fp64", "fp32", "bf16", "fp16"] = option(
        "auto", "auto: bf16 where hardware has it; fp64: to compare"
    )
    channels_last: AutoSwitch = option("auto", "memory layout of maps; auto: on CUDA")
    compile: AutoSwitch = option("auto", "torch.compile; auto: on CUDA")
    fused: AutoSwitch = option("auto", "fused optimiser kernels; auto: on CUDA")
    graph: AutoSwitch = option("auto", "the step as a CUDA graph; auto: on CUDA with a fused optimiser")
    combo_kernels: AutoSwitch = option("auto", "Inductor joins independent kernels; auto: on CUDA")
    cudnn_benchmark: AutoSwitch = option("auto", "cuDNN tries its algorithms; auto: off")
    augment: Literal["auto", "device", "host"] = option("auto", "in the step or the loader; auto: by device")


@dataclass(frozen=True)
class Engine:
    """How the network computes on `device`. Every part can be switched off, so that its gain can be measured.

    precision: bf16 and fp16 by autocast; fp64 makes network and images float64, to compare two ways of computing
    without rounding. fused: one optimiser kernel for many parameters; graph: the whole step captured as a CUDA graph;
    combo_kernels: see inductor.prepare; cudnn_benchmark: cuDNN tries its algorithms; augment: "device" in the step,
    "host" in the loader.
    """

    device: torch.device
    precision: Precision
    channels_last: bool
    compile: bool
    fused: bool = False
    graph: bool = False
    combo_kernels: bool = False
    cudnn_benchmark: bool = False
    augment: Literal["device", "host"] = "device"

    def activate(self) -> None:
        """Set what holds for the whole process: the current CUDA device, and whether convolutions may take TF32."""
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device.index or 0)  # streams, events and captures are the current device's
            torch.backends.cudnn.benchmark = self.cudnn_benchmark
            with warnings.catch_warnings():  # torch warns of a newer switch, which Inductor does not read
                warnings.simplefilter("ignore")
                torch.backends.cudnn.allow_tf32 = self.precision != "fp32"

    def options(self) -> EngineOptions:
        """Return the section `engine` of a configuration, with every "auto" resolved."""
        switches = {name: str(getattr(self, name)).lower() for name in SWITCHES}
        return EngineOptions(device=str(self.device), precision=self.precision, augment=self.augment, **switches)  # type: ignore[arg-type]

    def check_width(self, width_px: int) -> None:
        """Raise ConfigError where maps are one pixel wide after layer3, in bf16 on a CPU: oneDNN's convolutions with a
        stride of 2 then read memory that is not theirs (seen up to 3.12), and give any number."""
        if self.device.type == "cpu" and self.precision == "bf16" and width_px <= 16:
            raise ConfigError(
                f"images of {width_px} px width are too narrow for bf16 on a CPU, whose convolutions go wrong on "
                "maps one wide. Add --engine.precision=fp32, or convert the set to a larger width"
            )

    def input_dtype(self) -> torch.dtype:
        """Return the type of the images that the loader augments: bf16 where autocast would make them so."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, AUTOCAST.get(self.precision), enabled=self.precision in AUTOCAST)

    def place(self, model: Network) -> Network:
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        dtype = torch.float64 if self.precision == "fp64" else torch.float32
        return model.to(self.device, dtype).to(memory_format=layout)

    def arrange(self, images: Tensor) -> Tensor:
        images = images.double() if self.precision == "fp64" else images
        return images if self.channels_last else images.contiguous()

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function`, compiled if that is asked for. Every call must bring the same shapes."""
        if not self.compile:
            return function
        if self.device.type == "cuda" and self.channels_last:
            from dns import inductor  # not above: importing Inductor takes seconds

            inductor.prepare(combo_kernels=self.combo_kernels)
        return torch.compile(function, dynamic=False)

    def scaler(self) -> torch.amp.GradScaler:
        """Return a GradScaler, which passes everything through unless the precision is fp16."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")


def make_engine(options: EngineOptions) -> Engine:
    """Resolve every "auto" for the device at hand, to what is fastest there.

    CUDA: bf16 (fp16 on cards without it), compiled if that works, captured, channels-last, fused optimiser,
    augmentation in the step.
    CPU: bf16 where the processor has it in hardware (1.5 times as fast as fp32), else fp32; eager, because compiling
    takes longer than a small run; contiguous, which was no slower for ResNet-50 and ResNet-18; the loader augments.

    Raises ConfigError for a device that is not there, and for a graph that cannot be.
    """
    device = _device(options.device)
    cuda = device.type == "cuda"

    def on(switch: AutoSwitch) -> bool:
        return cuda if switch == "auto" else switch == "true"

    if options.graph == "true" and not (cuda and on(options.fused)):
        raise ConfigError("engine.graph = 'true' needs CUDA and engine.fused. Leave it at auto, or switch it off")
    return Engine(
        device,
        fastest_precision(device) if options.precision == "auto" else options.precision,
        channels_last=on(options.channels_last),
        compile=on(options.compile) and (options.compile == "true" or can_compile(device)),
        fused=on(options.fused),
        graph=on(options.graph) and on(options.fused),
        combo_kernels=on(options.combo_kernels),
        cudnn_benchmark=options.cudnn_benchmark == "true",  # no card has shown a gain
        augment=_side(options.augment, cuda),
    )


def _device(name: str) -> torch.device:
    """Return the named device. Raises ConfigError for one that is missing, or that this program or torch cannot use."""
    name = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"engine.device = {name!r}: {str(error).splitlines()[0]}") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"engine.device = {name!r}: this program runs on cpu and cuda")
    if device.type == "cuda":
        _check_kernels(device)
    return device


def fastest_precision(device: torch.device) -> Precision:
    """Return the fastest precision that the device has in hardware."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if _cpu_has_bf16() else "fp32"


def _check_kernels(device: torch.device) -> None:
    """Raise ConfigError for a card that the installed torch has no kernels for."""
    try:
        torch.ones(1, device=device).add_(1)
        torch.cuda.synchronize(device)
    except RuntimeError as error:
        if "no kernel image" not in str(error):
            raise
        major, minor = torch.cuda.get_device_capability(device)
        raise ConfigError(
            f"{torch.cuda.get_device_name(device)} (sm_{major}{minor}): torch {torch.__version__} has kernels for "
            f"{', '.join(torch.cuda.get_arch_list())} alone. Install torch's wheel for an older CUDA (cu126 for cards "
            "before sm_75) or a newer torch (for newer cards), or add --engine.device=cpu"
        ) from None


def can_compile(device: torch.device) -> bool:
    """Whether torch.compile works here: Triton needs a C compiler and Python's headers. A note says why not."""
    try:
        one = torch.ones(2, device=device, requires_grad=True)
        torch.compile(lambda x: (x * x).sum(), dynamic=False)(one).backward()
    except Exception as error:  # the compiler, Triton and what they call raise errors of many kinds
        reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        print(f"note: torch.compile does not work here, so the step runs uncompiled: {reason.strip()}", file=sys.stderr)
        return False
    return True


def _side(augment: str, cuda: bool) -> Literal["device", "host"]:
    return "device" if augment == "device" or (augment == "auto" and cuda) else "host"


def _cpu_has_bf16() -> bool:
    """Whether the processor has bf16, and ONEDNN_MAX_CPU_ISA does not switch it off. Both are asked: oneDNN by itself
    says yes on any AVX-512."""
    return torch.cpu._is_avx512_bf16_supported() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
