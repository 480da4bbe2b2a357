"""The private names of torch and Triton on which the computing stand-in rests, and the versions that it was tried with.

A newer torch may rename them. `gone()` says which, so that a failure names its cause and not what came of it.
"""

import importlib
from collections.abc import Sequence

TRIED = {"torch": ("2.14.1",), "triton": ("3.8.0",)}
COMPUTING = (
    "torch.library:get_kernel",
    "torch._C:_construct_storage_from_data_pointer",
    "torch._C:_AutoDispatchBelowAutograd",
    "torch._C:_cuda_getCurrentRawStream",
    "torch._C:_dispatch_get_all_op_names",
    "torch._C:_dispatch_has_kernel_for_dispatch_key",
    "torch._C:_dispatch_has_computed_kernel_for_dispatch_key",
    "torch:_neg_view",
    "torch.utils._pytree:tree_map_only",
)
INTERPRETED = (
    "torch._inductor.async_compile:AsyncCompile.triton",
    "torch._inductor.codecache:PyCodeCache.load",
    "torch._inductor.runtime.hints:TRITON_MAX_BLOCK",
    "torch._inductor.runtime.triton_heuristics:CachingAutotuner.run",
    "torch._inductor.runtime.triton_heuristics:CachingAutotuner.precompile",
    "torch._inductor.runtime.triton_heuristics:CachingAutotuner._interpret_args_grid",
    "torch._inductor.runtime.triton_helpers:libdevice",
    "triton.runtime.interpreter:FunctionRewriter.rewrite_ast",
    "triton.runtime.interpreter:InterpreterBuilder.cast_impl",
    "triton.runtime.interpreter:InterpreterOptions",
    "triton.runtime.interpreter:InterpreterBuilder.create_fp_to_fp",
    "triton.runtime.interpreter:ReduceOps.generic_reduce",
    "triton.runtime.interpreter:TensorHandle",
    "triton.runtime.interpreter:_get_np_dtype",
    "triton.runtime.interpreter:_implicit_cvt",
    "triton.runtime.interpreter:_patch_lang",
    "triton.runtime.interpreter:interpreter_builder",
    "triton.runtime.interpreter:interpreter_semantic",
    "triton.runtime.jit:JITFunction.__call__",
)


def gone(names: Sequence[str]) -> list[str]:
    """Those of "module:name.of.it" that the installed torch or Triton lacks."""
    return [name for name in names if not _is_there(name)]


def check(names: Sequence[str] = COMPUTING) -> None:
    """Raise ImportError, which says what is gone."""
    if lost := gone(names):
        import torch

        raise ImportError(
            f"torch {torch.__version__} has no {', '.join(lost)}: numbers on the stand-in were tried with {TRIED}. "
            "Install one of these, or find what took their place"
        )


def _is_there(name: str) -> bool:
    module, _, attribute = name.partition(":")
    try:
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return False
    return True
