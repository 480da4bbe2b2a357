"""Two views of each visible image: one image is read and decoded, two are augmented."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ffcv_convert.common.world import World
from ffcv_convert.convert import convert
from ffcv_convert.datasets import DATASETS
from ffcv_convert.images import ImageFormat
from pipelines import decoder
from pipelines.augment.cpu import share_evenly
from pipelines.augment.recipes import COLUMNS, RECIPES
from pipelines.decoder import Decoder
from pipelines.epoch_plan import PlanOptions
from pipelines.streamed import StreamedLoader
from pipelines.subset import Subset, open_subset

P, K = 3, 2
BLOCK = P * K
HEIGHT_PX, WIDTH_PX = 64, 32


@pytest.fixture(scope="module")
def jpeg_subset(data_root_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Subset:
    root = tmp_path_factory.mktemp("jpeg")
    jpeg = ImageFormat(HEIGHT_PX, WIDTH_PX, "jpeg")
    convert(DATASETS["sysu"], data_root_of("sysu").parent, root, jpeg, workers=1)
    return open_subset(root / "sysu", "train")


def opened(subset: Subset, recipe: str = "caj", **how: Any) -> StreamedLoader:
    options = PlanOptions(persons=P, pictures=K, recipe=RECIPES[recipe], seed=5)
    return StreamedLoader(subset, options, world=World(torch.device("cpu")), workers=1, **how)


@pytest.mark.parametrize(("recipe", "views"), [("caj", 2), ("agw", 1)])
@pytest.mark.parametrize("augment_on", ["device", "host"])
def test_each_visible_image_of_a_batch_is_decoded_once(
    jpeg_subset: Subset, monkeypatch: pytest.MonkeyPatch, augment_on: str, recipe: str, views: int
) -> None:
    """Decodes are counted in the decoding functions' own Python, which Numba compiles otherwise."""
    decoded: Counter[int] = Counter()
    one = decoder._decode_one

    def counted(row: int, indices: np.ndarray, *rest: Any) -> None:
        decoded[row] += 1
        one(row, indices, *rest)

    decode_all = decoder._decode_serial if augment_on == "device" else decoder._decode_and_augment_serial
    monkeypatch.setattr(decoder, "_decode_one", counted)
    monkeypatch.setattr(decoder, "_decode_and_augment_one", decoder._decode_and_augment_one.py_func)
    batches, decode = [], Decoder.decode

    def in_python(self: Decoder, indices: np.ndarray, slot: int, parameters: np.ndarray) -> list:
        found = decode(self, indices, slot, parameters)
        compiled = found[0][0].copy()
        memory = next(part for part in self._memory.values() if isinstance(part, tuple))
        with self._loader.memory_manager.schedule_epoch(None) as context:
            storage = context.state
        metadata = self._loader.reader.metadata["f0"]
        images, status = decode_all.py_func(indices, tuple(part[slot] for part in memory), metadata, storage)
        assert not status.any()
        assert np.array_equal(images, compiled), "Python and compiled code differ"
        batches.append(len(indices))
        return found

    monkeypatch.setattr(Decoder, "decode", in_python)
    with opened(jpeg_subset, recipe, augment_on=augment_on).epoch(0) as stream:
        rows = {len(batch.augmentation) for batch in stream}
    assert rows == {(views + 1) * BLOCK}
    assert set(batches) == {2 * BLOCK}
    assert decoded == {row: len(batches) for row in range(2 * BLOCK)}


@pytest.mark.parametrize(("augment_on", "shape"), [("device", (12, 64, 32, 3)), ("host", (18, 3, 64, 32))])
def test_a_batch_holds_labels_of_two_blocks_and_parameters_of_three(
    jpeg_subset: Subset, augment_on: Any, shape: tuple[int, ...]
) -> None:
    loader = opened(jpeg_subset, augment_on=augment_on)
    with loader.epoch(0) as batches:
        for batch in batches:
            visible, other = loader.augment(batch.images, batch.augmentation)
            assert batch.images.shape == shape
            assert batch.augmentation.shape == (3 * BLOCK, COLUMNS)
            assert batch.person_B.shape == batch.index_B.shape == (2 * BLOCK,)
            assert (len(visible), len(other), batch.count) == (2 * BLOCK, BLOCK, 2 * BLOCK)


def test_the_second_view_shows_the_same_image_in_one_channel(jpeg_subset: Subset) -> None:
    """Undoes crop and flip where the two views overlap, and normalising, and looks for the first view's channel."""
    loader = opened(jpeg_subset, augment_on="host")
    with loader.epoch(0) as batches:
        batch = next(batches)
        images, rows = batch.images.clone(), batch.augmentation.clone()
    first, second, _ = images.chunk(3)
    placed = [
        [back(image, row) for image, row in zip(block, part, strict=True)]
        for block, part in zip((first, second), rows.chunk(3), strict=False)
    ]
    for one, other, row in zip(*placed, rows.chunk(3)[1], strict=True):
        wanted = one[int(row[12]) - 1]
        there = ~wanted.isnan() & ~other[0].isnan()
        share = (wanted - other[0]).abs()[there].lt(1e-5).float().mean()
        assert share > 0.2, "most pixels that neither view erases are the same"
        assert torch.equal(other[0][there], other[1][there])


def back(image: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """Put a view's pixels where they came from: (3, H, W), NaN where it shows nothing."""
    out = torch.full_like(image, float("nan"))
    top, left = int(row[0]), int(row[1])
    image = image.flip(2) if row[2] else image
    ys, xs = (slice(max(0, offset), min(size, size + offset)) for offset, size in ((top, HEIGHT_PX), (left, WIDTH_PX)))
    out[:, ys, xs] = image[:, ys.start - top : ys.stop - top, xs.start - left : xs.stop - left]
    return out


def test_threads_share_the_work_evenly() -> None:
    """Every image once; of two views, visible images (twice the work) alternate with infrared ones."""
    assert [share_evenly(number, 6, 6) for number in range(6)] == list(range(6))
    assert [share_evenly(number, 6, 9) for number in range(6)] == [0, 3, 1, 4, 2, 5]
