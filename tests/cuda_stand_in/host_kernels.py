"""Kernels of CUDA that a CPU lacks, or has in another form: what each of them computes, on tensors of the CPU."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def convolution(images: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
    """In float16 a CPU's is missing for some shapes: computed in float32, then rounded, as tensor cores add up."""
    if images.dtype != torch.float16:
        return aten.convolution(images, weight, bias, *how)
    return aten.convolution(images.float(), weight.float(), None if bias is None else bias.float(), *how).half()


def convolution_backward(gradient: Tensor, images: Tensor, weight: Tensor, *how: Any) -> Any:
    if images.dtype != torch.float16:
        return aten.convolution_backward(gradient, images, weight, *how)
    found = aten.convolution_backward(gradient.float(), images.float(), weight.float(), *how)
    return [None if one is None else one.half() for one in found]


def batch_norm(
    images: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, training: bool, momentum: float, eps: float
) -> Any:
    """cuDNN's returns a fourth tensor, its own workspace."""
    found = aten.native_batch_norm(images, weight, bias, mean, var, training, momentum, eps)
    return *found, torch.empty(0, dtype=torch.uint8)


def batch_norm_backward(
    images: Tensor, gradient: Tensor, weight: Tensor, mean: Tensor, var: Tensor, saved_mean: Tensor, saved_var: Tensor,
    eps: float, _workspace: Tensor,
) -> Any:  # fmt: skip
    saved = saved_mean, saved_var
    return aten.native_batch_norm_backward(gradient, images, weight, mean, var, *saved, True, eps, [True] * 3)


def draw_dropout(given: Tensor, p: float, train: bool | None) -> Tensor | None:
    """The mask, drawn as a CPU's dropout draws it: the same seed gives both devices the same one."""
    return None if train is False or p == 0 else torch.empty_like(given).bernoulli_(1 - p)


def dropout(given: Tensor, p: float, train: bool | None, kept: Tensor | None) -> Any:
    if kept is None:
        return given.clone(), torch.ones_like(given, dtype=torch.bool)
    return given * kept.div(1 - p), kept.bool()


def widened(operator: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A softmax that reads half precision and writes float32, as CUDA's may."""
    return lambda given, dim, half_to_float: operator(given.float() if half_to_float else given, dim, False)


def narrowed(operator: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Its backward pass: the gradient of float32 results for an input of half precision."""
    return lambda gradient, output, dim, dtype: operator(gradient, output, dim, gradient.dtype).to(dtype)


KERNELS: dict[str, Callable[..., Any]] = {
    "aten::convolution": convolution,
    "aten::convolution_backward": convolution_backward,
    "aten::cudnn_batch_norm": batch_norm,
    "aten::cudnn_batch_norm_backward": batch_norm_backward,
    "aten::native_dropout": dropout,
    "aten::_softmax": widened(aten._softmax),
    "aten::_log_softmax": widened(aten._log_softmax),
    "aten::_softmax_backward_data": narrowed(aten._softmax_backward_data),
    "aten::_log_softmax_backward_data": narrowed(aten._log_softmax_backward_data),
}
# What draws random numbers: it is called when the kernel is launched, and its result is the kernel's last argument.
DRAWS: dict[str, Callable[..., Any]] = {"aten::native_dropout": draw_dropout}
