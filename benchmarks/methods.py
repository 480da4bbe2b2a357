"""What does each method reach on the drawn people, over several seeds?

    for method in dns agw caj deen baseline; do make train METHOD=$method ARGS=--run.repeats=3; done
    python -m benchmarks.methods runs/synthetic*/result.json

Collects finished runs into benchmarks/results/methods-<dataset>-<hardware>-<date>.json and prints their table: one row
a method. The recipes are ours, and the drawn people are no data set: the table shows that each method trains, not which
one is better.
"""

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from operator import itemgetter
from statistics import mean
from typing import Any

from benchmarks import seeds
from dns.training.config import method_of


def gather(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return each method's runs and means, see seeds.gather. Raises ValueError where a method's runs differ in more
    than the seed, where the methods have other seeds or test images, or where the runs come from other machines or
    versions."""
    by_method = defaultdict(list)
    for result in sorted(results, key=itemgetter("seed")):
        by_method[method_of(result["recipe"])].append(result)
    for key in ("dataset", "protocol", "identities", "images", "environment"):
        if any(result[key] != results[0][key] for result in results):
            raise ValueError(f"the methods differ in {key}")
    if len({tuple(sorted(result["seed"] for result in runs)) for runs in by_method.values()}) != 1:
        raise ValueError("the methods have other seeds")
    methods = {}
    for method, runs in sorted(by_method.items(), key=lambda item: (item[0] != "dns", item[0])):
        methods[method] = {**seeds.gather(runs), "recipe": runs[0]["recipe"]}
    return {"dataset": results[0]["dataset"], "environment": results[0]["environment"], "methods": methods}


def table(content: Mapping[str, Any]) -> str:
    """Return Markdown: a row a method, its Rank-1 of each seed and its means; shares in per cent."""
    numbers = [run["seed"] for run in next(iter(content["methods"].values()))["runs"]]
    header = ["method", *(f"Rank-1, seed {number}" for number in numbers)]
    header += ["mean Rank-1", "mAP", "mINP", "Rank-1 untrained", "chance", "steps"]
    lines = [header, ["---"] * len(header)]
    for method, found in content["methods"].items():
        each, means = [run["rank1"] for run in found["runs"]], found["mean"]
        shares = [*each, mean(each), *(means[key] for key in ("mAP", "mINP", "rank1_untrained", "chance"))]
        cells = [method, *(f"{100 * share:.1f}" for share in shares)]
        lines.append([*cells, f"{found['steps']:,}"])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


if __name__ == "__main__":
    sys.exit(seeds.collect(sys.argv[1:], "methods", __doc__, gather, table))
