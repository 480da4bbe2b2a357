"""How fast is an index of a hundred thousand to ten million rows built and searched, and what does it take?

    python -m benchmarks.search_size

Vectors are drawn in clusters, as embeddings of people are: a thousand rows round each centre. Each size is built and
searched by the product's own functions in a process of its own, below build/, and removed. Every query is a vector
near a row. `wrong` counts hits that differ from a float64 product with every row, whose order is the truth. Memory is
what the process takes beside what it maps of the files, which the system may drop at any time. Ten million rows of 512
numbers show the capacity alone; most networks here give 2,048.
"""

import json
import multiprocessing
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.harness import WORK, digits, write_result
from dns.search.exact import Found, Part, most_similar
from dns.search.rows import Filters, Row
from dns.search.store import Index, appending
from dns.training.environment import environment
from ffcv_convert.beton.labels import Modality

SIZES = ((100_000, 2048), (1_000_000, 2048), (10_000_000, 512))  # rows, numbers in each
BLOCK = 10_000  # rows that are drawn and added at once
CLUSTER = 1000  # rows round a centre
CAMERAS = 100  # a filter of one of them chooses 1 % of the rows
HITS, BATCH, ROUNDS, CHECKED = 20, 32, 5, 4
HEADER = (
    "rows", "numbers", "rows/s built", "s a query", "s a query of 32", "s, 1 % of the rows", "wrong hits", "memory, GB",
    "disk, GB", "s to open",
)  # fmt: skip


def blocks(rows: int, width: int) -> Iterator[np.ndarray]:
    """Yield the vectors, float32 (BLOCK, D) of length 1."""
    for begin in range(0, rows, BLOCK):
        rng = np.random.default_rng([rows, width, begin])
        centre = rng.standard_normal((BLOCK // CLUSTER, width), dtype=np.float32)
        vectors = np.repeat(centre, CLUSTER, axis=0) + 0.7 * rng.standard_normal((BLOCK, width), dtype=np.float32)
        yield vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def row(number: int) -> Row:
    camera, seen = str(number % CAMERAS), 1_772_000_000_000 + 1000 * number
    return Row(number, camera, Modality.VISIBLE, seen, seen + 4000, 1, "", f"cam{camera}/{number:08d}.jpg", None)


def build(folder: Path, rows: int, width: int) -> float:
    """Build the index. Returns the seconds that adding took, without drawing."""
    taken_s, number = 0.0, 0
    begin = time.perf_counter()
    with appending(folder, {"sha256": "", "feature": "drawn", "path": None, "file": "drawn"}, width) as writer:
        taken_s += time.perf_counter() - begin
        for vectors_BD in blocks(rows, width):
            own = [row(number + one) for one in range(len(vectors_BD))]
            number, begin = number + len(own), time.perf_counter()
            writer.add(vectors_BD, own, [b""] * len(own))
            taken_s += time.perf_counter() - begin
        begin = time.perf_counter()
    return taken_s + time.perf_counter() - begin


def queries(index: Index) -> np.ndarray:
    """Return BATCH vectors near stored rows, float32 (BATCH, D), of length 1."""
    rng = np.random.default_rng(7)
    segment = index.segments[0]
    near = segment.vectors_ND[np.sort(rng.integers(len(segment), size=BATCH))].astype(np.float32)
    near += 0.3 * rng.standard_normal(near.shape, dtype=np.float32) / near.shape[1] ** 0.5
    return near / np.linalg.norm(near, axis=1, keepdims=True)


def wrong_hits(index: Index, parts: list[Part], query_QD: np.ndarray, found: list[Found]) -> int:
    """Count the hits that are not the row which float64 products put there."""
    wrong = 0
    for query_D, one in zip(query_QD[:CHECKED].astype(np.float64), found, strict=False):
        similarity = np.concatenate([_products(part, query_D) for part in parts])
        order = np.argsort(-similarity, kind="stable")[:HITS]
        starts = np.cumsum([0, *map(len, parts)])
        places = [
            starts[part] + (position if parts[part].chosen is None else np.searchsorted(parts[part].chosen, position))
            for part, position in zip(one.part, one.position, strict=True)
        ]
        wrong += int((np.array(places) != order).sum())
    return wrong


def _products(part: Part, query_D: np.ndarray) -> np.ndarray:
    rows = part.vectors_ND if part.chosen is None else part.vectors_ND[part.chosen]
    return np.concatenate(
        [rows[begin : begin + BLOCK].astype(np.float64) @ query_D for begin in range(0, len(rows), BLOCK)]
    )


def measure(folder: Path, rows: int, width: int) -> dict[str, Any]:
    """Build, open and search an index of one size, in this process."""
    built_s = build(folder, rows, width)
    disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    begin = time.perf_counter()
    index = Index.open(folder)
    opened_s = time.perf_counter() - begin
    query_QD = queries(index)
    device = torch.device("cpu")
    every, some = Filters(modality=Modality.VISIBLE), Filters(cameras=("7",), modality=Modality.VISIBLE)

    def search(batch: int, filters: Filters) -> list[Found]:
        return most_similar(query_QD[:batch], index.parts(filters), HITS, device)

    cases: dict[str, Callable[[], Any]] = {
        "one": lambda: search(1, every), "batch": lambda: search(BATCH, every), "filtered": lambda: search(1, some),
    }  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, case in cases.items():
            begin = time.perf_counter()
            case()
            seconds[name].append(time.perf_counter() - begin)
    memory_gb = own_memory_gb()
    wrong = sum(
        wrong_hits(index, index.parts(filters), query_QD, search(CHECKED, filters)) for filters in (every, some)
    )
    return {
        "rows": rows, "width": width, "rows_per_s": rows / built_s, "seconds": seconds, "batch": BATCH,
        "wrong_hits": wrong, "checked_hits": 2 * CHECKED * HITS, "memory_gb": memory_gb, "disk_gb": disk / 1e9,
        "opened_s": opened_s, "chosen": sum(map(len, index.parts(some))),
    }  # fmt: skip


def own_memory_gb() -> float:
    """Return what the process takes now beside mapped files."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("RssAnon:")[2].split()[0]) / 1e6


def table(content: Mapping[str, Any]) -> str:
    """Return Markdown: a row a size; seconds are medians."""
    lines = [list(HEADER), ["---"] * len(HEADER)]
    for one in content["sizes"]:
        seconds = {name: median(values) for name, values in one["seconds"].items()}
        lines.append([
            f"{one['rows']:,}", f"{one['width']:,}", digits(one["rows_per_s"]), digits(seconds["one"]),
            digits(seconds["batch"] / one["batch"]), digits(seconds["filtered"]),
            f"{one['wrong_hits']} of {one['checked_hits']}", f"{one['memory_gb']:.2f}", f"{one['disk_gb']:.2f}",
            digits(one["opened_s"]),
        ])  # fmt: skip
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def main() -> int:
    found = []
    for rows, width in SIZES:
        folder = WORK / f"search-{rows}x{width}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found.append(pool.apply(measure, (folder, rows, width)))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(json.dumps(found[-1]), flush=True)
    place = environment(torch.device("cpu"))
    content = {"question": "search-size", "sizes": found, "environment": place}
    print(table(content))
    print(f"written: {write_result('search-size', content, place)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
