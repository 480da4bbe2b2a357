"""Draw queries and the first images of their ranked galleries: python -m benchmarks.gallery CHECKPOINT OUT.png [ROWS]

Images of the query's identity are framed in green, others in red. The queries are the best ranked one, the one at two
thirds of the order, and others evenly between, under trial 0 of the recipe's protocol.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps

from dns.evaluation.evaluator import Evaluator
from dns.evaluation.ranking import Ranking
from dns.training import checkpoint
from dns.training.network import trained_network
from dns.training.selection import protocols_of, settings, trained
from eval import open_evaluator
from ffcv_convert.common.errors import user_errors
from pipelines.data import TestImages
from train_ffcv import set_folder, start_engine

TOP, ROWS = 8, 2  # images of a gallery that are shown; queries
GREEN, RED, GREY = "#2e9e4f", "#d1453b", "#555555"
FRAME_PX, GAP_PX, ZOOM = 4, 10, 2


def ranked(path: Path) -> tuple[Evaluator, TestImages, Ranking]:
    """Trial 0 of the first protocol that eval.py would report."""
    content = checkpoint.load_to_test(path)
    asked = settings([], content, 0, __doc__)
    _, _, engine = start_engine(asked)
    evaluator, images = open_evaluator(asked, set_folder(asked), engine, trained(content["config"]))
    model = engine.place(trained_network(path, content["model"], asked.model))
    protocol = protocols_of(asked.eval, evaluator.test_set)[0]
    return evaluator, images, evaluator.rankings(evaluator.embed(model).bn, protocol, [0], top=TOP)[0]


def chosen_queries(ranking: Ranking, count: int) -> list[int]:
    """From the best to the one at two thirds of the order, by average precision."""
    quality = ranking.per_query.precision / ranking.per_query.relevant.clamp(min=1)
    order = quality.argsort(descending=True).tolist()
    return [order[place] for place in np.linspace(0, (len(order) - 1) * 2 // 3, count).astype(int)]


def draw(evaluator: Evaluator, images: TestImages, ranking: Ranking, count: int) -> Image.Image:
    """One row a query: the query, then its gallery from the nearest image on."""
    lines = []
    for query in chosen_queries(ranking, count):
        person, cells = int(ranking.query_person_Q[query]), []
        rows = [int(ranking.trial.query_rows[query]), *ranking.top_rows_QK[query].tolist()]
        for place, (row, pixels) in enumerate(zip(rows, pixels_of(images, rows), strict=True)):
            right = evaluator.test_set.person_N[row] == person
            cells.append(framed(pixels, GREY if place == 0 else GREEN if right else RED))
        lines.append(cells)
    width, height = lines[0][0].size
    sheet = Image.new("RGB", ((TOP + 1) * (width + GAP_PX) + 2 * GAP_PX, count * (height + GAP_PX) + GAP_PX), "white")
    for y, cells in enumerate(lines):
        for x, cell in enumerate(cells):
            sheet.paste(cell, (GAP_PX + x * (width + GAP_PX) + (GAP_PX if x else 0), GAP_PX + y * (height + GAP_PX)))
    middle = 2 * GAP_PX + width - GAP_PX // 2
    ImageDraw.Draw(sheet).line((middle, GAP_PX, middle, sheet.height - GAP_PX), fill="#bbbbbb", width=2)
    return sheet


def pixels_of(images: TestImages, rows: Sequence[int]) -> list[np.ndarray]:
    with images.batches(np.array(rows)) as batches:
        return list(torch.cat([batch[: len(found)].clone() for batch, found in batches]).cpu().numpy())


def framed(pixels: np.ndarray, colour: str) -> Image.Image:
    image = Image.fromarray(pixels)
    return ImageOps.expand(image.resize((ZOOM * image.width, ZOOM * image.height)), FRAME_PX, colour)


def main(arguments: Sequence[str]) -> int:
    if len(arguments) not in (2, 3):
        print(__doc__)
        return 2
    source, target = map(Path, arguments[:2])
    sheet = draw(*ranked(source), int(arguments[2]) if len(arguments) == 3 else ROWS)
    sheet.quantize(128).save(target, optimize=True)
    print(f"written: {target}, {target.stat().st_size // 1024} kB")
    return 0


if __name__ == "__main__":
    with user_errors():
        sys.exit(main(sys.argv[1:]))
