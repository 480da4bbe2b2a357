"""What do an approximate index and Milvus Lite gain over comparing every row, and what do they miss?

    python -m benchmarks.search_stores                      # 10^5 and 10^6 rows of 2,048, 10^7 of 512
    python -m benchmarks.search_stores 30000x256            # smaller: rows, a multiple of 10,000, x numbers in each

The index is that of benchmarks/search_size.py: the same drawing, built by the product's own functions. Every store gets
a process of its own, so that its memory is its own: the most that the process takes beside mapped files while the store
is built, and while it is searched. Queries are asked one after another; `recall` is the share of the hits of the exact
way, the first and the first ten, that are found. Rows of a drawn cluster are equally similar but for noise, which is
harder than embeddings of people are. Milvus Lite is measured up to MOST_MILVUS rows; it is made for small indices.
"""

import json
import multiprocessing
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.harness import WORK, digits, write_result
from benchmarks.search_size import BATCH, SIZES, build, own_memory_gb, queries
from dns.search.approximate import files
from dns.search.candidates import Candidates
from dns.search.exact import Found, most_similar
from dns.search.milvus import copies
from dns.search.rows import Filters
from dns.search.store import MADE, Index
from dns.training.environment import environment
from ffcv_convert.beton.labels import Modality

MOST_MILVUS = 100_000
HITS = 10
FILTERS = {
    "every": Filters(modality=Modality.VISIBLE),
    "some": Filters(cameras=tuple(map(str, range(10))), modality=Modality.VISIBLE),  # 10 % of the rows
}
HEADER = (
    "rows", "numbers", "store", "rows/s built", "queries/s", "queries/s, 10 % of the rows", "recall at 1",
    "recall at 10", "recall at 10, 10 % of the rows", "memory to build, GB", "to search, GB",
    "disk beside the rows, GB",
)  # fmt: skip


class Peak:
    """The most memory that this process takes, beside mapped files, while the block runs. gb: once it has ended."""

    def __enter__(self) -> "Peak":
        self.gb, self._ended = own_memory_gb(), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self.gb = max(self.gb, own_memory_gb())

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


@contextmanager
def opened(store: str, index: Index, milvus: Path) -> Iterator[Candidates | None]:
    if store == "Milvus Lite":
        with copies.opened(index, str(milvus)) as candidates:
            yield candidates
    else:
        yield files.opened(index) if store == "IVF-PQ" else None


def measure(store: str, folder: Path, rows: int, width: int) -> dict[str, Any]:
    """Build one store and search it, in this process. The rows themselves are the exact one."""
    milvus = folder.with_suffix(".db")
    make: dict[str, Callable[[], Any]] = {
        "exact": lambda: build(folder, rows, width),
        "IVF-PQ": lambda: files.build(folder),
        "Milvus Lite": lambda: copies.copy(folder, str(milvus)),
    }
    begin = time.perf_counter()
    with Peak() as building:
        drawn_apart_s = make[store]()
    built_s = drawn_apart_s if store == "exact" else time.perf_counter() - begin
    index = Index.open(folder)
    query_QD, found, seconds = queries(index), {}, {}
    with Peak() as searching, opened(store, index, milvus) as candidates:
        for name, filters in FILTERS.items():
            found[name], seconds[name] = search(index, candidates, query_QD, filters)
    disk = {"exact": folder / "none", "IVF-PQ": folder / MADE, "Milvus Lite": milvus}[store]
    return {
        "store": store, "rows": rows, "width": width, "rows_per_s": rows / built_s, "seconds": seconds,
        "building_gb": building.gb, "searching_gb": searching.gb, "hits": found,
        "disk_gb": sum(path.stat().st_size for path in disk.rglob("*") if path.is_file()) / 1e9,
    }  # fmt: skip


def search(
    index: Index, candidates: Candidates | None, query_QD: np.ndarray, filters: Filters
) -> tuple[list[list[tuple[int, int]]], list[float]]:
    """Return the part and the position of each hit of each query, and the seconds that each query took."""
    hits, seconds = [], []
    for query_D in [query_QD[0], *query_QD]:  # the first one twice: it finds nothing in memory
        begin = time.perf_counter()
        parts = index.parts(filters)
        compared = candidates.narrow(query_D, filters, parts, HITS) if candidates else parts
        (found,) = most_similar(query_D[None], compared, HITS, torch.device("cpu"))
        seconds.append(time.perf_counter() - begin)
        hits.append(_places(found))
    return hits[1:], seconds[1:]


def _places(found: Found) -> list[tuple[int, int]]:
    return list(zip(found.part.tolist(), found.position.tolist(), strict=True))


def recall(exact: Sequence[list], found: Sequence[list], count: int) -> float:
    """Return the share of the first `count` exact hits that are among as many of the found ones."""
    right = [len(set(map(tuple, a[:count])) & set(map(tuple, b[:count]))) for a, b in zip(exact, found, strict=True)]
    return sum(right) / sum(len(hits[:count]) for hits in exact)


def measure_size(rows: int, width: int) -> list[dict[str, Any]]:
    """Measure each store in a process of its own. Returns a row a store."""
    folder = WORK / f"stores-{rows}x{width}"
    stores = ["exact", "IVF-PQ", *(["Milvus Lite"] if rows <= MOST_MILVUS else [])]
    for path in (folder, folder.with_suffix(".db")):
        shutil.rmtree(path, ignore_errors=True)
    try:
        found = []
        for store in stores:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                found.append(process.submit(measure, store, folder, rows, width).result())
            print(json.dumps({name: value for name, value in found[-1].items() if name != "hits"}), flush=True)
        exact = found[0]["hits"]
        for one in found:
            hits = one.pop("hits")
            one["recall"] = {name: {k: recall(exact[name], hits[name], k) for k in (1, HITS)} for name in FILTERS}
        return found
    finally:
        for path in (folder, folder.with_suffix(".db")):
            shutil.rmtree(path, ignore_errors=True)


def table(content: Mapping[str, Any]) -> str:
    """Return Markdown: a row a size and a store; queries/s are of the median query."""
    lines = [list(HEADER), ["---"] * len(HEADER)]
    for one in content["stores"]:
        speed = {name: digits(1 / median(seconds)) for name, seconds in one["seconds"].items()}
        share = {
            name: {int(k): f"{100 * value:.1f} %" for k, value in of.items()} for name, of in one["recall"].items()
        }
        lines.append([
            f"{one['rows']:,}", f"{one['width']:,}", one["store"], digits(one["rows_per_s"]), speed["every"],
            speed["some"], share["every"][1], share["every"][HITS], share["some"][HITS],
            f"{one['building_gb']:.2f}", f"{one['searching_gb']:.2f}", f"{one['disk_gb']:.3f}",
        ])  # fmt: skip
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    sizes = [tuple(map(int, size.split("x"))) for size in arguments] or SIZES
    place = environment(torch.device("cpu"))
    found: list[dict[str, Any]] = []
    for rows, width in sizes:  # the largest takes an hour: what is there is written before it begins
        found += measure_size(rows, width)
        content = {"question": "search-stores", "queries": BATCH, "stores": found, "environment": place}
        print(table(content))
        print(f"written: {write_result('search-stores', content, place)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
