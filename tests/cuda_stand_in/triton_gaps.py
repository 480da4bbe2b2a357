"""What Triton's interpreter lacks for Inductor's kernels, or does otherwise than a card: filled in by `fill()`.

| gap | here |
| --- | --- |
| a @triton.jit function that a kernel calls raises | its source is rewritten once, as the kernel's is, and called |
| float32 to bfloat16 truncates; its rounding to nearest loses a carry | torch's rounding |
| reductions but sum, min and max go element by element | by halves of the axis, as a card's lanes do |
| libdevice's functions are stubs | NumPy's |
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import triton.language as tl
from torch._inductor.runtime import triton_helpers
from triton.language import core
from triton.runtime import interpreter
from triton.runtime.interpreter import FunctionRewriter, InterpreterBuilder, ReduceOps, TensorHandle
from triton.runtime.jit import JITFunction

_rewritten: dict[Any, Callable[..., Any]] = {}
_inside = False


def rewritten(function: JITFunction) -> Callable[..., Any]:
    if function.fn not in _rewritten:
        _rewritten[function.fn] = FunctionRewriter(function.fn).rewrite_ast()
    return _rewritten[function.fn]


@contextmanager
def interpreting() -> Iterator[None]:
    """triton.language computes with NumPy. Once a kernel: the interpreter itself would do it again for every function
    that the kernel calls, and never undo it."""
    global _inside
    scope = interpreter._patch_lang(SimpleNamespace(__globals__={"tl": tl, "core": core}))
    _inside = True
    try:
        with np.errstate(all="ignore"):  # of the lanes that a mask leaves out
            yield
    finally:
        _inside = False
        scope.restore()


def _call(self: JITFunction, *arguments: Any, **named: Any) -> Any:
    if not _inside:
        raise RuntimeError(f"{self.fn.__name__} is called outside of a kernel. Launch it as kernel[grid](...)")
    return rewritten(self)(
        *arguments, **{key: one for key, one in named.items() if key not in ("_semantic", "_builder")}
    )


def _cast(self: InterpreterBuilder, source: TensorHandle, target: Any, _rounding: Any = None) -> TensorHandle:
    """A comparison's handle holds booleans under its operands' type, so even a cast to the same type converts."""
    data, into = source.data, target.scalar
    if source.dtype.scalar == tl.bfloat16 and data.dtype != bool:
        if into == tl.bfloat16:
            return source
        data = (data.astype(np.uint32) << 16).view(np.float32)
    if into == tl.bfloat16:
        wide = torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32))
        return TensorHandle(wide.bfloat16().view(torch.int16).numpy().view(np.uint16), into)
    return TensorHandle(data.astype(interpreter._get_np_dtype(into)), into)


def _reduce(self: ReduceOps, values: tuple[Any, ...]) -> list[Any]:
    values, axis = self.unravel(values, self.axis)
    dtypes = [one.dtype for one in values]
    parts = [one.handle.data for one in values]
    combine = rewritten(self.combine_fn)

    def tensors(arrays: list[np.ndarray]) -> list[Any]:
        shaped = zip(arrays, dtypes, strict=True)
        return [tl.tensor(TensorHandle(a, dtype), tl.block_type(dtype, list(a.shape))) for a, dtype in shaped]

    while (length := parts[0].shape[axis]) > 1:
        first, second, rest = ([np.take(part, which, axis) for part in parts] for which in _halves(length))
        found = combine(*tensors(first), *tensors(second))
        found = found if isinstance(found, tuple) else (found,)
        joined = zip(found, first, rest, strict=True)
        parts = [np.concatenate([one.handle.data.reshape(half.shape), left], axis) for one, half, left in joined]
    if not self.keep_dims:
        parts = [np.squeeze(part, axis) for part in parts]
    return [
        self.to_tensor(part if part.shape else part.item(), dtype) for part, dtype in zip(parts, dtypes, strict=True)
    ]


def _halves(length: int) -> tuple[range, range, range]:
    """Two halves, and the last one of an odd number."""
    half = length // 2
    return range(half), range(half, 2 * half), range(2 * half, length)


def _erf(x: np.ndarray) -> np.ndarray:
    return torch.erf(torch.from_numpy(np.ascontiguousarray(x))).numpy()


LIBDEVICE: dict[str, Callable[..., Any]] = {
    "rsqrt": lambda x: 1 / np.sqrt(x), "sqrt": np.sqrt, "pow": np.power, "exp": np.exp, "exp2": np.exp2,
    "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "log2": np.log2, "tanh": np.tanh, "erf": _erf,
    "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "rint": np.rint, "nearbyint": np.rint, "fmod": np.fmod,
    "abs": np.abs, "isnan": np.isnan, "isinf": np.isinf, "signbit": np.signbit, "copysign": np.copysign,
    "div_rn": np.divide, "fast_dividef": np.divide, "fma": lambda x, y, z: x * y + z,
}  # fmt: skip


def _libdevice(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **_: Any) -> Any:
        given = [interpreter.interpreter_semantic.to_tensor(one) for one in arguments]
        data = np.asarray(function(*[one.handle.data for one in given]))
        dtype = tl.int1 if data.dtype == bool else given[0].dtype
        data = data.astype(interpreter._get_np_dtype(dtype), copy=False)
        block = given[0].type.is_block() or data.ndim > 1
        return tl.tensor(TensorHandle(data, dtype), tl.block_type(dtype, list(data.shape)) if block else dtype)

    return call


def _lacking(name: str) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise NotImplementedError(f"libdevice.{name} is a stub. Add it to LIBDEVICE in {__file__}")

    return call


def fill() -> None:
    # A card looks for overflows of indices in debug builds alone; here it takes most of max pooling's backward pass.
    interpreter.interpreter_builder.options = interpreter.InterpreterOptions(sanitize_overflow=False)
    JITFunction.__call__ = _call  # type: ignore[method-assign]
    InterpreterBuilder.cast_impl = InterpreterBuilder.create_fp_to_fp = _cast  # type: ignore[method-assign]
    ReduceOps.generic_reduce = _reduce  # type: ignore[method-assign]
    library = triton_helpers.libdevice
    for name, _ in inspect.getmembers(library, inspect.isfunction):
        setattr(library, name, _libdevice(LIBDEVICE[name]) if name in LIBDEVICE else _lacking(name))
