"""Resident and host-augmented loaders yield the same pixels and labels as the streamed one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ffcv_convert.common.world import World
from ffcv_convert.convert import convert
from ffcv_convert.datasets import DATASETS
from ffcv_convert.images import ImageFormat
from pipelines.augment.recipes import RECIPES
from pipelines.epoch_plan import PlanOptions
from pipelines.resident import ResidentLoader, ResidentTestLoader, fits, is_resident
from pipelines.streamed import StreamedLoader, StreamedTestLoader
from pipelines.subset import open_subset

CPU = torch.device("cpu")


def options(recipe: str = "sysu") -> dict[str, Any]:
    plan = PlanOptions(persons=3, pictures=2, recipe=RECIPES[recipe], seed=5, extra_iteration=True)
    return {"options": plan, "world": World(CPU)}


OPTIONS = options()


def batches(loader: StreamedLoader | ResidentLoader, epoch: int, start: int = 0) -> list[tuple]:
    with loader.epoch(epoch, start) as stream:
        return [
            (
                torch.cat(loader.augment(b.images, b.augmentation)).float(),
                b.person_B.clone(),
                b.index_B.clone(),
                b.count,
            )
            for b in stream
        ]


def assert_same(first: list[tuple], second: list[tuple]) -> None:
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[:3], other[:3], strict=True))
        assert one[3] == other[3]


@pytest.mark.parametrize(
    ("layout", "trial", "recipe"),
    [("sysu", 0, "sysu"), ("regdb", 4, "sysu"), ("sysu", 0, "caj"), ("regdb", 4, "caj"), ("sysu", 0, "deen-sysu")],
)
def test_every_loader_yields_the_same_batches(
    converted_layout: Callable[[str], Path], layout: str, trial: int, recipe: str
) -> None:
    subset, how = open_subset(converted_layout(layout), "train", trial=trial), options(recipe)
    streamed = StreamedLoader(subset, workers=1, **how)
    for other in (
        ResidentLoader(subset, workers=1, **how),
        StreamedLoader(subset, workers=1, augment_on="host", **how),
        StreamedLoader(subset, workers=2, augment_on="host", **how),
    ):
        assert (other.iterations, other.identities, other.sha256) == (
            streamed.iterations, streamed.identities, streamed.sha256,
        )  # fmt: skip
        for epoch in (0, 1):
            assert_same(batches(streamed, epoch), batches(other, epoch))
        assert_same(batches(streamed, 1)[2:], batches(other, 1, start=2))


@pytest.mark.parametrize("recipe", ["sysu", "caj"])
@pytest.mark.parametrize("workers", [1, 2])
def test_jpeg_images_are_augmented_on_the_host_as_on_the_device(
    data_root_of: Callable[[str], Path], tmp_path: Path, workers: int, recipe: str
) -> None:
    jpeg = ImageFormat(64, 32, "jpeg")
    convert(DATASETS["sysu"], data_root_of("sysu").parent, tmp_path, jpeg, workers=1)
    subset = open_subset(tmp_path / "sysu", "train")
    device, host = (
        StreamedLoader(subset, workers=workers, augment_on=side, **options(recipe)) for side in ("device", "host")
    )
    assert_same(batches(device, 0), batches(host, 0))


@pytest.mark.parametrize("recipe", ["sysu", "caj"])
def test_bfloat16_images_are_the_rounded_float32_ones(converted_layout: Callable[[str], Path], recipe: str) -> None:
    subset = open_subset(converted_layout("sysu"), "train")
    whole = StreamedLoader(subset, workers=1, **options(recipe))
    rounded = StreamedLoader(subset, workers=1, augment_on="host", dtype=torch.bfloat16, **options(recipe))
    with whole.epoch(0) as first, rounded.epoch(0) as second:
        for one, other in zip(first, second, strict=True):
            assert other.images.dtype == torch.bfloat16
            assert torch.equal(torch.cat(whole.augment(one.images, one.augmentation)).bfloat16(), other.images)


def test_a_host_augmented_batch_lies_in_a_few_buffers(converted_layout: Callable[[str], Path]) -> None:
    loader = StreamedLoader(open_subset(converted_layout("sysu"), "train"), workers=1, augment_on="host", **OPTIONS)
    places = set()
    for epoch in range(3):
        with loader.epoch(epoch) as stream:
            places |= {batch.images.data_ptr() for batch in stream}
    assert len(places) <= 4


def test_auto_keeps_nothing_resident_on_a_cpu(converted_layout: Callable[[str], Path]) -> None:
    assert not fits(open_subset(converted_layout("sysu"), "train"), CPU)


def test_resident_test_batches_are_the_streamed_ones(converted_layout: Callable[[str], Path]) -> None:
    subset = open_subset(converted_layout("regdb"), "test", trial=3)
    streamed = StreamedTestLoader(subset.converted, batch_size=6, device=CPU, workers=1)
    resident = ResidentTestLoader(subset, batch_size=6, device=CPU, workers=1)
    for modality in (0, 1, 0):
        samples = subset.sample_N[subset.modality_N == modality]
        assert len(samples) % 6, "an odd last batch"
        with streamed.samples(samples) as expected, resident.samples(samples) as found:
            for one, other in zip(expected, found, strict=True):
                assert torch.equal(one.images, other.images)
                assert torch.equal(one.index_B, other.index_B)
                assert one.count == other.count


def test_an_explicit_source_overrides_what_fits(converted_layout: Callable[[str], Path]) -> None:
    subset = open_subset(converted_layout("sysu"), "train")
    assert [is_resident(source, subset, CPU) for source in ("auto", "stream", "resident")] == [False, False, True]
