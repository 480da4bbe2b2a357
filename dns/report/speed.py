"""How long the network takes for an image, by the number of images in a batch."""

import time
from dataclasses import replace
from statistics import median
from typing import NamedTuple

import torch

from dns.evaluation.embedding import Embedder
from dns.evaluation.evaluator import Evaluator
from dns.model import DNS

BATCHES = (1, 4, 16, 64)
ENOUGH_S = 0.1  # of calls with one size
TOO_LONG_S = 1.0  # of one call: larger batches are left out


class Timing(NamedTuple):
    batch: int
    ms_per_image: float
    calls: int


@torch.inference_mode()
def timings(evaluator: Evaluator, model: DNS, size_px: tuple[int, int]) -> list[Timing]:
    """Median over the calls for each size of a batch, after one that is not counted: from uint8 images on the device to
    features, with the flip of the tables, not compiled. size_px: height and width."""
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


def _seconds(embedder: Embedder, images: torch.Tensor) -> float:
    begin = time.perf_counter()
    embedder(images, visible=True)
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    return time.perf_counter() - begin
