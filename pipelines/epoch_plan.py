"""Plans an epoch for any loader: the samples of each batch and the augmentation of each image."""

from dataclasses import dataclass, replace

import numpy as np

from ffcv_convert.common.world import World
from pipelines.augment.draw import draw
from pipelines.augment.recipes import Recipe
from pipelines.sampler import Replacement, Samples, drawn_tracklets, plan_epoch, scheduled_iterations
from pipelines.subset import Subset, train_index

RANDOM_STREAM = 3  # keeps dropout's random numbers apart from the sampler's and the augmentation's: all use one seed


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """What batches hold: P identities (persons) x K images (pictures) x two modalities, augmented by `recipe`.

    accumulate: how many published batches make up one batch here, [visible of each..., infrared of each...]; the step
    computes them one by one. As many ranks would have the same published batches. extra_iteration: adds one iteration
    to the scheduled epoch, as the published code does. samples, tracklet_frames: whether the K images are frames of
    tracklets, and how many are of each, see sampler.py.
    """

    persons: int
    pictures: int
    recipe: Recipe
    seed: int
    replacement: Replacement = "always"
    samples: Samples = "auto"
    tracklet_frames: int = 1
    extra_iteration: bool = False
    accumulate: int = 1


def images_a_step(persons: int, pictures: int, *, accumulate: int, ranks: int) -> int:
    """Count the images of one optimiser step, over both modalities, all accumulated batches and all ranks."""
    return 2 * persons * pictures * accumulate * ranks


class EpochPlan:
    """This rank's batches of an epoch.

    `iterations`, the epoch's length, is floor(max(visible, infrared) / (P K accumulate ranks)), and one more with
    `extra_iteration`; of video, tracklets are counted. An epoch depends only on (seed, epoch, rank), so a resumed run
    can start in its middle.
    """

    def __init__(self, subset: Subset, options: PlanOptions, *, world: World):
        manifest = subset.converted.manifest
        self.world, self._options = world, options
        self.index = train_index(subset)
        self.recipe = options.recipe
        if manifest.infrared_grey:  # a hue shift and their luminance leave grey pixels unchanged: skip both
            self.recipe = replace(self.recipe, other=replace(self.recipe.other, hue=0.0, grey=False))
        self.identities = int(self.index.person_N.max()) + 1
        self.sha256, self.digest = manifest.sha256, subset.digest()
        self.size_px = (manifest.height_px, manifest.width_px)
        self._persons = options.persons * options.accumulate
        self._tracklets = drawn_tracklets(subset, self.index, options.samples, options.tracklet_frames)
        scheduled = scheduled_iterations(self.index, self._persons, options.pictures, world.size, self._tracklets)
        self.iterations = scheduled + options.extra_iteration
        self.batch_size, self.images_a_step = (
            images_a_step(options.persons, options.pictures, accumulate=options.accumulate, ranks=ranks)
            for ranks in (1, world.size)
        )
        # Row in the subset and training label of each sample in the file; -1 for samples outside the subset.
        self.row_of_sample = subset.row_of_sample
        self.label_of_sample = np.where(self.row_of_sample < 0, -1, self.index.person_N[self.row_of_sample])
        self.plan(0)

    def plan(self, epoch: int) -> np.ndarray:
        """Return the sample numbers of every batch of `epoch`: int64 (iterations, batch)."""
        return plan_epoch(
            self.index,
            persons=self._persons,
            pictures=self._options.pictures,
            iterations=self.iterations,
            seed=self._options.seed,
            epoch=epoch,
            replacement=self._options.replacement,
            tracklets=self._tracklets,
            rank=self.world.rank,
            world=self.world.size,
        )

    def parameters(self, epoch: int, iteration: int) -> np.ndarray:
        """Draw the batch's augmentation parameters, see draw: float32 (rows, COLUMNS), each block of all accumulated
        batches together, [visible of each..., second view of each..., infrared of each...]."""
        size, seed = (self.batch_size // self._options.accumulate, *self.size_px), self._options.seed
        each = [
            draw(self.recipe, *size, seed=seed, epoch=epoch, iteration=iteration, rank=rank) for rank in self._ranks()
        ]
        blocks = zip(*(np.split(one, self.recipe.views + 1) for one in each), strict=True)
        return np.concatenate([block for of_each in blocks for block in of_each])

    def dropout_seeds(self, epoch: int, iteration: int) -> list[int]:
        """Return a seed for each published batch in this batch."""
        keys = ([RANDOM_STREAM, self._options.seed, epoch, iteration, rank] for rank in self._ranks())
        return [int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1)) for key in keys]

    def _ranks(self) -> range:
        """Return the rank that each accumulated batch would go to if none were accumulated."""
        accumulate = self._options.accumulate
        return range(self.world.rank * accumulate, (self.world.rank + 1) * accumulate)
