"""The stand-in's device memory is the host's: a tensor of the device seen as a tensor of the CPU."""

from typing import Any

import torch
from torch import Tensor

CPU = torch.device("cpu")
_storages: dict[tuple[int, int], Any] = {}


def on_host(tensor: Tensor) -> Tensor:
    """The same bytes, shape and strides as a tensor of the CPU. It does not own the memory: once the device's tensor is
    freed, it shows what came there next."""
    if tensor.device.type != "cuda":
        return tensor
    storage = tensor.untyped_storage()
    place = storage.data_ptr(), storage.nbytes()
    if place not in _storages:
        _storages[place] = torch._C._construct_storage_from_data_pointer(place[0], CPU, place[1])
    alias = torch.empty(0, dtype=tensor.dtype)
    alias.set_(_storages[place], tensor.storage_offset(), tensor.size(), tensor.stride())
    if tensor.is_conj():
        alias = alias.conj()
    return torch._neg_view(alias) if tensor.is_neg() else alias


def to_device(host: Tensor) -> Tensor:
    """A copy on the device, made at once."""
    result = torch.empty_strided(host.size(), host.stride(), dtype=host.dtype, device="cuda")
    on_host(result).copy_(host)
    return result
