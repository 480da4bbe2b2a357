"""Chooses queries to look at and shows the gallery images nearest to each: as lists, as a table, as one picture."""

import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps

from dns.evaluation.trial import TestSet
from dns.report.study import Study, average_precision

WORST, MEDIAN, RANDOM, NEAREST = 20, 20, 10, 10
SHEET_QUERIES, SHEET_NEAREST = 3, 8  # rows of the picture, and gallery images in each
GREEN, RED, GREY, LIGHT = "#2e9e4f", "#d1453b", "#555555", "#bbbbbb"
FRAME_PX, GAP_PX, HEIGHT_PX, COLOURS = 4, 10, 192, 128  # sizes and colours of the picture


class Neighbour(NamedTuple):
    """A gallery image. row: in the test set; rank: among the images that count, from 1, None for an excluded one."""

    row: int
    similarity: float
    right: bool
    rank: int | None


class RankedQuery(NamedTuple):
    """A query and its nearest gallery images. group: worst, median or random; row: that of the test set; precision: AP
    in [0, 1]; first: rank of the first right image; matches: right images in the gallery that count."""

    group: str
    row: int
    person: int
    precision: float
    first: int
    matches: int
    neighbours: list[Neighbour]


def chosen_queries(precision_Q: np.ndarray, *, seed: int = 0) -> list[tuple[str, int]]:
    """Choose the queries with the lowest AP, some in the middle, and some drawn from the others: group and number of
    each. Queries without a match (NaN) are left out; none comes twice."""
    order = np.argsort(precision_Q, kind="stable")[: int((~np.isnan(precision_Q)).sum())].tolist()
    worst = order[:WORST]
    start = max(len(worst), len(order) // 2 - MEDIAN // 2)
    median = order[start : start + MEDIAN]
    rest = sorted(set(order) - {*worst, *median})
    drawn = np.random.default_rng(seed).permutation(rest)[:RANDOM].tolist() if rest else []
    return [(group, int(q)) for group, some in (("worst", worst), ("median", median), ("random", drawn)) for q in some]


def ranked_queries(study: Study, test: TestSet) -> list[RankedQuery]:
    """Return the chosen queries of a study, each with its NEAREST images of the gallery, excluded ones among them."""
    precision = average_precision(study.per_query)
    return [_ranked(study, test, group, query, float(precision[query])) for group, query in chosen_queries(precision)]


def _ranked(study: Study, test: TestSet, group: str, query: int, precision: float) -> RankedQuery:
    distance_G = study.compared.distance_QG[query]
    excluded_G = study.compared.excluded_QG[query] if study.compared.excluded_QG is not None else None
    order = distance_G.argsort(stable=True)
    counts = torch.ones_like(order, dtype=torch.bool) if excluded_G is None else ~excluded_G[order]
    ranks = counts.cumsum(0)
    person, rows = int(study.compared.query.person[query]), study.trial.gallery_rows
    right = study.compared.gallery.person[order] == person
    neighbours = [
        Neighbour(
            row=int(rows[int(order[place])]),
            similarity=-float(distance_G[order[place]]),
            right=bool(right[place]),
            rank=int(ranks[place]) if counts[place] else None,
        )
        for place in range(min(NEAREST, len(order)))
    ]
    return RankedQuery(
        group, int(study.query_rows[query]), person, precision,
        first=int(ranks[right & counts][0]), matches=int((right & counts).sum()), neighbours=neighbours,
    )  # fmt: skip


def query_table(study: Study, test: TestSet) -> tuple[list[str], list[list[str | float]]]:
    """Return header and a line for each query of the first trial: what compare.py reads. first: rank of the first right
    image or identity, as the protocol's CMC counts; 0 where the gallery holds no right image."""
    header = ["protocol", "query", "identity", "camera", "first", "AP", "nearest", "nearest identity", "similarity"]
    _, _, distance_QG, excluded_QG = study.compared
    masked = distance_QG if excluded_QG is None else distance_QG.masked_fill(excluded_QG, torch.inf)
    nearest = masked.sort(dim=1, stable=True).indices[:, 0]  # argmin may return any of equal ones
    similarity = (-masked.gather(1, nearest[:, None]))[:, 0].tolist()
    found = study.per_query
    first = torch.where(found.relevant > 0, found.rank0 + 1, 0).tolist()
    precision = ["" if np.isnan(value) else float(value) for value in average_precision(found)]
    lines: list[list[str | float]] = []
    for query, (row, column) in enumerate(zip(study.query_rows, nearest.tolist(), strict=True)):
        near = study.trial.gallery_rows[column]
        who = [test.path_N[row], int(test.person_N[row]), int(test.camera_N[row])]
        other = [test.path_N[near], int(test.person_N[near]), similarity[query]]
        lines.append([study.protocol, *who, first[query], precision[query], *other])
    return header, lines


def sheet(queries: Sequence[RankedQuery], pixels: Mapping[int, np.ndarray]) -> Image.Image:
    """Draw ranked lists as one picture, for papers and TensorBoard. Each query has a row: first the query, then the
    nearest images that count, framed in green where the identity is right and in red where it is not.

    queries: one at least; pixels: uint8 (H, W, 3) by row of the test set.
    """
    lines = [
        [_framed(pixels[query.row], GREY), *(_framed(pixels[near.row], _colour(near)) for near in _counting(query))]
        for query in queries
    ]
    width, height = lines[0][0].size
    columns = max(len(line) for line in lines)
    size = (columns * (width + GAP_PX) + 2 * GAP_PX, len(lines) * (height + GAP_PX) + GAP_PX)
    picture = Image.new("RGB", size, "white")
    for y, line in enumerate(lines):
        for x, cell in enumerate(line):
            picture.paste(cell, (GAP_PX + x * (width + GAP_PX) + (GAP_PX if x else 0), GAP_PX + y * (height + GAP_PX)))
    middle = 2 * GAP_PX + width - GAP_PX // 2
    ImageDraw.Draw(picture).line((middle, GAP_PX, middle, picture.height - GAP_PX), fill=LIGHT, width=2)
    return picture


def to_png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.quantize(COLOURS).save(file, "png", optimize=True)
    return file.getvalue()


def spread(queries: Sequence[RankedQuery]) -> list[RankedQuery]:
    """Choose SHEET_QUERIES of the queries, from the one with the highest AP to the one with the lowest."""
    order = sorted(queries, key=lambda query: -query.precision)
    if not order:
        return []
    return [order[place] for place in np.unique(np.linspace(0, len(order) - 1, SHEET_QUERIES).astype(int))]


def _counting(query: RankedQuery) -> list[Neighbour]:
    return [near for near in query.neighbours if near.rank is not None][:SHEET_NEAREST]


def _colour(near: Neighbour) -> str:
    return GREEN if near.right else RED


def _framed(pixels: np.ndarray, colour: str) -> Image.Image:
    image = Image.fromarray(pixels)
    width_px = max(1, round(image.width * HEIGHT_PX / image.height))
    return ImageOps.expand(image.resize((width_px, HEIGHT_PX), Image.Resampling.LANCZOS), FRAME_PX, colour)
