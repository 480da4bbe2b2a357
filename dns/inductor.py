"""What this project changes in Inductor, torch's compiler, before it compiles a training step for CUDA.

Both changes concern the graph of the backward pass, and neither changes a number. Seen with torch 2.11 and 2.14; each
says how to tell that a newer torch needs it no more: `make check-cuda` then gives the same figures without it.
"""

from functools import cache

import torch
import torch._inductor.config
from torch._inductor import decomposition
from torch._inductor.graph import GraphLowering
from torch.fx import Node
from torch.utils._ordered_set import OrderedSet

aten = torch.ops.aten
ANCHORS = (aten.convolution.default, aten.convolution_backward.default)


@cache  # once a process
def prepare(*, combo_kernels: bool = False, cooperative_reductions: bool = False) -> None:
    """Make Inductor keep maps channels-last in both passes, and gather in the backward pass of max pooling.

    combo_kernels: independent kernels become one launch, which takes a step from 837 launches and 13.56 GB to 474 and
    13.32 GB (torch 2.14.1); cooperative_reductions: several blocks share one long reduction, which changed neither.
    """
    _keep_layout()
    _gather_in_max_pool()
    torch._inductor.config.combo_kernels = combo_kernels
    torch._inductor.config.triton.cooperative_reductions = cooperative_reductions


def _keep_layout() -> None:
    """Inductor keeps maps channels-last where a convolution needs them, and looks for forward convolutions alone. The
    backward graph has none, so it writes maps channels-first: 25 kernels of a step read both layouts, which wastes most
    of each memory transaction. github.com/pytorch/pytorch/issues/189239; not needed once mixed_layouts stays 0 without.
    """
    torch._inductor.config.force_layout_optimization = True
    GraphLowering.find_nodes_prefer_channels_last = channels_last_nodes  # type: ignore[method-assign, assignment]


def channels_last_nodes(lowering: GraphLowering) -> OrderedSet[Node]:
    """Convolutions and their backwards, all that leads to them, and what follows directly from any of these."""
    nodes = list(lowering.module.graph.nodes)  # type: ignore[union-attr, arg-type]
    chosen = OrderedSet[Node]()
    for node in reversed(nodes):
        if node.target in ANCHORS or (_may_follow(node) and any(user in chosen for user in node.users)):
            chosen.add(node)
    last = max((place for place, node in enumerate(nodes) if node.target in ANCHORS), default=0)
    for node in nodes[:last]:
        if node in chosen:
            chosen |= OrderedSet(filter(_may_follow, node.users))
    return chosen


def _may_follow(node: Node) -> bool:
    return node.target is not aten.bmm.default  # as in Inductor: batched products want rows


def _gather_in_max_pool() -> None:
    """Newer versions (2.14 does, 2.11 does not) write the backward pass of max pooling as a scatter_add over a zeroed
    float32 map. Without that decomposition Inductor takes its own lowering, in which each pixel gathers its windows.
    """
    decomposition.decompositions.pop(aten.max_pool2d_with_indices_backward.default, None)
    decomposition.fast_random_decomps.cache_clear()
