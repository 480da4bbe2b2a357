"""What an epoch consists of, whatever brings the images: batches of samples, and each image's augmentation."""

from dataclasses import replace

import numpy as np

from ffcv_convert.common.world import World
from pipelines.augment.draw import draw
from pipelines.augment.recipes import Recipe
from pipelines.sampler import Replacement, plan_epoch, scheduled_iterations
from pipelines.subset import Subset, train_index


class EpochPlan:
    """Batches of P identities x K images x two modalities, augmented by `recipe`: this rank's share of `world`.

    `iterations` is the epoch's length: floor(max(visible, infrared) / (P K ranks)), and one more with
    `extra_iteration`, as the published code runs it. Every epoch is a function of (seed, epoch, rank) alone and can be
    entered in the middle.
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
    ):
        manifest = subset.converted.manifest
        self.world = world
        self.index = train_index(subset)
        self.recipe = recipe
        if manifest.infrared_grey:  # hue does nothing to grey pixels: leave it out
            self.recipe = replace(recipe, other=replace(recipe.other, hue=0.0))
        self.identities = int(self.index.person_N.max()) + 1
        self.sha256, self.digest = manifest.sha256, subset.digest()
        self.size_px = (manifest.height_px, manifest.width_px)
        self.iterations = scheduled_iterations(self.index, persons, pictures, world.size) + extra_iteration
        self.batch_size = 2 * persons * pictures
        self._persons, self._pictures, self._replacement, self._seed = persons, pictures, replacement, seed
        # Of each of the file's samples, -1 for those that were not chosen: its row among the chosen, its label.
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

    def table(self, epoch: int, iteration: int) -> np.ndarray:
        """The batch's augmentation parameters, see draw: float32 (batch, COLUMNS)."""
        return draw(
            self.recipe, self.batch_size, *self.size_px, seed=self._seed, epoch=epoch, iteration=iteration,
            rank=self.world.rank,
        )  # fmt: skip
