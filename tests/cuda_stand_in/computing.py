"""Makes the stand-in compute: once this is imported, CUDA's operators compute by the CPU's kernels, on the same bytes.

Each operator gets another kernel at the dispatch key CUDA, below autograd, autocast and Inductor's graphs, which stay
the product's own. It first calls CUDA's kernel: that one checks its arguments, makes results with CUDA's strides, and
launches, so that launches are counted and the rules of capture hold. Then it launches what the CPU's kernel computes,
see order.py. An operator that no CPU has raises when it is called, and so does one whose result has another shape or
type.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.library import get_kernel
from torch.utils._pytree import tree_map_only

from tests.cuda_stand_in import order, private_names
from tests.cuda_stand_in.device import override
from tests.cuda_stand_in.host_kernels import DRAWS, KERNELS
from tests.cuda_stand_in.host_memory import CPU, on_host, to_device

private_names.check()

# The shape of the result depends on numbers, or the result is one: CUDA's kernel would read numbers that are not there.
BY_VALUE = {
    "nonzero", "_unique", "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive", "masked_select",
    "repeat_interleave", "bincount", "equal", "histc", "_is_all_true", "_is_any_true",
}  # fmt: skip
# All that they do, they do on the host and by the runtime's copies: memory, its views, and reading one number.
ON_HOST = {
    "_local_scalar_dense", "set_", "resize_", "resize_as_", "record_stream", "is_pinned", "_pin_memory", "is_set_to",
    "empty", "empty_strided", "empty_like", "new_empty", "_copy_from", "_copy_from_and_resize", "_resize_output_",
    "_cudnn_init_dropout_state", "_efficientzerotensor",
}  # fmt: skip
# torch.ops takes a number in a tensor's place for these alone: should_allow_numbers_as_tensors in torch's C++.
TAKES_NUMBERS = {
    "add", "sub", "subtract", "mul", "multiply", "div", "divide", "true_divide", "floor_divide", "remainder", "fmod",
    "_add_relu", "_foreach_add", "_foreach_mul", "copy",
}  # fmt: skip

Kernel = Callable[..., Any]  # (dispatch keys, the operator's arguments) -> its results


def computing(name: str, operator: Any, own: Any) -> Kernel:
    """The kernel that computes. own: CUDA's."""
    schema, base = operator._schema, name.removeprefix("aten::").partition(".")[0]
    made = [one.alias_info is None for one in schema.returns]  # not an argument that is written to
    wants_tensor = [str(one.type) in ("Tensor", "Optional[Tensor]") for one in schema.arguments]
    host, draws, exact = KERNELS.get(name, operator), DRAWS.get(name), name not in KERNELS
    numbers_stay = base.removesuffix("_") in TAKES_NUMBERS
    random = torch.Tag.nondeterministic_seeded in operator.tags

    def kernel(keys: Any, *arguments: Any, **named: Any) -> Any:
        boxed = _numbers_as_tensors(arguments, wants_tensor)
        with order.hollow():
            result = own.call_boxed(keys, *boxed, **named)
        if order.is_hollow():
            return result
        if random and not draws and order.is_lazy():
            raise NotImplementedError(f"{name} with lazy streams: add what it draws to DRAWS in {KERNELS_FILE}")
        given = [_for_host(one) for one in (arguments if numbers_stay else boxed)]
        words = {key: _for_host(one) for key, one in named.items()}
        results = (result,) if len(made) == 1 else result or ()
        targets = [_for_host(one) if new else None for one, new in zip(results, made, strict=True)]

        def run(*drawn: Any) -> None:
            found = host(*given, *drawn, **words)
            for target, one in zip(targets, (found,) if len(made) == 1 else found or (), strict=True):
                if target is not None:
                    _write(name, target, one, exact)

        order.launch(name, run, draw=(lambda: draws(*given, **words)) if draws else None)
        return result

    return kernel


def by_value(operator: Any) -> Kernel:
    """The kernel of an operator whose result's shape depends on numbers: it waits for them, as CUDA's does."""

    def kernel(_keys: Any, *arguments: Any, **named: Any) -> Any:
        torch.cuda.current_stream().synchronize()
        found = operator(*map(_for_host, arguments), **{key: _for_host(one) for key, one in named.items()})
        return tree_map_only(Tensor, to_device, found)

    return kernel


def missing(name: str, own: Any) -> Kernel:
    """The kernel of an operator that no CPU has. Below another one that computes it does no harm."""

    def kernel(keys: Any, *arguments: Any, **named: Any) -> Any:
        if not order.is_hollow():
            raise NotImplementedError(
                f"{name} computes nothing on the stand-in, because a CPU has no such kernel. Add it to {KERNELS_FILE}"
            )
        return own.call_boxed(keys, *arguments, **named)

    return kernel


def copying(own: Any) -> Kernel:
    """copy_: within the device a kernel, else by torch's own steps down to the runtime's copies and waits."""
    within = computing("aten::copy_", torch.ops.aten.copy_.default, own)

    def kernel(keys: Any, target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
        if target.is_cuda and source.is_cuda:
            return within(keys, target, source, non_blocking)
        return own.call_boxed(keys, target, source, non_blocking)

    return kernel


KERNELS_FILE = "tests/cuda_stand_in/host_kernels.py"


def _numbers_as_tensors(arguments: tuple[Any, ...], wants_tensor: list[bool]) -> list[Any]:
    """A number in a tensor's place arrives as a number. CUDA's kernel wants a tensor, of the type it promotes to."""
    tensors = [one for one in arguments if isinstance(one, Tensor) and one.dtype != torch.bool]

    def tensor(value: Any) -> Tensor:
        return torch.tensor(value, dtype=torch.result_type(tensors[0], value) if tensors else None)

    return [
        tensor(one) if wanted and isinstance(one, (bool, int, float, complex)) else one
        for one, wanted in zip(arguments, wants_tensor, strict=False)
    ]


def _for_host(value: Any) -> Any:
    """An argument as the CPU's kernel takes it. Numbers in tensors of the host are read when a kernel is launched."""
    if isinstance(value, Tensor):
        return on_host(value) if value.is_cuda else value.clone()
    if isinstance(value, (list, tuple)):
        return [_for_host(one) for one in value]
    if isinstance(value, torch.Generator):
        return None  # torch.manual_seed seeds the CPU's as well
    return CPU if isinstance(value, torch.device) else value


def _write(name: str, target: Any, value: Any, exact: bool) -> None:
    if isinstance(target, list):
        for one, other in zip(target, value, strict=True):
            _write(name, one, other, exact)
    elif value is None:  # a gradient that nobody asked for: the bias of a neck that does not train it
        return
    elif isinstance(target, Tensor) and value.shape != (0,):  # a CPU's batch norm saves nothing in evaluation
        same = target.shape == value.shape and (target.dtype == value.dtype or not exact)
        assert same, f"{name}: {value.dtype} {value.shape} on a CPU, {target.dtype} {target.shape} on CUDA"
        target.copy_(value)


def _operators() -> Iterator[tuple[str, Any]]:
    for name in torch._C._dispatch_get_all_op_names():
        if name.startswith("aten::") and torch._C._dispatch_has_kernel_for_dispatch_key(name, "CUDA"):
            base, _, overload = name.removeprefix("aten::").partition(".")
            yield name, getattr(getattr(torch.ops.aten, base), overload or "default")


def _kernels() -> Iterator[tuple[str, Kernel]]:
    yield "aten::copy_", copying(get_kernel("aten::copy_", "CUDA"))
    for name, operator in _operators():
        base = operator._schema.name.removeprefix("aten::")
        is_view = any(one.alias_info is not None and not one.alias_info.is_write for one in operator._schema.returns)
        if is_view or base in ON_HOST or name == "aten::copy_":
            continue
        if base in BY_VALUE:
            yield name, by_value(operator)
        elif name in KERNELS or torch._C._dispatch_has_computed_kernel_for_dispatch_key(name, "CPU"):
            yield name, computing(name, operator, get_kernel(name, "CUDA"))
        else:
            yield name, missing(name, get_kernel(name, "CUDA"))


for _name, _kernel in list(_kernels()):
    override(_name, _kernel, with_keyset=True)
# A CPU has none of CUDA's fused kernels of attention: products and a softmax compute the same.
torch.backends.cuda.enable_flash_sdp(False)
torch.backends.cuda.enable_mem_efficient_sdp(False)
