"""Inductor's own Triton kernels compute on the stand-in, by Triton's interpreter. Call `install()` before
torch.compile.

Triton compiles nothing: a generated module is only loaded, and a launch interprets its kernel with a configuration that
Inductor made, over the grid that Inductor computes for it. TRITON_INTERPRET stays unset, because Inductor would
generate other kernels. What is tried is the code that Inductor generates, not what ptxas makes of it, and not a card's
rounding.
"""

import copy
import threading
import time
from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch._inductor.async_compile import AsyncCompile
from torch._inductor.codecache import PyCodeCache
from torch._inductor.runtime.hints import TRITON_MAX_BLOCK
from torch._inductor.runtime.triton_heuristics import CachingAutotuner
from triton.runtime import interpreter
from triton.runtime.jit import JITFunction

from tests.cuda_stand_in import order, private_names, triton_gaps
from tests.cuda_stand_in.device import _runtime
from tests.cuda_stand_in.host_memory import on_host

WIDEST = 1 << 18  # elements of a program: NumPy's memory
launches: Counter[str] = Counter()  # by the kernel's name
seconds: Counter[str] = Counter()
_lock = threading.RLock()  # autograd runs backward kernels in a thread of its own


def install() -> None:
    private_names.check(private_names.INTERPRETED)
    triton_gaps.fill()
    torch._inductor.config.fx_graph_cache = False  # cached code would go past what is replaced here
    torch._functorch.config.enable_autograd_cache = False
    torch._inductor.config.compile_threads = 1
    AsyncCompile.triton = _load  # type: ignore[method-assign]
    CachingAutotuner.precompile = lambda *_, **__: None  # type: ignore[method-assign]
    CachingAutotuner.run = _run  # type: ignore[method-assign]


def _load(self: AsyncCompile, name: str, source: str, device_str: str = "cuda", **_: Any) -> Any:
    return getattr(PyCodeCache.load(source), name)


def _run(self: CachingAutotuner, *arguments: Any, stream: Any, benchmark_run: bool = False, **named: Any) -> None:
    name, configuration = self.fn.__name__, _configuration(self)
    arguments, grid = self._interpret_args_grid(arguments, configuration)
    given = _by_name(self, configuration, arguments) | named
    for value in given.values():
        assert not isinstance(value, Tensor) or value.is_cuda, f"{name} is given a tensor of the {value.device}"
    given = {key: on_host(value) if isinstance(value, Tensor) else value for key, value in given.items()}
    if _runtime.stand_in_work(b"triton", name.encode(), stream):
        raise RuntimeError(f"{name} was refused while capturing")

    def run() -> None:
        begin = time.perf_counter()
        try:
            _interpret(self.fn, given, grid)
        except Exception as error:
            error.add_note(f"in {name}, {configuration}, grid {grid}")
            raise
        launches[name] += 1
        seconds[name] += time.perf_counter() - begin

    order.launch("triton", run)


def _configuration(tuner: CachingAutotuner) -> Any:
    """The one with the largest blocks, made as large as the tensor: Python goes through a kernel once a program. Not
    larger than TRITON_MAX_BLOCK, beyond which Inductor may have left out masks."""
    best = copy.deepcopy(max(tuner.configs, key=lambda one: one.kwargs.get("XBLOCK", 1) * one.kwargs.get("YBLOCK", 1)))
    if tuner.inductor_meta.get("grid_type") not in ("Grid1D", "Grid2D", "Grid3D"):  # combo kernels: no size is all's
        if best.kwargs.get("XBLOCK", 1) > 1:
            best.kwargs["XBLOCK"] = TRITON_MAX_BLOCK["X"]
        return best
    left = WIDEST
    for block, axis in (("XBLOCK", "x"), ("YBLOCK", "y"), ("ZBLOCK", "z"), ("R0_BLOCK", "r0_")):
        hint = (tuner.size_hints or {}).get(axis)
        if block in best.kwargs and hint:
            widest = min(1 << (hint - 1).bit_length(), left, TRITON_MAX_BLOCK[block.removesuffix("BLOCK")])
            best.kwargs[block] = widest if axis == "r0_" else max(best.kwargs[block], widest)
            left = max(1, left // best.kwargs[block])
    return best


def _by_name(tuner: CachingAutotuner, configuration: Any, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """The kernel's parameters: tensors and sizes in order, then constants and the blocks of the configuration."""
    names = [one.name for one in tuner.fn.params]
    constants = {key: value for key, value in tuner.triton_meta.get("constants", {}).items() if isinstance(key, str)}
    blocks = {key: value for key, value in configuration.kwargs.items() if key in names}
    free = [name for name in names if name not in constants and name not in blocks]
    return dict(zip(free, arguments, strict=False)) | constants | blocks


def _interpret(kernel: JITFunction, given: dict[str, Any], grid: tuple[int, int, int]) -> None:
    constant = {one.name for one in kernel.params if one.is_constexpr}
    with _lock, triton_gaps.interpreting():
        function, builder = triton_gaps.rewritten(kernel), interpreter.interpreter_builder
        values = {key: one if key in constant else interpreter._implicit_cvt(one) for key, one in given.items()}
        builder.set_grid_dim(*grid)
        for z in range(grid[2]):
            for y in range(grid[1]):
                for x in range(grid[0]):
                    builder.set_grid_idx(x, y, z)
                    function(**values)
