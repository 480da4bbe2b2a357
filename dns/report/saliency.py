"""Shows where the network looks: Grad-CAM of captum, which comes with the extra `report`.

A map explains a query's similarity to its nearest right image: it shows which parts of the query raise that similarity.
It has the resolution of the last map of features (a pixel of it is 16 pixels of the image) and is of the image without
flip.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dns.evaluation.embedding import Embeddings
from dns.evaluation.evaluator import Evaluator
from dns.evaluation.protocols import VISIBLE
from dns.network import Network
from dns.report.ranked import RankedQuery

QUERIES = 5
Embed = Callable[[Tensor, int], Tensor]  # (image, modality) -> what is compared of it


class Look(NamedTuple):
    """A query and its nearest right image: rows of the test set, and uint8 images (H, W, 3) with their maps over
    them."""

    query: int
    found: int
    query_pixels: np.ndarray
    found_pixels: np.ndarray


def available() -> bool:
    return find_spec("captum") is not None


def looks(evaluator: Evaluator, model: Network, queries: Sequence[RankedQuery]) -> list[Look]:
    """Compute maps of the first QUERIES queries with a right image among their nearest, each of another identity."""

    def embed(image: Tensor, modality: int) -> Tensor:
        z, bn = model.embed(image, visible=bool(modality == VISIBLE))
        return Embeddings(bn, z).compared(evaluator.feature)

    pairs: dict[int, tuple[int, int]] = {}
    for query in queries:
        right = [near.row for near in query.neighbours if near.right and near.rank]
        if right:
            pairs.setdefault(query.person, (query.row, right[0]))
    found = []
    for row, other in list(pairs.values())[:QUERIES]:
        pixels, other_pixels = evaluator.images.pixels(np.array([row])) + evaluator.images.pixels(np.array([other]))
        here, there = (_input(evaluator, one) for one in (pixels, other_pixels))
        modality, other_modality = evaluator.test_set.modality_N[[row, other]]
        with torch.no_grad():
            embedding, other_embedding = embed(here, modality), embed(there, other_modality)
        found.append(
            Look(
                row, other,
                overlaid(pixels, _map(model, embed, here, modality, other_embedding)),
                overlaid(other_pixels, _map(model, embed, there, other_modality, embedding)),
            )
        )  # fmt: skip
    return found


def _input(evaluator: Evaluator, pixels: np.ndarray) -> Tensor:
    images = torch.from_numpy(pixels)[None].to(evaluator.engine.device)
    return evaluator.engine.arrange(evaluator.prepare(images))


def _map(model: Network, embed: Embed, image: Tensor, modality: int, target_1D: Tensor) -> np.ndarray:
    """Return what raises the similarity to `target_1D`, for each place of the last map (the sum of several), from 0 to
    1: (h, w)."""
    from captum.attr import LayerGradCam

    def similarity(images: Tensor) -> Tensor:
        return (embed(images, modality) * target_1D).sum(dim=1)

    heat = LayerGradCam(similarity, model.last_map).attribute(image, relu_attributions=True).detach().sum(dim=(0, 1))
    model.zero_grad(set_to_none=True)
    return (heat / heat.max().clamp(min=1e-12)).float().cpu().numpy()


def overlaid(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return the image in grey under its map, from blue (nothing) to yellow (most)."""
    height, width = pixels.shape[:2]
    grey = np.asarray(Image.fromarray(pixels).convert("L"), dtype=np.float32)[..., None].repeat(3, axis=2)
    large = np.asarray(Image.fromarray(heat).resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1)[..., None]
    colour = np.array([30, 60, 160]) * (1 - large) + np.array([255, 220, 40]) * large
    return (grey * (0.75 - 0.3 * large) + colour * (0.25 + 0.3 * large)).clip(0, 255).astype(np.uint8)
