"""Holds what a report is about, and times how long its network takes for an image."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dns.evaluation.embedding import FEATURES, Embedder, Embeddings
from dns.evaluation.evaluator import Evaluator
from dns.evaluation.ranking import Ranking
from dns.network import Network
from dns.training.options import Config

BATCHES = (1, 4, 16, 64)
ENOUGH_S = 0.1  # time of the calls with one size, at least
TOO_LONG_S = 1.0  # time of one call: larger batches are left out


def shown_feature(config: Config) -> str:
    """Return the figures' feature, one of FEATURES: the method's own, unless the tables leave it out."""
    return config.method.feature if config.method.feature in config.features else config.features[0]


@dataclass(frozen=True)
class Subject:
    """A network, in evaluation mode, and what it was tested on. embeddings: those of every test image; rankings:
    protocol -> rankings of its every trial, by shown_feature; checkpoint: the network's file; command: the one that
    made the report."""

    config: Config
    evaluator: Evaluator
    model: Network
    embeddings: Embeddings
    rankings: Mapping[str, Sequence[Ranking]]
    checkpoint: Path
    command: str

    @property
    def protocols(self) -> list[str]:
        return list(self.rankings)

    @property
    def feature_name(self) -> str:
        return FEATURES[shown_feature(self.config)]

    @property
    def embedding_ND(self) -> Tensor:
        return self.embeddings.compared(shown_feature(self.config))

    @property
    def size_px(self) -> tuple[int, int]:
        """Return height and width of a test image."""
        height, width, _ = self.evaluator.images.pixels(np.array([0]))[0].shape
        return height, width


class Timing(NamedTuple):
    """The time of an image in batches of this size. calls: how many were timed."""

    batch: int
    ms_per_image: float
    calls: int


@torch.inference_mode()
def timings(evaluator: Evaluator, model: Network, size_px: tuple[int, int]) -> list[Timing]:
    """Return the median over the calls for each size of a batch, after one call that is not counted.

    A call turns uint8 images on the device into features, with the flip of the tables, not compiled. size_px: height
    and width.
    """
    engine = replace(evaluator.engine, compile=False)
    embedder = Embedder(model, evaluator.images.normalise, engine, flip=evaluator.flip).eval()
    found = []
    for batch in BATCHES:
        images = torch.zeros(batch, *size_px, 3, dtype=torch.uint8, device=engine.device)
        _seconds(embedder, images)
        seconds = [_seconds(embedder, images)]
        while sum(seconds) < ENOUGH_S:
            seconds.append(_seconds(embedder, images))
        found.append(Timing(batch, 1000 * median(seconds) / batch, len(seconds)))
        if min(seconds) > TOO_LONG_S / 4:  # the next size takes about four times as long
            break
    return found


def _seconds(embedder: Embedder, images: Tensor) -> float:
    begin = time.perf_counter()
    embedder(images, visible=True)
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    return time.perf_counter() - begin
