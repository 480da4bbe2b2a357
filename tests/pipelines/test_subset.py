"""Splits, trials and styles of converted sets: which samples, and which labels."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ffcv_convert.beton import Modality
from ffcv_convert.common.errors import DataError
from ffcv_convert.common.world import World
from pipelines.augment.recipes import RECIPES
from pipelines.epoch_plan import PlanOptions
from pipelines.streamed import StreamedLoader
from pipelines.subset import STYLES, open_subset, train_index, trials_of
from tests.support.refusals import refusal

Layout = Callable[[str], Path]


def test_a_set_with_one_split_is_taken_whole(beton_root: Path) -> None:
    subset = open_subset(beton_root / "synthetic", "train")
    assert subset.sample_N.tolist() == list(range(96))
    assert train_index(subset).person_N.tolist() == subset.person_N.tolist()
    assert trials_of(beton_root / "synthetic") == []
    assert subset.path_N == subset.converted.manifest.column("path")


def test_a_trial_holds_the_images_of_its_lists(converted_layout: Layout, data_root_of: Layout) -> None:
    folder = converted_layout("regdb")
    assert trials_of(folder) == list(range(1, 11))
    for trial in (1, 10):
        train, test = (open_subset(folder, split, trial=trial) for split in ("train", "test"))
        lists = data_root_of("regdb") / "idx"
        for subset, split in ((train, "train"), (test, "test")):
            named = [
                line.split()[0]
                for modality in ("visible", "thermal")
                for line in (lists / f"{split}_{modality}_{trial}.txt").read_text().splitlines()
            ]
            assert list(subset.path_N) == named
            assert subset.person_N.tolist() == [int(Path(name).parent.name) for name in named]
        assert not set(train.person_N.tolist()) & set(test.person_N.tolist())
        index = train_index(train)
        assert sorted(set(index.person_N.tolist())) == list(range(len(set(train.person_N.tolist()))))
        pairs = set(zip(train.person_N.tolist(), index.person_N.tolist(), strict=True))
        assert len(pairs) == len(set(train.person_N.tolist()))
    assert open_subset(folder, "train", trial=1).path_N != open_subset(folder, "train", trial=2).path_N


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_of_a_trial_hold_its_images_under_its_labels(converted_layout: Layout, workers: int) -> None:
    subset = open_subset(converted_layout("regdb"), "train", trial=7)
    loader = StreamedLoader(
        subset, PlanOptions(persons=3, pictures=2, recipe=RECIPES["regdb"], seed=0),
        world=World(torch.device("cpu")), workers=workers,
    )  # fmt: skip
    label = dict(zip(subset.sample_N.tolist(), train_index(subset).person_N.tolist(), strict=True))
    stored, seen = subset.converted.structure, set()
    with loader.epoch(0) as batches:
        for batch in batches:
            for image, person, sample in zip(batch.images, batch.person_B, batch.index_B, strict=True):
                assert int(person) == label[int(sample)]
                assert image.numpy().tobytes() == stored.stored_bytes(int(sample))
                seen.add(int(sample))
    assert len(seen) > loader.batch_size
    assert loader.identities == len(set(label.values()))


def test_styles_choose_sketches_and_drop_identities_without_one(converted_layout: Layout) -> None:
    folder = converted_layout("market_sketch_1k")
    whole = open_subset(folder, "train")
    sketches = whole.modality_N == Modality.SKETCH
    counts = {camera: int((sketches & (whole.camera_N == camera)).sum()) for camera in range(1, 7)}
    fewest = min(counts, key=lambda camera: counts[camera])
    some = open_subset(folder, "train", styles=STYLES[fewest - 1])
    wanted = sketches & (whole.camera_N == fewest)
    drawn = set(whole.person_N[wanted].tolist())
    assert drawn != set(whole.person_N.tolist()), "this proves nothing unless an artist left an identity out"
    photos = {n for n, p in zip(whole.sample_N[~sketches], whole.person_N[~sketches], strict=True) if int(p) in drawn}
    assert set(some.sample_N.tolist()) == photos | set(whole.sample_N[wanted].tolist())
    assert sorted(set(train_index(some).person_N.tolist())) == list(range(len(drawn)))
    test, tested = (open_subset(folder, "test", styles=styles) for styles in (STYLES, "F"))
    assert (tested.modality_N == Modality.VISIBLE).sum() == (test.modality_N == Modality.VISIBLE).sum()
    assert set(tested.camera_N[tested.modality_N == Modality.SKETCH].tolist()) == {6}


def test_a_missing_trial_split_or_style_is_named(converted_layout: Layout, beton_root: Path) -> None:
    with refusal(DataError, converted_layout("regdb") / "all.beton", "trial 11", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"):
        open_subset(converted_layout("regdb"), "train", trial=11)
    with refusal(DataError, converted_layout("regdb") / "train.beton", "no such"):
        open_subset(converted_layout("regdb"), "train")
    with refusal(DataError, beton_root / "synthetic", "trial 1", "data.trial"):
        open_subset(beton_root / "synthetic", "train", trial=1)
    with refusal(DataError, beton_root / "nowhere" / "all.beton", "no such"):
        open_subset(beton_root / "nowhere", "train", trial=1)
    with refusal(DataError, beton_root / "synthetic" / "train.beton", "styles B"):
        open_subset(beton_root / "synthetic", "train", styles="B")
