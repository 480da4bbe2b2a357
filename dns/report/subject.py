"""Holds what a report is about, and times how long its network takes for an image."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dns.evaluation.embedding import EmbeddedSet, Embedder
from dns.evaluation.evaluator import Evaluator
from dns.evaluation.ranking import Ranking
from dns.evaluation.some_rows import EmbeddedRows
from dns.evaluation.trial import TestSet
from dns.network import Network
from dns.training.options import Config

BATCHES = (1, 4, 16, 64)
ENOUGH_S = 0.1  # time of the calls with one size, at least
TOO_LONG_S = 1.0  # time of one call: larger batches are left out


def shown_feature(config: Config) -> str:
    """Return the figures' feature, one of FEATURES: the method's own, unless the tables leave it out."""
    return config.method.feature if config.method.feature in config.features else config.features[0]


class TrainedNetwork(NamedTuple):
    """The network of a report, in evaluation mode. evaluator: of its test images."""

    config: Config
    evaluator: Evaluator
    model: Network

    @property
    def size_px(self) -> tuple[int, int]:
        """Return height and width of a test image."""
        height, width, _ = self.evaluator.images.pixels(np.array([0]))[0].shape
        return height, width


@dataclass(frozen=True)
class Subject:
    """What a report shows: features of every test image, and how they rank.

    set_name: by which its terms are known; dataset: its name in reports. rankings: protocol -> rankings of its every
    trial, by these features; how: what their rows say of them (feature, flip, re_ranking, precision). pixels: rows of
    the test set -> images, None: the page shows none. file: that of the network or of the features; command: the one
    that made the report. network: None where the features came without one.
    """

    set_name: str
    dataset: str
    test: TestSet
    embedding_ND: EmbeddedRows
    rankings: Mapping[str, Sequence[Ranking]]
    how: Mapping[str, str]
    pixels: Callable[[np.ndarray], Sequence[np.ndarray]] | None
    file: Path
    command: str
    network: TrainedNetwork | None = None

    @property
    def protocols(self) -> list[str]:
        return list(self.rankings)

    @property
    def re_ranking(self) -> bool:
        return self.how["re_ranking"] != "off"


def of_network(
    config: Config, evaluator: Evaluator, embeddings: EmbeddedSet, rankings: Mapping[str, Sequence[Ranking]],
    checkpoint: Path, command: str, model: Network | None = None,
) -> Subject:  # fmt: skip
    """Return the subject of a network's report. rankings: by shown_feature; model: None where it was exported, and has
    no gradients and no layers to look into."""
    feature = shown_feature(config)
    network = None if model is None else TrainedNetwork(config, evaluator, model)
    return Subject(
        config.data.set, evaluator.dataset, evaluator.test_set, embeddings.compared(feature), rankings,
        evaluator.how(feature, re_ranking=config.eval.re_ranking),
        evaluator.images.pixels if config.report.images else None, checkpoint, command, network,
    )  # fmt: skip


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
    embedder = Embedder(model, evaluator.prepare, engine, flip=evaluator.flip).eval()
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
