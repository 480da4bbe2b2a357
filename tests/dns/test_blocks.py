"""Batches of two, three and six blocks of rows: cut into published batches, and joined over ranks, by naive loops."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from dns import exchange
from dns.step import published_batches
from ffcv_convert.common.world import World

ROWS = 3  # of a block, in one published batch
NUMBER = 4  # published batches, or ranks


class Outputs(NamedTuple):
    pooled: Tensor
    logits: Tensor


def block(batch: int, kind: int) -> Tensor:
    """The rows of one kind in one published batch, each with its own number."""
    return torch.arange(ROWS) + 10 * kind + 100 * batch


def whole(batch: int, blocks: int) -> Tensor:
    return torch.cat([block(batch, kind) for kind in range(blocks)])


@pytest.mark.parametrize(("images", "parameters"), [(2, 2), (2, 3), (3, 3)])
def test_a_batch_is_cut_into_published_ones_whatever_its_blocks(images: int, parameters: int) -> None:
    """Two views of a visible image: two blocks of images and three of parameters on a GPU, three of both on a CPU."""
    counts = (images, parameters, 2)
    accumulated = tuple(
        torch.cat([block(batch, kind) for kind in range(blocks) for batch in range(NUMBER)]) for blocks in counts
    )
    cut = published_batches(accumulated, NUMBER)
    assert len(cut) == NUMBER
    for batch, tensors in enumerate(cut):
        for tensor, blocks in zip(tensors, counts, strict=True):
            assert torch.equal(tensor, whole(batch, blocks))


def test_a_single_published_batch_is_left_as_it_is() -> None:
    batch = (whole(0, 3), whole(0, 2))
    assert published_batches(batch, 1) == [batch]


@pytest.mark.parametrize("blocks", [2, 3, 6])
def test_ranks_join_their_outputs_block_by_block(monkeypatch: pytest.MonkeyPatch, blocks: int) -> None:
    own = 1  # this rank
    others = {rank: whole(rank, blocks) for rank in range(NUMBER)}

    def all_gather(tensor: Tensor, _: World) -> Tensor:
        """What each rank has, told by how many blocks this rank's tensor has, and in as many columns."""
        kinds = len(tensor) // ROWS
        each = torch.stack([whole(rank, kinds) for rank in others])
        return each if tensor.ndim == 1 else each[..., None].expand(-1, -1, tensor.shape[1])

    monkeypatch.setattr(exchange._AllGather, "apply", all_gather)
    gather = exchange.Gather(World(torch.device("cpu"), rank=own, size=NUMBER))
    outputs, person = gather(Outputs(others[own][:, None].expand(-1, 5), others[own][:, None]), whole(own, 2))
    assert torch.equal(person, torch.cat([block(rank, kind) for kind in range(2) for rank in range(NUMBER)]))
    expected = torch.cat([block(rank, kind) for kind in range(blocks) for rank in range(NUMBER)])
    assert isinstance(outputs, Outputs)
    assert torch.equal(outputs.pooled, expected[:, None].expand(-1, 5))
    assert torch.equal(outputs.logits, expected[:, None])
