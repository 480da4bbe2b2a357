"""The stand-in's Python half: counters of what was launched, and convolutions, whose cuDNN interface is not imitated.
Attention takes PyTorch's own fused kernels in the place of cuDNN's.

Import it in a process that `run.py` started, before anything computes on the device.
"""

import ctypes
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format
from torch.library import Library

COUNTERS = ("launch", "replay", "sync", "wait", "copy", "pageable", "allocation", "violation")

_runtime = ctypes.CDLL("libcuda.so.1")
_runtime.stand_in_count.restype = ctypes.c_long
_runtime.stand_in_violation.restype = ctypes.c_char_p
_runtime.stand_in_node.restype = ctypes.c_char_p
_runtime.stand_in_work.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p]


def counts() -> dict[str, int]:
    """How often each happened so far. sync: this thread waited for the device; wait: for an event; pageable: copies of
    host memory that is not pinned."""
    return {name: _runtime.stand_in_count(name.encode()) for name in COUNTERS}


def counted(call: Callable[[], object]) -> dict[str, int]:
    """What happened during `call`."""
    before = counts()
    call()
    return {name: value - before[name] for name, value in counts().items()}


def violations() -> list[str]:
    """What broke a rule of stream capture, in order."""
    found: list[str] = []
    while (text := _runtime.stand_in_violation(ctypes.c_long(len(found)))) is not None:
        found.append(text.decode())
    return found


def nodes() -> list[str]:
    """ "kind name" of the nodes of the newest captured graph."""
    found: list[str] = []
    while (text := _runtime.stand_in_node(ctypes.c_long(len(found)))) is not None:
        found.append(text.decode())
    return found


@dataclass(frozen=True)
class Convolution:
    """One that was launched. kind: forward, input gradient or weight gradient; bytes: of its tensors, each once."""

    kind: str
    flops: int
    bytes: int
    channels_last: bool
    shape: tuple[int, ...]


convolutions: list[Convolution] = []


def _launch(kind: str, flops: int, tensors: Sequence[Tensor], *, channels_last: bool) -> None:
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    convolutions.append(Convolution(kind, flops, size, channels_last, tuple(tensors[0].shape)))
    stream = torch.cuda.current_stream().cuda_stream
    if _runtime.stand_in_work(b"convolution", kind.encode(), stream):
        raise RuntimeError(f"a convolution's {kind} was refused while capturing")


def _layout(*tensors: Tensor) -> torch.memory_format:
    """As cuDNN decides: channels-last if one of the tensors is."""
    last = any(suggest_memory_format(tensor) == torch.channels_last for tensor in tensors)
    return torch.channels_last if last else torch.contiguous_format


def _convolution(
    images: Tensor, weight: Tensor, bias: Tensor | None, stride: list[int], padding: list[int], dilation: list[int],
    transposed: bool, output_padding: list[int], groups: int,
) -> Tensor:  # fmt: skip
    assert images.dtype == weight.dtype, (images.dtype, weight.dtype)
    layout = _layout(images, weight)
    images, weight = images.contiguous(memory_format=layout), weight.contiguous(memory_format=layout)
    spatial = [
        (images.shape[2 + n] + 2 * padding[n] - dilation[n] * (weight.shape[2 + n] - 1) - 1) // stride[n] + 1
        for n in range(2)
    ]
    shape = (len(images), len(weight), *spatial)
    result = torch.empty(shape, dtype=images.dtype, device=images.device, memory_format=layout)
    flops = 2 * result.numel() * weight[0].numel()
    _launch("forward", flops, (images, weight, result), channels_last=layout == torch.channels_last)
    return result


def _convolution_backward(
    gradient: Tensor, images: Tensor, weight: Tensor, bias_sizes: list[int] | None, stride: list[int],
    padding: list[int], dilation: list[int], transposed: bool, output_padding: list[int], groups: int,
    mask: list[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # fmt: skip
    assert images.dtype == weight.dtype == gradient.dtype, (images.dtype, weight.dtype, gradient.dtype)
    layout = _layout(images, weight)
    gradient = gradient.contiguous(memory_format=layout)
    flops, last = 2 * gradient.numel() * weight[0].numel(), layout == torch.channels_last
    of_images = torch.empty_like(images, memory_format=layout) if mask[0] else None
    of_weight = torch.empty_like(weight, memory_format=layout) if mask[1] else None
    if of_images is not None:
        _launch("input gradient", flops, (images, gradient, weight), channels_last=last)
    if of_weight is not None:
        _launch("weight gradient", flops, (images, gradient, weight), channels_last=last)
    return of_images, of_weight, gradient.sum((0, 2, 3)) if mask[2] else None


_library = Library("aten", "IMPL")


def override(name: str, kernel: Callable[..., Any], **how: Any) -> None:
    """Let `kernel` take the place of CUDA's own for the operator aten::name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch may say that a kernel is replaced
        _library.impl(name, kernel, "CUDA", allow_override=True, **how)


override("convolution", _convolution)
override("convolution_backward", _convolution_backward)
torch.backends.cuda.enable_cudnn_sdp(False)
