"""Lets the processes (ranks) of one training find each other, agree and end. dns/exchange.py is what they compute.

torchrun starts them; `world` says which of them this one is. In a world of one process each function returns what it
was given, and nothing is exchanged. Tensors on a GPU go by NCCL, what the hosts tell each other by gloo.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ffcv_convert.common.errors import ConfigError, TrainingError, UserError
from ffcv_convert.common.world import World

T = TypeVar("T")
PORT = "port of the ranks' store"
TIMEOUT = timedelta(minutes=10)  # how long ranks wait for one that hangs; longer than any compiles or saves


class LostRankError(TrainingError):
    """The error when another rank ended or hangs."""


def own_device(name: str) -> str:
    """Return the configured device; where torchrun's processes share several GPUs, this process's own."""
    if started() and name in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return name


def join(device: torch.device) -> World:
    """Join the world that torchrun started this process for, and return it; World(device) where it did not."""
    if not started():
        return World(device)
    if not dist.is_initialized():
        with lost_ranks():
            store, rank, size = _fresh_store()
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    return World(device, dist.get_rank(), dist.get_world_size())


def _fresh_store() -> tuple[dist.Store, int, int]:
    """Return the store in which ranks find each other, this one's number, and how many there are.

    torchrun keeps one store through all its restarts, in which new processes find addresses of dead ones and wait for
    them (github.com/pytorch/pytorch/issues/135712). So rank 0 opens a store of its own, and nobody listens at the port
    of the one before.
    """
    torchruns, rank, size = next(dist.rendezvous("env://", timeout=TIMEOUT))
    address = os.environ["MASTER_ADDR"]
    if rank == 0:
        own = dist.TCPStore(address, 0, is_master=True, wait_for_workers=False, timeout=TIMEOUT)
        torchruns.set(PORT, str(own.port))
        return own, rank, size
    while True:
        try:
            port = int(torchruns.get(PORT))
            store = dist.TCPStore(address, port, wait_for_workers=False, timeout=timedelta(seconds=1))
        except dist.DistNetworkError:
            continue
        store.set_timeout(TIMEOUT)
        return store, rank, size


@contextmanager
def leaving() -> Iterator[None]:
    """Leave the world at the end, if this process joined one in the block and the block ends well."""
    try:
        yield
    except SystemExit as end:
        if not end.code and dist.is_initialized():
            dist.destroy_process_group()
        raise


def started() -> bool:
    """Whether torchrun started this process: it sets all of these. Schedulers set some, and a shell may keep one."""
    return {"TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()


def refuse_lone_parts() -> None:
    """Raise ConfigError where a job scheduler started this process as one of several, without torchrun: each of them
    would train alone, and all in the same folder."""
    size = os.environ.get("WORLD_SIZE", "1")
    if not started() and size.isdigit() and int(size) > 1:
        raise ConfigError(
            f"WORLD_SIZE is {size}, but torchrun did not start this process, and ranks find each other through it "
            "alone. Start the program by torchrun (docs/cluster.md; on one machine: make RANKS=...). For one process "
            "by itself: env -u WORLD_SIZE"
        )


def is_main() -> bool:
    """Whether this process is rank 0 of those that torchrun started, or the only process."""
    return not dist.is_initialized() or dist.get_rank() == 0


def share_of_cores() -> int:
    """Return this process's share of its cores if several ranks run on this node; 0 if it is the only one."""
    together = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if started() else 1
    return 0 if together == 1 else max(1, len(os.sched_getaffinity(0)) // together)


def restarted() -> bool:
    """Whether torchrun started this process in the place of one that failed (--max-restarts)."""
    return started() and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def note(text: str) -> None:
    """Print a note to standard error: rank 0 alone does, also before the ranks have met."""
    if not started() or os.environ["RANK"] == "0":
        print(f"note: {text}", file=sys.stderr)


@contextmanager
def main_alone_prints() -> Iterator[None]:
    """Keep ranks other than 0 from printing to standard output in the block."""
    if not started() or os.environ["RANK"] == "0":
        yield
        return
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        yield


@contextmanager
def lost_ranks() -> Iterator[None]:
    """Turn what torch.distributed raises into a LostRankError."""
    try:
        yield
    except RuntimeError as error:
        rank = os.environ.get("RANK", "?")
        raise LostRankError(
            f"rank {rank}: another rank ended, or did not answer for {TIMEOUT.total_seconds():g} s "
            f"({str(error).splitlines()[0]}). What it printed, or torchrun's report, says which and why. The same "
            "command goes on from the last checkpoint"
        ) from None


def highest(world: World, *numbers: int) -> list[int]:
    """Return the highest of each number over all ranks. The hosts exchange them, so that a GPU need not wait."""
    if world.size == 1:
        return list(numbers)
    values = torch.tensor(numbers)
    with lost_ranks():
        dist.all_reduce(values, dist.ReduceOp.MAX)
    return values.tolist()


def on_main(world: World, function: Callable[[], T]) -> T:
    """Call `function` on rank 0 and return its result on every rank. Where it raises a UserError, rank 0 raises it, and
    the others end with its exit code."""
    if world.size == 1:
        return function()
    said: tuple[Any, UserError | None] = (None, None)
    if world.is_main:
        try:
            said = (function(), None)
        except UserError as error:
            said = (None, error)
    with lost_ranks():
        heard = [said]
        dist.broadcast_object_list(heard, device=torch.device("cpu"))
    result, failure = heard[0]
    if failure is not None:
        raise failure if world.is_main else SystemExit(failure.exit_code)
    return result


def add_up(world: World, tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its sum over all ranks."""
    if world.size > 1:
        with lost_ranks():
            for tensor in tensors:
                dist.all_reduce(tensor)
