"""What an epoch consists of, whatever brings the pictures: batches of samples, and each image's augmentation."""

from dataclasses import replace

import numpy as np

from pipelines import augment
from pipelines.index import Part, index_of
from pipelines.sampler import Replacement, plan_epoch, scheduled_iterations


class Schedule:
    """Batches of P identities x K pictures x two modalities, augmented by `recipe`.

    `iterations` is the epoch's length: floor(max(visible, infrared) / (P K)), and one more with `extra_iteration`, as
    the published code runs it. Every epoch is a function of (seed, epoch) alone and can be entered in the middle.
    """

    def __init__(
        self,
        part: Part,
        *,
        persons: int,
        pictures: int,
        recipe: augment.Recipe,
        seed: int,
        replacement: Replacement = "always",
        extra_iteration: bool = False,
    ):
        manifest = part.converted.manifest
        self.index = index_of(part)
        self.recipe = recipe
        if manifest.infrared_grey:  # hue does nothing to grey pixels: leave it out
            self.recipe = replace(recipe, other=replace(recipe.other, hue=0.0))
        self.identities = int(self.index.person_N.max()) + 1
        self.sha256, self.digest = manifest.sha256, part.digest()
        self.size_px = (manifest.height_px, manifest.width_px)
        self.iterations = scheduled_iterations(self.index, persons, pictures) + extra_iteration
        self.batch_size = 2 * persons * pictures
        self._persons, self._pictures, self._replacement, self._seed = persons, pictures, replacement, seed
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
        )

    def table(self, epoch: int, iteration: int) -> np.ndarray:
        """The batch's augmentation, see augment.draw: float32 (batch, COLUMNS)."""
        return augment.draw(
            self.recipe, self.batch_size, *self.size_px, seed=self._seed, epoch=epoch, iteration=iteration
        )

    def of_sample(self, column_N: np.ndarray, samples: int) -> np.ndarray:
        """A column of the index as one of the file, with its `samples` rows; -1 for those that are not in the part."""
        column = np.full(samples, -1)
        column[self.index.sample_N] = column_N
        return column
