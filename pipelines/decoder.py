"""Decodes batches of a `.beton`: FFCV's loader with decoders that check each image and can augment it too.

| FFCV by itself | here |
| --- | --- |
| returns another sample's image for a JPEG that fails to decode | the decoder's return code is kept and checked |
| allocates new buffers every epoch | allocated once |
| fails if num_workers exceeds the allowed cores | capped |
"""

import warnings
from dataclasses import replace
from typing import Any, NamedTuple

import numba
import numba.typed
import numpy as np
from numba import njit, prange, types

from ffcv_convert.beton.layout import MODE_RAW, Structure
from ffcv_convert.common.errors import DataError
from pipelines.augment.cpu import augment_views, colours_of, share_evenly
from pipelines.augment.recipes import COLUMNS, Recipe, blocks
from pipelines.ffcv_patches import (
    AllocationQuery,
    Compiler,
    IntDecoder,
    SimpleRGBImageDecoder,
    allocate_query,
    ffcv_loader,
)
from pipelines.numba_setup import allowed_workers

_imdecode = types.ExternalFunction(
    "imdecode",
    types.int32(
        types.uintp, types.uint64, types.uint32, types.uint32, types.uintp, types.uint32, types.uint32,
        types.uint32, types.uint32, types.uint32, types.uint32, types.boolean, types.boolean,
    ),
)  # fmt: skip


@njit(nogil=True, error_model="numpy", cache=True)
def _decode_one(row, indices, images, status, metadata, storage):
    file, pointers, sizes = storage
    entry = metadata[indices[row]]
    start = entry["data_ptr"]
    size = sizes[np.searchsorted(pointers, start)]
    target = images[row].reshape(-1)
    status[row, 0] = 0
    if entry["mode"] == MODE_RAW:
        source = file[start : start + size]
        for byte in range(
            len(source)
        ):  # five times as fast as target[:] = source: Numba first checks whether they overlap
            target[byte] = source[byte]
    else:
        height, width = np.uint32(entry["height"]), np.uint32(entry["width"])
        status[row, 0] = _imdecode(
            file[start:].ctypes.data, size, height, width, target.ctypes.data, height, width, 0, 0, 1, 1, False, False
        )


@njit(nogil=True, error_model="numpy", cache=True)
def _decode_serial(indices, memory, metadata, storage):
    images, status = memory
    for row in range(len(indices)):
        _decode_one(row, indices, images, status, metadata, storage)
    return images, status


@njit(nogil=True, error_model="numpy", cache=True, parallel=True)
def _decode_parallel(indices, memory, metadata, storage):
    images, status = memory
    for row in prange(len(indices)):
        _decode_one(row, indices, images, status, metadata, storage)
    return images, status


class CheckedDecoder(SimpleRGBImageDecoder):
    """A decoder to (images uint8 (B, H, W, 3), status int32 (B, 1)); a status other than 0 means a failed image."""

    def declare_state_and_memory(self, previous_state):
        state, images = super().declare_state_and_memory(previous_state)
        return replace(state, jit_mode=True), (images, AllocationQuery((1,), np.dtype("<i4")))

    def generate_code(self):
        return _decode_parallel if Compiler.num_threads > 1 else _decode_serial


@njit(nogil=True, error_model="numpy", cache=True)
def _decode_and_augment_one(row, indices, memory, metadata, storage):
    """Decode the image of `row` once, and augment it into each of its views."""
    status, pixels, images, parameters, colours = memory
    entry = metadata[indices[row]]
    if entry["mode"] == MODE_RAW:
        start, size = entry["data_ptr"], np.uint64(images[row].size)
        status[row, 0] = 0
        augment_views(storage[0][start : start + size], row, len(indices), parameters, colours, images)
    else:
        _decode_one(row, indices, pixels, status, metadata, storage)
        augment_views(pixels[row], row, len(indices), parameters, colours, images)


@njit(nogil=True, error_model="numpy", cache=True)
def _decode_and_augment_serial(indices, memory, metadata, storage):
    for row in range(len(indices)):
        _decode_and_augment_one(row, indices, memory, metadata, storage)
    return memory[2], memory[0]


@njit(nogil=True, error_model="numpy", cache=True, parallel=True)
def _decode_and_augment_parallel(indices, memory, metadata, storage):
    for number in prange(len(indices)):
        row = share_evenly(number, len(indices), len(memory[2]))
        _decode_and_augment_one(row, indices, memory, metadata, storage)
    return memory[2], memory[0]


class HostAugmentation(NamedTuple):
    """How the decoding threads augment: by which recipe, to images of which dtype, float32 or uint16 (the bits of
    bfloat16)."""

    recipe: Recipe
    dtype: np.dtype


class AugmentingDecoder(CheckedDecoder):
    """A decoder that also augments, to (images of dtype (rows, 3, H, W), status). It reads raw images straight from the
    mapped file, without a copy. FFCV gives it memory for each image that it decodes, and `buffers` what has a row for
    each augmented one: a batch of 2PK images has 3PK rows where the recipe has two views."""

    def __init__(self, host: HostAugmentation):
        super().__init__()
        self._host, self._shape = host, (0, 0, 0)

    def declare_state_and_memory(self, previous_state):
        state, status = super().declare_state_and_memory(previous_state)[0], AllocationQuery((1,), np.dtype("<i4"))
        height, width, _ = state.shape
        self._shape = (3, height, width)
        scratch = 0 if (self.metadata["mode"] == MODE_RAW).all() else height * width * 3
        pixels = AllocationQuery((scratch,), np.dtype("<u1"))
        return replace(state, shape=self._shape, dtype=self._host.dtype), (status, pixels)

    def buffers(self, batch_size: int, slots: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Allocate the rest of the memory for each slot: images, their parameters, and the recipe's colours."""
        rows = blocks(self._host.recipe, batch_size)[-1][2].stop
        images, parameters = (
            allocate_query(AllocationQuery(shape, dtype), rows, slots)
            for shape, dtype in ((self._shape, self._host.dtype), ((COLUMNS,), np.dtype("<f4")))
        )
        return images, parameters, np.stack([colours_of(self._host.recipe)] * slots)

    def generate_code(self):
        return _decode_and_augment_parallel if Compiler.num_threads > 1 else _decode_and_augment_serial


class Decoder:
    """FFCV's loader over one `.beton`: compiles its code and allocates `slots` sets of batch buffers once.

    With CUDA the buffers are pinned. workers: see numba_setup.allowed_workers. host: how to augment the images; None
    leaves them as stored. Raises DataError if the file is gone.
    """

    def __init__(
        self, structure: Structure, *, batch_size: int, workers: int, slots: int, host: HostAugmentation | None
    ):
        self.workers = allowed_workers(workers)
        image = CheckedDecoder() if host is None else AugmentingDecoder(host)
        fields = {"image": [image], "person": [IntDecoder()], "index": [IntDecoder()]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self._loader = ffcv_loader.Loader(
                structure, batch_size, self.workers, os_cache=True, order="planned", seed=0, drop_last=False,
                pipelines={**fields, "camera": None, "modality": None},
            )  # fmt: skip
        self._memory = self._loader.graph.allocate_memory(batch_size, slots)["operation"]
        self._parameters: np.ndarray | None = None
        if isinstance(image, AugmentingDecoder):
            node = next(node for node, memory in self._memory.items() if isinstance(memory, tuple))
            buffers = image.buffers(batch_size, slots)
            self._memory[node], self._parameters = (*self._memory[node], *buffers), buffers[1]
        self._start_N, size_N = structure.allocation_N["ptr"], structure.allocation_N["size"]
        self._end_N = self._start_N + size_N
        try:
            with self._loader.memory_manager.schedule_epoch(None) as context:
                self._file = context.state[0]
        except (OSError, ValueError) as error:  # ValueError: empty files cannot be mapped
            raise DataError(
                f"{structure.path}: no longer readable ({error}). Convert the data set again: make convert-datasets"
            ) from None

    def stored(self, sample: int) -> np.ndarray:
        """Return the bytes of a sample's image: a view into the mapped file."""
        return self._file[self._start_N[sample] : self._end_N[sample]]

    def cut_off(self, indices: np.ndarray) -> np.ndarray:
        """Return the samples among `indices` that lie beyond the file's end. If something has cut the file short since
        it was opened, reading them from the mapping would kill the process (SIGBUS)."""
        return indices[self._end_N[indices] > min(self._file.base.size(), len(self._file))]

    def use_threads(self) -> None:
        """Set Numba's thread count, which holds for the calling thread only: call this in the decoding thread."""
        numba.set_num_threads(self.workers)

    def decode(self, indices: np.ndarray, slot: int, parameters: np.ndarray | None = None) -> list:
        """Decode one batch into the buffers of `slot`; return (images, status), persons (B, 1), sample numbers (B, 1).
        Each image is decoded once; of augmented ones there may be more, see AugmentingDecoder.

        parameters: the batch's augmentation, from augment.draw; needed if the decoder augments.
        """
        loader = self._loader
        if self._parameters is not None:
            self._parameters[slot][:] = parameters
        with loader.memory_manager.schedule_epoch(None) as context:
            arguments = {"batch_indices": indices.astype(np.uint64), "storage_state": context.state}
        arguments["metadata"] = loader.reader.metadata
        for node, buffer in self._memory.items():
            arguments[f"memory_{node}"] = _select(buffer, slot)
            arguments[f"shared_memory_{node}"] = None
        stages, outputs = loader.code
        for stage, nodes in stages:
            for node, result in zip(nodes, stage(**arguments), strict=True):
                arguments[f"result_{node}"] = result
        return [arguments[f"result_{node}"] for node in outputs]


def _select(buffer: Any, slot: int) -> Any:
    return tuple(inner[slot] for inner in buffer) if isinstance(buffer, tuple) else buffer[slot]
