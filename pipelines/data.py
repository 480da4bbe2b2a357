"""Opens the training or test images of a converted data set as a loader."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ffcv_convert.common.errors import ConfigError, DataError
from ffcv_convert.common.world import World
from pipelines.augment.apply import normalise
from pipelines.epoch_plan import PlanOptions
from pipelines.resident import ResidentLoader, ResidentTestLoader, is_resident
from pipelines.streamed import StreamedLoader, StreamedTestLoader
from pipelines.subset import Subset, also_trained, open_subset

Source = Literal["auto", "stream", "resident"]
TrainingLoader = StreamedLoader | ResidentLoader


def open_training(
    folder: Path,
    options: PlanOptions,
    world: World,
    *,
    trial: int,
    styles: str,
    source: Source,
    augment_on: Literal["device", "host"],
    dtype: torch.dtype,
    workers: int,
) -> TrainingLoader:
    """Open the training images of the set in `folder`: resident if `source` says so (auto: on CUDA, if they fit), else
    streamed. augment_on, dtype: see StreamedLoader.

    Raises DataError if the set lacks what is asked for, ConfigError for options that contradict each other.
    """
    subset = open_subset(folder, "train", trial=trial, styles=styles)
    if source == "resident" and augment_on == "host":
        raise ConfigError(
            "data.source = 'resident' augments on the device. Add --engine.augment=device, or leave data.source at auto"
        )
    if augment_on == "device" and is_resident(source, subset, world.device):
        return ResidentLoader(subset, options, world=world, workers=workers)
    return StreamedLoader(subset, options, world=world, workers=workers, augment_on=augment_on, dtype=dtype)


def training_digest(folder: Path, *, trial: int, styles: str) -> tuple[str, int] | None:
    """Return digest and identity count of the training images, or None without them: testing does not need them."""
    try:
        subset = open_subset(folder, "train", trial=trial, styles=styles)
    except DataError:
        return None
    return subset.digest(), len(np.unique(subset.person_N))


class TestImages:
    """The N test images of a set: identity, camera and modality (int64) and source path of each. `batches` reads the
    pixels, each rank its part of them. name: the set's in reports, with how many frames of a tracklet are stored where
    not all are; draws: the rows of each official draw, by name, see TestSet; tracklets: None for still images."""

    __test__ = False  # pytest: not a test class

    def __init__(self, subset: Subset, loader: "StreamedTestLoader | ResidentTestLoader", world: World):
        self._subset, self._loader, self._world = subset, loader, world
        self.manifest, self.path = subset.converted.manifest, subset.converted.path
        self.person_N, self.camera_N, self.modality_N = subset.person_N, subset.camera_N, subset.modality_N
        self.path_N, self.tracklets = subset.path_N, subset.tracklets
        thinned = f", one frame in {self.manifest.every}" if self.manifest.every > 1 else ""
        self.name = self.manifest.dataset + thinned
        self.size_px = (self.manifest.height_px, self.manifest.width_px)
        official = {name: rows for name, rows in self.manifest.trials.items() if name.startswith("official")}
        self.draws: Mapping[str, np.ndarray] = {
            name: subset.row_of_sample[samples] for name, samples in official.items()
        }
        self._row_of_sample = torch.from_numpy(subset.row_of_sample).to(world.device)

    def digests(self) -> dict[str, str]:
        """Return digests, by name, of what must not change while a run tests on it: the chosen images and the file."""
        return {"test set": self._subset.digest(), "test set's file": self.manifest.sha256}

    def also_trained(self, folder: Path, trained_on: str, *, trial: int, styles: str) -> int | None:
        """Count the images whose pixels the training images of the set in `folder` have too. None where these are not
        here, or are not those of the digest `trained_on`: then nobody knows."""
        try:
            training = open_subset(folder, "train", trial=trial, styles=styles)
        except DataError:
            return None
        return also_trained(self._subset, training) if training.digest() == trained_on else None

    @contextmanager
    def batches(self, row_N: np.ndarray) -> Iterator[Iterator[tuple[Tensor, Tensor]]]:
        """Yield (images uint8 (B, H, W, 3), their rows) on the device for the given rows. The last batch may hold more
        images than rows: the extra ones only fill it up. Several ranks take whole batches in turn, the same batches
        that one process would read."""
        number = np.arange(len(row_N)) // self._loader.batch_size
        own = row_N[number % self._world.size == self._world.rank]
        with self._loader.samples(self._subset.sample_N[own]) as batches:
            yield ((batch.images, self._row_of_sample[batch.index_B[: batch.count]]) for batch in batches)

    def pixels(self, row_N: np.ndarray) -> list[np.ndarray]:
        """Return the images of the given rows as they were converted, all of them on this rank: uint8 (H, W, 3) each,
        in order."""
        with self._loader.samples(self._subset.sample_N[row_N]) as batches:
            return [image for batch in batches for image in batch.images[: batch.count].cpu().clone().numpy()]

    def normalise(self, images_BHWC: Tensor) -> Tensor:
        """Turn a batch's images into the network's input: float32 (B, 3, H, W)."""
        return normalise(images_BHWC)


def open_test(
    folder: Path, world: World, *, trial: int, styles: str, source: Source, batch_size: int, workers: int,
    split: Literal["train", "test"] = "test",
) -> TestImages:  # fmt: skip
    """Open the test images of the set in `folder`, or its training images as a test reads images. Raises DataError if
    the set lacks what is asked for."""
    subset, device = open_subset(folder, split, trial=trial, styles=styles), world.device
    loader: StreamedTestLoader | ResidentTestLoader
    if is_resident(source, subset, device):
        loader = ResidentTestLoader(subset, batch_size=batch_size, device=device, workers=workers)
    else:
        loader = StreamedTestLoader(subset.converted, batch_size=batch_size, device=device, workers=workers)
    return TestImages(subset, loader, world)
