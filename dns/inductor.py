"""Changes Inductor, torch's compiler, before it compiles a training step for CUDA.

Each change concerns the backward pass, and none changes what is computed. The first two were tried with torch 2.11 and
2.14, the others with 2.14. A newer torch no longer needs a change if `python -m tests.cuda_stand_in.ablation` gives the
same figures without it.
"""

from functools import cache
from typing import Any

import torch
import torch._inductor.config
from torch._inductor import decomposition
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch._inductor.graph import GraphLowering
from torch._inductor.ir import StorageBox
from torch._inductor.virtualized import V
from torch.fx import Graph, Node
from torch.utils._ordered_set import OrderedSet

aten = torch.ops.aten
ANCHORS = (aten.convolution.default, aten.convolution_backward.default)
INLINE = "dns_inline"  # marks a node that each of its users computes again


@cache  # once a process
def prepare(*, combo_kernels: bool = False) -> None:
    """Make Inductor keep maps channels-last in both passes, gather in the backward pass of max pooling, and read fewer
    maps in that of ReLU.

    combo_kernels: independent kernels become one launch; docs/results.md says what each change saves.
    """
    _keep_layout()
    _gather_in_max_pool()
    _change_relu()
    torch._inductor.config.combo_kernels = combo_kernels


def _keep_layout() -> None:
    """Let Inductor keep maps channels-last in the backward pass too. It does so where a convolution needs them, but
    looks only for forward convolutions. The backward graph has none, so it writes maps channels-first: 25 kernels of a
    step read both layouts and waste most of each memory transaction. github.com/pytorch/pytorch/issues/189239; not
    needed once mixed_layouts stays 0 without.

    With torch 2.14 the changes to ReLU happen to keep ResNet-50's layout as well: see tests/cuda_stand_in/ablation.py.
    """
    torch._inductor.config.force_layout_optimization = True
    GraphLowering.find_nodes_prefer_channels_last = channels_last_nodes  # type: ignore[method-assign, assignment]


def channels_last_nodes(lowering: GraphLowering) -> OrderedSet[Node]:
    """Return convolutions and their backwards, all that leads to them, and what follows directly from any of these."""
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
    """Remove a decomposition, so that Inductor takes its own lowering, in which each pixel gathers its windows. With
    it, newer versions (2.14 does, 2.11 does not) write the backward pass of max pooling as a scatter_add over a zeroed
    float32 map."""
    decomposition.decompositions.pop(aten.max_pool2d_with_indices_backward.default, None)
    decomposition.fast_random_decomps.cache_clear()


def _change_relu() -> None:
    torch._inductor.config.joint_custom_post_pass = ReluPass()
    original = StorageBox.should_realize_on_reuse

    def should_realize_on_reuse(self: StorageBox, *arguments: Any, **more: Any) -> bool:
        return not V.current_node.meta.get(INLINE) and original(self, *arguments, **more)

    StorageBox.should_realize_on_reuse = should_realize_on_reuse  # type: ignore[method-assign]


class ReluPass(CustomGraphPass):
    """Treats the backward passes of a ReLU after a batch norm, and of one after a residual sum, each in its own way."""

    def __call__(self, graph: Graph) -> None:
        for mask in graph.find_nodes(op="call_function", target=aten.le.Scalar):
            relu = mask.args[0]
            if relu.target is not aten.relu.default:
                continue
            total = relu.args[0]
            if total.target is torch.ops.prims.convert_element_type.default:
                total = total.args[0]
            if total.target is aten.add.Tensor:
                sizes = {term.meta["val"].numel() for term in total.args if isinstance(term, Node)}
                (add_gradients_once if len(sizes) == 1 else mask_from_batch_norm)(mask, relu)

    def uuid(self) -> Any:
        return get_hash_for_files((__file__,))  # so that compiled code is cached, until this file changes


def mask_from_batch_norm(mask: Node, relu: Node) -> None:
    """Compute the mask of a ReLU after a batch norm without a second map. The norm's backward pass reads the norm's
    input; the norm is computed again from it, as the forward pass computes it (`relu(z) <= 0` where `z <= 0`).

    Without the mark, Inductor would write the masked gradient out, since several sums and the result use it.
    """
    mask.replace_input_with(relu, relu.args[0])  # type: ignore[arg-type]
    for gradient in mask.users:
        for node in (gradient, *gradient.users):
            node.meta[INLINE] = True


def add_gradients_once(mask: Node, _relu: Node) -> None:
    """Write the gradient after a residual sum once, in the maps' type, as eager does. It is that of the next block plus
    that of its shortcut, where the mask is; Inductor would read these three maps again for every use."""
    for gradient in mask.users:
        gradient.meta["inductor_realize_to_strides"] = True
