"""What Inductor makes of the whole training step for an H100: kernels, the bytes that they move, memory layouts.

    python -m tests.cuda_stand_in.run tests.cuda_stand_in.compiled BETON_ROOT [--without=NAME ...] [--engine.x=y ...]

BETON_ROOT holds a converted set `sysu` of 288 x 144 px; without: a function of dns/inductor.py that then does nothing.
ResNet-50, SYSU-MM01's 395 identities, 48 images, bf16. Prints
one JSON object. Kernels are generated and not compiled: each only notes what it is given.
"""

import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch._functorch.config as functorch
import torch._inductor.config as inductor
from torch import Tensor
from torch._dynamo.utils import counters
from torch._inductor.async_compile import AsyncCompile
from torch._inductor.codegen.triton import TritonScheduling

from benchmarks.duration import CONVOLUTIONS_PER_S
from benchmarks.training import one_batch, options
from dns import inductor as dns_inductor
from dns.training.config import read_config
from dns.training.setup import assemble, open_loader, open_session
from tests.cuda_stand_in.device import Convolution, convolutions, counted

IDENTITIES = 395
# Bytes/s of the memory, and the share of it that a kernel reaches: an assumption, because no card has been measured.
CARDS = {"H100": 3.35e12, "H200": 4.8e12}
MEMORY_SHARE = 0.85
MAP, LARGE_MAP = 1e6, 3e6  # elements from which on a tensor counts as a map
# Class of a kernel: words that are in its name, all of one entry.
CLASSES = {
    "max pooling, both passes": ("max_pool",),
    "augmentation": ("unbind",),
    "HSS and pooling, both passes": ("softmax__", "sigmoid", "amax", "hardswish", "linalg_vector_norm", "eq_sum"),
    "residual gradients added and masked (ReLU backward)": ("add threshold_backward",),
    "batch norm backward, with ReLU's mask": ("batch_norm_backward",),
    "batch norm, residual sum, ReLU": ("batch_norm add relu",),
    "batch norm, ReLU": ("batch_norm relu",),
    "batch norm, statistics": ("batch_norm",),
}  # fmt: skip


class Kernel:
    """Stands for a compiled Triton kernel, and notes what it is given."""

    calls: list[tuple[str, list[tuple[str, Tensor]], set[str]]] | None = None

    def __init__(self, name: str, source: str):
        signature, mutated = (
            re.search(pattern, source) for pattern in (r"'signature': \{(.*?)\}", r"'mutated_arg_names': \[(.*?)\]")
        )
        self.name = name
        self.arguments = re.findall(r"'(\w+)': '", signature[1]) if signature else []
        self.mutated = set(re.findall(r"'(\w+)'", mutated[1])) if mutated else set()

    def run(self, *arguments: Any, **_: Any) -> None:
        if Kernel.calls is not None:
            given = [pair for pair in zip(self.arguments, arguments, strict=False) if isinstance(pair[1], Tensor)]
            Kernel.calls.append((self.name, given, self.mutated))


def examine(beton_root: Path, more: Sequence[str]) -> dict[str, Any]:
    inductor.shape_padding = False  # it would time matrix products
    inductor.fx_graph_cache = functorch.enable_autograd_cache = False
    without = [word.partition("=")[2] for word in more if word.startswith("--without=")]
    for name in without:
        assert callable(getattr(dns_inductor, name)), name
        setattr(dns_inductor, name, lambda *_: None)
    more = [word for word in more if not word.startswith("--without=")]
    TritonScheduling.define_kernel = _named_by_its_parts(TritonScheduling.define_kernel)  # type: ignore[method-assign]
    AsyncCompile.triton = lambda self, name, source, device_str="cuda", **_: Kernel(name, source)  # type: ignore[method-assign]
    session = open_session(
        read_config([*options(beton_root, ["--data.source=resident", *more]), "--engine.graph=false"], description="")
    )
    loader = open_loader(session)
    loader.identities = IDENTITIES
    training = assemble(session, loader, resumed=False)
    training.model.train()
    batch = one_batch(training)
    training.step(*batch)
    graphs = counters["stats"]["unique_graphs"]
    convolutions.clear()
    Kernel.calls = []
    launched = counted(lambda: training.step(*batch))["launch"]
    calls, Kernel.calls = Kernel.calls, None
    return {
        "graph_breaks": sum(counters["graph_break"].values()),
        "recompiles": counters["stats"]["unique_graphs"] - graphs,
        "launches": launched + len(calls),
        "reserved_gb": round((torch.cuda.max_memory_reserved() - loader.images_NHWC.nbytes) / 1e9, 2),
        **triton(calls, len(batch[0])),
        **of_convolutions(convolutions),
        "roofline_ms": roofline(calls, convolutions, len(batch[0])),
    }


def _named_by_its_parts(define: Callable[..., str]) -> Callable[..., str]:
    """TritonScheduling.define_kernel, but a kernel that combines several is named after them, and not by a number."""

    def named(self: TritonScheduling, source: str, nodes: Sequence[Any], kernel: Any) -> str:
        parts = [part for node in nodes for part in (node.get_nodes() if hasattr(node, "get_nodes") else [node])]
        return define(self, source, parts, kernel)

    return named


def triton(calls: Sequence[tuple[str, list[tuple[str, Tensor]], set[str]]], images: int) -> dict[str, Any]:
    """Launches and GB of Triton's kernels, and what they do with the layouts and types of maps.

    float32_gb: what kernels write as float32 maps of more than LARGE_MAP elements (no weight is as large); what stays
    in a kernel's registers does not count.
    """
    classes: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    mixed, channels_first, float32 = Counter[str](), 0, 0.0
    for name, given, mutated in calls:
        size = moved(given, mutated, images)
        kind = kernel_class(name, given)
        classes[kind][0] += 1
        classes[kind][1] += size / 1e9
        layouts = {tensor.stride(1) == 1 for _, tensor in given if is_map(tensor)}
        mixed[name] += len(layouts) > 1
        for argument, tensor in given:
            written = tensor.ndim == 4 and argument.startswith(("out", "in_out"))
            channels_first += written and is_map(tensor) and tensor.stride(1) != 1
            float32 += (written and tensor.dtype == torch.float32 and tensor.numel() > LARGE_MAP) * tensor.nbytes / 1e9
    return {
        "triton_launches": len(calls),
        "triton_gb": round(sum(size for _, size in classes.values()), 2),
        "mixed_layouts": sum(mixed.values()),
        "channels_first_maps": channels_first,
        "float32_gb": round(float32, 2),
        "classes": {name: [count, round(size, 2)] for name, (count, size) in sorted(classes.items())},
        "mixed": sorted(name for name, count in mixed.items() if count),
    }


def is_map(tensor: Tensor) -> bool:
    return tensor.ndim == 4 and tensor.shape[1] > 3 and tensor.shape[2] * tensor.shape[3] > 1 and tensor.numel() > MAP


def moved(given: Sequence[tuple[str, Tensor]], mutated: set[str], images: int) -> float:
    """Bytes that a kernel reads and writes, each tensor once; of the resident images, those of one batch."""
    total = 0
    for argument, tensor in given:
        size = tensor.nbytes if tensor.dtype != torch.uint8 or len(tensor) <= images else images * tensor[0].nbytes
        total += size * (2 if argument.startswith("in_out") or argument in mutated else 1)
    return total


def kernel_class(name: str, given: Sequence[tuple[str, Tensor]]) -> str:
    """By the operations that a kernel's name lists; of a kernel that does several things, the one named first here."""
    for part, words in CLASSES.items():
        if any(all(word in name for word in both.split()) for both in words):
            return part
    written = {tensor.dtype for argument, tensor in given if argument.startswith("out")}
    if "to_copy" in name and torch.bfloat16 in written:
        return "weights and inputs to bf16"
    return "weight gradients to float32" if "to_copy" in name else "other"


def of_convolutions(launched: Sequence[Convolution]) -> dict[str, Any]:
    return {
        "convolutions": len(launched),
        "convolution_gb": round(sum(one.bytes for one in launched) / 1e9, 2),
        "convolution_tflop": round(sum(one.flops for one in launched) / 1e12, 3),
        "channels_first_convolutions": sum(not one.channels_last for one in launched),
    }


def roofline(calls: Sequence[Any], launched: Sequence[Convolution], images: int) -> dict[str, float]:
    """Milliseconds that each card cannot go below by the assumptions above: memory of the kernels, memory or arithmetic
    of the convolutions."""
    size = sum(moved(given, mutated, images) for _, given, mutated in calls)
    return {
        card: round(
            1000 * (size / (MEMORY_SHARE * bandwidth)
                    + sum(max(one.flops / CONVOLUTIONS_PER_S, one.bytes / (MEMORY_SHARE * bandwidth))
                          for one in launched)), 2)
        for card, bandwidth in CARDS.items()
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(examine(Path(sys.argv[1]), sys.argv[2:])))
