"""Plans an epoch for any loader: the samples of each batch and the augmentation of each image."""

from dataclasses import replace

import numpy as np

from ffcv_convert.common.world import World
from pipelines.augment.draw import draw
from pipelines.augment.recipes import Recipe
from pipelines.sampler import Replacement, plan_epoch, scheduled_iterations
from pipelines.subset import Subset, train_index

RANDOM_STREAM = 3  # keeps dropout's random numbers apart from the sampler's and the augmentation's: the seed is one


class EpochPlan:
    """This rank's batches: P identities (persons) x K images (pictures) x two modalities, augmented by `recipe`.

    accumulate: so many published batches are one here, [visible of each..., infrared of each...]; the step computes
    them one by one. They are what as many ranks would have.
    `iterations`, the epoch's length, is floor(max(visible, infrared) / (P K accumulate ranks)); `extra_iteration` adds
    one, as the published code does. An epoch depends only on (seed, epoch, rank), so a resumed run can start in its
    middle.
    """

    def __init__(
        self,
        subset: Subset,
        *,
        world: World,
        persons: int,
        pictures: int,
        recipe: Recipe,
        seed: int,
        replacement: Replacement = "always",
        extra_iteration: bool = False,
        accumulate: int = 1,
    ):
        manifest = subset.converted.manifest
        self.world = world
        self.index = train_index(subset)
        self.recipe = recipe
        if manifest.infrared_grey:  # a hue shift leaves grey pixels unchanged: skip it
            self.recipe = replace(recipe, other=replace(recipe.other, hue=0.0))
        self.identities = int(self.index.person_N.max()) + 1
        self.sha256, self.digest = manifest.sha256, subset.digest()
        self.size_px = (manifest.height_px, manifest.width_px)
        self.accumulate, self._persons, self._pictures = accumulate, persons * accumulate, pictures
        self._replacement, self._seed = replacement, seed
        self.iterations = scheduled_iterations(self.index, self._persons, pictures, world.size) + extra_iteration
        self.batch_size = 2 * self._persons * pictures
        self.images_a_step = self.batch_size * world.size
        # Row in the subset and training label of each sample in the file; -1 for samples outside the subset.
        self.row_of_sample = subset.row_of_sample
        self.label_of_sample = np.where(self.row_of_sample < 0, -1, self.index.person_N[self.row_of_sample])
        self.plan(0)

    def plan(self, epoch: int) -> np.ndarray:
        """Sample numbers of every batch of `epoch`: int64 (iterations, batch)."""
        return plan_epoch(
            self.index,
            persons=self._persons,
            pictures=self._pictures,
            iterations=self.iterations,
            seed=self._seed,
            epoch=epoch,
            replacement=self._replacement,
            rank=self.world.rank,
            world=self.world.size,
        )

    def parameters(self, epoch: int, iteration: int) -> np.ndarray:
        """The batch's augmentation parameters, see draw: float32 (batch, COLUMNS)."""
        size = (self.batch_size // self.accumulate, *self.size_px)
        each = [
            draw(self.recipe, *size, seed=self._seed, epoch=epoch, iteration=iteration, rank=rank)
            for rank in self._ranks()
        ]
        return np.concatenate(
            [half for halves in zip(*(np.split(one, 2) for one in each), strict=True) for half in halves]
        )

    def dropout_seeds(self, epoch: int, iteration: int) -> list[int]:
        """A seed for each published batch of the batch."""
        keys = ([RANDOM_STREAM, self._seed, epoch, iteration, rank] for rank in self._ranks())
        return [int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1)) for key in keys]

    def _ranks(self) -> range:
        """Of each accumulated batch, the rank that it would be for if none were accumulated."""
        return range(self.world.rank * self.accumulate, (self.world.rank + 1) * self.accumulate)
