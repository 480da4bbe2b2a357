"""The plan of an epoch: two ranks share one plan, and each draws its own augmentation."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ffcv_convert.beton.labels import PUBLISHED_SETS
from ffcv_convert.common.world import World
from pipelines.augment.recipes import COLUMNS, RECIPES
from pipelines.batch import padded
from pipelines.epoch_plan import EpochPlan, PlanOptions
from pipelines.subset import Subset, open_subset

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def subset(converted_layout: Callable[[str], Path]) -> Subset:
    return open_subset(converted_layout("sysu"), "train")


def plan(subset: Subset, persons: int, world: World, accumulate: int = 1, recipe: str = "sysu") -> EpochPlan:
    options = PlanOptions(persons=persons, pictures=2, recipe=RECIPES[recipe], seed=3, accumulate=accumulate)
    return EpochPlan(subset, options, world=world)


def test_two_ranks_take_their_halves_of_one_plan(subset: Subset) -> None:
    whole = plan(subset, 4, World(CPU)).plan(0)
    ranks = [plan(subset, 2, World(CPU, rank, 2)) for rank in (0, 1)]
    assert {rank.iterations for rank in ranks} == {len(whole)}
    halves = [np.split(rank.plan(0), 2, axis=1) for rank in ranks]
    visible, infrared = (np.concatenate([half[n] for half in halves], axis=1) for n in (0, 1))
    assert np.array_equal(np.concatenate([visible, infrared], axis=1), whole)


def test_each_rank_draws_its_own_augmentation(subset: Subset) -> None:
    ranks = [plan(subset, 2, World(CPU, rank, 2)).parameters(0, 0) for rank in (0, 1)]
    assert not np.array_equal(*ranks)
    assert np.array_equal(ranks[0], plan(subset, 2, World(CPU)).parameters(0, 0))


def test_accumulated_batches_are_those_of_as_many_ranks(subset: Subset) -> None:
    """Samples, augmentation and seeds of dropout: [visible of each..., infrared of each...]."""
    ranks = [plan(subset, 2, World(CPU, rank, 4)) for rank in range(4)]
    both = [plan(subset, 2, World(CPU, rank, 2), accumulate=2) for rank in (0, 1)]
    for number, one in enumerate(both):
        parts = ranks[2 * number : 2 * number + 2]
        assert (one.iterations, one.batch_size, one.images_a_step) == (parts[0].iterations, 16, 32)
        for of_one, of_parts in (
            (one.plan(1)[1], [part.plan(1)[1] for part in parts]),
            (one.parameters(1, 1), [part.parameters(1, 1) for part in parts]),
        ):
            halves = [np.split(part, 2) for part in of_parts]
            assert np.array_equal(of_one, np.concatenate([half[n] for n in (0, 1) for half in halves]))
        assert one.dropout_seeds(1, 1) == [seed for part in parts for seed in part.dropout_seeds(1, 1)]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_parameters_of_two_views_are_the_published_batches_block_by_block(subset: Subset, accumulate: int) -> None:
    """[visible of each..., second view of each..., infrared of each...], of 4 images each."""
    parts = [plan(subset, 2, World(CPU, rank, accumulate), recipe="caj").parameters(1, 1) for rank in range(accumulate)]
    found = plan(subset, 2, World(CPU), accumulate, recipe="caj").parameters(1, 1)
    assert found.shape == (12 * accumulate, COLUMNS)
    assert np.array_equal(found, np.concatenate([part[4 * n : 4 * n + 4] for n in range(3) for part in parts]))


def test_dropout_has_its_own_seed_in_each_step_and_rank(subset: Subset) -> None:
    made = plan(subset, 2, World(CPU), accumulate=3)
    seeds = [seed for epoch in (0, 1) for iteration in (0, 1) for seed in made.dropout_seeds(epoch, iteration)]
    assert len(set(seeds)) == len(seeds) == 12
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert made.dropout_seeds(1, 0) == made.dropout_seeds(1, 0)


def test_rows_and_labels_of_samples_are_those_of_the_subset(subset: Subset) -> None:
    made = plan(subset, 2, World(CPU))
    assert np.array_equal(made.row_of_sample[subset.sample_N], np.arange(len(subset.sample_N)))
    assert np.array_equal(made.label_of_sample[subset.sample_N], made.index.person_N)


@pytest.mark.parametrize("count", [1, 4, 5, 8])
def test_an_odd_last_batch_is_filled_up_with_its_last_sample(count: int) -> None:
    batches = padded(np.arange(count), 4)
    assert batches.shape == (-(-count // 4), 4)
    assert batches.ravel()[:count].tolist() == list(range(count))
    assert set(batches.ravel()[count:]) <= {count - 1}


def test_every_published_set_has_its_augmentation() -> None:
    assert set(RECIPES) >= set(PUBLISHED_SETS)
