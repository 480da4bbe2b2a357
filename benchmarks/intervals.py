"""What do the intervals (1,000 draws, ten trials) and the open set (one trial) add to a result, in time and in memory?
Uses random embeddings of the real sets' sizes, as `evaluate` does.
"""

import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.evaluate import SIZES, Inputs, inputs_of, timed
from benchmarks.harness import interleaved, summarise
from dns.evaluation.intervals import DRAWS, interval
from dns.evaluation.metrics import mean_metrics, rank_queries
from dns.evaluation.open_set import search
from dns.evaluation.ranking import Ranking
from dns.evaluation.trial import Compared, Images, Trial

TRIALS = 10


def measure() -> dict[str, Any]:
    """Return seconds; peak_mb_<set>: memory that NumPy takes for the intervals."""
    cases: dict[str, Callable[[], float]] = {}
    peaks: dict[str, float] = {}
    for name, size in SIZES.items():
        inputs = inputs_of(name, *size)
        rankings = _rankings(inputs)
        cases |= {f"{name} intervals of ten trials": partial(timed, interval, rankings)}
        cases |= {f"{name} open set of a trial": partial(timed, search, _compared(inputs))}
        peaks[f"peak_mb_{name}"] = _peak_mb(partial(interval, rankings))
    return {"unit": "s", "cases": summarise(interleaved(cases)), **peaks}


def words(content: dict[str, Any]) -> list[str]:
    median = {name: case["median"] for name, case in content["cases"].items()}
    each = [
        f"{median[f'{name} intervals of ten trials']:.2f} s and {content[f'peak_mb_{name}']:.0f} MB for {name}"
        for name in SIZES
    ]
    return [f"Intervals of ten trials ({DRAWS:,} draws, by identities and by queries) take {', '.join(each)}."]


def _compared(inputs: Inputs) -> Compared:
    distance, query, gallery, excluded_QG, _ = inputs
    return Compared(Images(query, query), Images(gallery, gallery), distance.double(), excluded_QG)


def _rankings(inputs: Inputs) -> list[Ranking]:
    """Return rankings of ten trials with the same queries; their numbers do not matter here."""
    distance, query, gallery, excluded_QG, cmc = inputs
    found = rank_queries(distance, query, gallery, excluded_QG=excluded_QG, cmc=cmc)
    paths = np.array([f"visible/{row:06d}.jpg" for row in range(len(query))])
    rows = np.arange(len(query))
    searches = search(_compared(inputs))
    return [
        Ranking(Trial("", number, rows, rows, None, cmc), query, paths, found, mean_metrics(found), searches)
        for number in range(TRIALS)
    ]


def _peak_mb(function: Callable[[], Any]) -> float:
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
