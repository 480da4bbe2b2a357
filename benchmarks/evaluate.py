"""How fast are the metrics compared with the usual loops, and distances in float64 compared with float32? Uses random
embeddings of the real sets' sizes; each call evaluates one trial.

The loops follow the protocols' description and work as the field's evaluation code does: one NumPy argsort of the whole
distance matrix, then a Python loop over the queries.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.harness import interleaved, summarise, times
from dns.evaluation.metrics import CMC, mean_metrics, rank_queries
from dns.evaluation.ranking import distances

RANKS = 20
# Queries, gallery images, identities, cameras. LLCM's gallery has one image per identity and camera.
SIZES = {"sysu": (3803, 301, 96, 4), "llcm": (7166, 3159, 351, 9), "regdb": (2060, 2060, 206, 1)}


def measure() -> dict[str, Any]:
    """Return seconds per trial; speedup_<set>: the loops' time over ours; agree: whether both give the same numbers."""
    cases: dict[str, Callable[[], float]] = {}
    agree = True
    for name, size in SIZES.items():
        inputs = inputs_of(name, *size)
        distance, query, gallery, excluded_QG, cmc = inputs
        excluded = None if excluded_QG is None else excluded_QG.numpy()
        arrays = (distance.numpy(), query.numpy(), gallery.numpy(), excluded, cmc)
        agree &= all(abs(a - b) < 1e-6 for a, b in zip(_ours(*inputs), loops(*arrays), strict=True))
        cases |= {f"{name} ours": partial(timed, _ours, *inputs), f"{name} loops": partial(timed, loops, *arrays)}
        cases |= {f"{name} distances, ours": partial(timed, distances, *_embeddings(*size[:2]))}
        cases |= {f"{name} distances in float32": partial(timed, _float32_distances, *_embeddings(*size[:2]))}
    figures = summarise(interleaved(cases))
    speedups = {
        f"speedup_{name}": figures[f"{name} loops"]["median"] / figures[f"{name} ours"]["median"] for name in SIZES
    }
    return {"unit": "s", "cases": figures, **speedups, "agree": agree}


def words(content: dict[str, Any]) -> list[str]:
    median = {name: case["median"] for name, case in content["cases"].items()}
    metrics = ", ".join(f"{times(content[f'speedup_{name}'])} for {name}" for name in SIZES)
    float64 = [median[f"{name} distances in float32"] / median[f"{name} distances, ours"] for name in SIZES]
    return [
        f"Compared with the loops, the metrics are {metrics}. Both give "
        f"{'the same' if content['agree'] else 'different'} numbers.",
        f"Distances in float64 are {min(float64):.2f} to {max(float64):.2f} times as fast as in float32.",
    ]


Inputs = tuple[Tensor, Tensor, Tensor, Tensor | None, CMC]


def inputs_of(name: str, queries: int, images: int, identities: int, cameras: int) -> Inputs:
    """Draw distances, identities of queries and gallery, the excluded pairs, and what the CMC counts.

    A query's distances are replaced by their ranks: with equal distances any order is right, and the two could differ.
    """
    rng = np.random.default_rng(0)
    query, gallery = torch.from_numpy(rng.integers(0, identities, queries)), torch.arange(images) % identities
    query_camera, gallery_camera = (
        torch.from_numpy(rng.integers(0, cameras, queries)),
        torch.arange(images) // identities,
    )
    embedding = torch.from_numpy(rng.standard_normal((queries + images, 64)).astype(np.float32))
    distance = (-embedding[:queries] @ embedding[queries:].T).argsort(dim=1).argsort(dim=1).float()
    if name == "regdb":
        return distance, query, gallery, None, "images"
    same_camera = query_camera[:, None] == gallery_camera
    excluded_QG = same_camera & (query[:, None] == gallery) if name == "llcm" else (query_camera == 0)[:, None] & (
        gallery_camera == 1
    )  # fmt: skip
    return distance, query, gallery, excluded_QG, "identities"


def _embeddings(queries: int, images: int) -> tuple[Tensor, Tensor]:
    """Draw random embeddings of ResNet-50's width, L2-normalised."""
    generator = torch.Generator().manual_seed(0)
    query, gallery = (normalize(torch.randn(count, 2048, generator=generator), dim=1) for count in (queries, images))
    return query, gallery


def _float32_distances(query: Tensor, gallery: Tensor) -> Tensor:
    return -query @ gallery.T


def timed(function: Callable[..., Any], *inputs: Any) -> float:
    begin = time.perf_counter()
    function(*inputs)
    return time.perf_counter() - begin


def _ours(distance: Tensor, query: Tensor, gallery: Tensor, excluded_QG: Tensor | None, cmc: CMC) -> tuple[float, ...]:
    found = mean_metrics(rank_queries(distance, query, gallery, excluded_QG=excluded_QG, cmc=cmc))
    return found.cmc[0], found.cmc[-1], found.mAP, found.mINP


def loops(
    distance: np.ndarray, query: np.ndarray, gallery: np.ndarray, excluded_QG: np.ndarray | None, cmc: CMC
) -> tuple[float, ...]:
    """Compute Rank-1, Rank-20, mAP and mINP query by query."""
    order = np.argsort(distance, axis=1)  # needs no rule for ties: inputs_of has none
    curves, precisions, inverse = [], [], []
    for number, person in enumerate(query):
        ranking = order[number]
        if excluded_QG is not None:
            ranking = ranking[~excluded_QG[number][ranking]]
        persons = gallery[ranking]
        match = (persons == person).astype(np.int32)
        if not match.any():
            continue
        if cmc == "identities":
            _, first = np.unique(persons, return_index=True)
            curve = (persons[np.sort(first)] == person).cumsum()
        else:
            curve = match.cumsum()
        curves.append(np.minimum(curve, 1)[:RANKS])
        hits = match.cumsum()
        places = np.flatnonzero(match)
        inverse.append(hits[places[-1]] / (places[-1] + 1.0))
        precision = np.array([hits[place] / (place + 1.0) for place in range(len(hits))]) * match
        precisions.append(precision.sum() / match.sum())
    curve = np.mean(curves, axis=0)
    return float(curve[0]), float(curve[-1]), float(np.mean(precisions)), float(np.mean(inverse))
