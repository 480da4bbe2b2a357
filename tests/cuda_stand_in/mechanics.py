"""Whether the computing stand-in keeps CUDA's order: what a capture, a replay, a copy and a wait do and do not.

    python -m tests.cuda_stand_in.run tests.cuda_stand_in.mechanics eager|lazy

Prints one JSON object: what was tried, and whether it was so.
"""

import json
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from tests.cuda_stand_in import computing  # noqa: F401
from tests.cuda_stand_in.device import violations
from tests.cuda_stand_in.order import make_lazy


def ones(*shape: int) -> Tensor:
    return torch.ones(*shape, device="cuda")


def captured(call: Callable[[], object]) -> torch.cuda.CUDAGraph:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph


def computes_as_a_cpu() -> bool:
    """Products, reductions, casts, numbers in a tensor's place, and results whose shape depends on numbers."""
    host = torch.arange(12.0).view(3, 4)

    def several(x: Tensor) -> list[Tensor]:
        chosen = x[x > 3]
        return [x @ x.T, (x * 2 + 1).sum(1), chosen, x.half().softmax(1), x.nonzero(), 5 - x, x.long() ^ 5]

    return all(torch.equal(one.cpu(), other) for one, other in zip(several(host.cuda()), several(host), strict=True))


def gradients_flow_as_on_a_cpu() -> bool:
    host = torch.linspace(-1, 1, 2 * 3 * 8 * 8).view(2, 3, 8, 8)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU()).double()
    found = []
    for device in ("cpu", "cuda"):
        network.to(device).zero_grad()
        network(host.double().to(device)).square().mean().backward()
        found.append([one.grad.cpu().clone() for one in network.parameters() if one.grad is not None])
    return all(torch.allclose(one, other, rtol=1e-12, atol=1e-15) for one, other in zip(*found, strict=True))


def a_capture_computes_when_it_is_replayed() -> bool:
    x, source = ones(2), torch.full((2,), 5.0).pin_memory()
    y = ones(2)

    def work() -> None:
        x.add_(1)
        y.copy_(source, non_blocking=True)
        y.mul_(x)

    graph = captured(work)
    before = x.tolist() + y.tolist()
    graph.replay()
    source.fill_(7)
    graph.replay()
    return before == [1, 1, 1, 1] and x.tolist() + y.tolist() == [3, 3, 21, 21]


def an_operator_that_no_cpu_has_says_so() -> bool:
    try:
        torch.ops.aten._fused_dropout(ones(2), 0.5)
    except NotImplementedError as error:
        return "aten::_fused_dropout" in str(error) and "host_kernels.py" in str(error)
    return False


def a_kernel_of_triton_says_that_nothing_computes_it() -> bool:
    try:
        torch.compile(lambda x: x.sin() + 1)(ones(2)).tolist()
    except RuntimeError:
        return any("nothing computes triton" in text for text in violations())
    return False


def an_event_is_done_when_somebody_waited() -> bool:
    x, event = ones(2), torch.cuda.Event()
    x.add_(1)
    event.record()
    before = event.query()
    event.synchronize()
    return not before and event.query()


def a_stream_that_does_not_wait_reads_former_numbers() -> bool:
    x, aside = ones(2), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(aside):
        x.add_(1)
    y = x.clone()  # nobody waited for `aside`
    early = y.tolist()
    torch.cuda.current_stream().wait_stream(aside)
    return early == [1, 1] and x.tolist() == [2, 2]


def a_pinned_buffer_that_is_written_too_early_spoils_the_copy() -> bool:
    source = torch.full((2,), 5.0).pin_memory()
    x = source.to("cuda", non_blocking=True)
    source.fill_(7)
    return x.tolist() == [7, 7]


def a_pageable_buffer_may_be_written_at_once() -> bool:
    source = torch.full((2,), 5.0)
    x = source.to("cuda", non_blocking=True)
    source.fill_(7)
    return x.tolist() == [5, 5]


def a_copy_to_the_host_arrives_when_somebody_waited() -> bool:
    target, x = torch.zeros(2).pin_memory(), ones(2)
    target.copy_(x, non_blocking=True)
    before = target.tolist()
    torch.cuda.current_stream().synchronize()
    return before == [0, 0] and target.tolist() == [1, 1]


def random_numbers_are_drawn_in_the_order_of_launches() -> bool:
    torch.manual_seed(3)
    first = torch.nn.functional.dropout(ones(64))
    torch.manual_seed(4)
    torch.nn.functional.dropout(ones(64))
    torch.manual_seed(3)
    return torch.equal(first.cpu(), torch.nn.functional.dropout(torch.ones(64)))


EVERY = (
    computes_as_a_cpu, gradients_flow_as_on_a_cpu, a_capture_computes_when_it_is_replayed,
    an_operator_that_no_cpu_has_says_so, random_numbers_are_drawn_in_the_order_of_launches,
    a_pageable_buffer_may_be_written_at_once, a_kernel_of_triton_says_that_nothing_computes_it,
)  # fmt: skip
LAZY = (
    an_event_is_done_when_somebody_waited, a_stream_that_does_not_wait_reads_former_numbers,
    a_pinned_buffer_that_is_written_too_early_spoils_the_copy, a_copy_to_the_host_arrives_when_somebody_waited,
)  # fmt: skip


def main(how: str) -> None:
    if how == "lazy":
        make_lazy()
    print(json.dumps({one.__name__: one() for one in (*EVERY, *(LAZY if how == "lazy" else ()))}))


if __name__ == "__main__":
    main(sys.argv[1])
