"""How well and how fast does a recipe train, over several seeds?

    make train && make train ARGS=--run.seed=1 && make train ARGS=--run.seed=2
    python -m benchmarks.seeds runs/synthetic-seed*/result.json

Collects finished runs into benchmarks/results/seeds-<dataset>-<hardware>-<date>.json and prints their table.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from benchmarks.harness import result_path, write_json

MEASURES = ("rank1", "mAP", "mINP", "rank1_untrained", "chance", "images_per_s", "epoch_s")
MUST_MATCH = ("dataset", "protocol", "flip", "epochs", "steps", "identities")


def read(path: Path) -> dict[str, Any]:
    """Return a run's result, with its `seed` and the rest of its `recipe` from the config.yaml beside it."""
    recipe = yaml.safe_load(path.with_name("config.yaml").read_text(encoding="utf-8"))
    seed = recipe.pop("run")["seed"]
    recipe.get("data", {}).pop("beton_root", None)  # the folder of the data set does not change the result
    return {**json.loads(path.read_text(encoding="utf-8")), "seed": seed, "recipe": recipe}


def gather(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one entry per run, and every measure's mean. Raises ValueError unless the runs differ only in the seed."""
    if len({result["seed"] for result in results}) != len(results):
        raise ValueError(f"a seed occurs twice: {[result['seed'] for result in results]}")
    if any(result["recipe"] != results[0]["recipe"] for result in results):
        raise ValueError("the runs' recipes (config.yaml) differ")
    for key in MUST_MATCH:
        if len({result[key] for result in results}) != 1:
            raise ValueError(f"the runs differ in {key}: {[result[key] for result in results]}")
    runs = [{key: result[key] for key in ("seed", *MEASURES, "environment")} for result in results]
    means = {key: mean(run[key] for run in runs) for key in MEASURES}
    return {**{key: results[0][key] for key in MUST_MATCH}, "mean": means, "runs": runs}


def table(content: Mapping[str, Any]) -> str:
    """Return Markdown: one row per run and one for the mean; shares in per cent."""
    header = ["seed", "Rank-1", "mAP", "mINP", "Rank-1 untrained", "chance", "images/s", "s an epoch"]
    lines = [header, ["---"] * len(header)]
    named = [*((str(run["seed"]), run) for run in content["runs"]), ("mean", content["mean"])]
    for name, run in named:
        lines.append(
            [name, *(f"{100 * run[key]:.1f}" for key in MEASURES[:5]), *(f"{run[key]:.0f}" for key in MEASURES[5:])]
        )
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def collect(
    paths: Sequence[str], question: str, usage: str | None,
    gather: Callable[[list[dict[str, Any]]], dict[str, Any]], table: Callable[[dict[str, Any]], str],
) -> int:  # fmt: skip
    """Store what `gather` makes of the runs of these result.json as the answer to `question`, and print its table."""
    if not paths:
        print(usage)
        return 2
    try:
        results = [read(Path(path)) for path in paths]
        content = gather(results)
    except (OSError, ValueError, KeyError) as error:
        print(f"error: {error}. Name the result.json of finished runs of one recipe", file=sys.stderr)
        return 2
    print(table(content))
    name = re.sub(r"[^a-z0-9_]+", "-", content["dataset"])
    return store(f"{question}-{name}", content, results[0]["environment"])


def store(question: str, content: Mapping[str, Any], environment: Mapping[str, Any]) -> int:
    """Write a result, unless one of today is there. Returns the exit code."""
    target = result_path(question, environment)
    if target.exists():
        print(f"error: {target}: holds a result of today. Remove or rename it, then try again", file=sys.stderr)
        return 2
    print(f"written: {write_json(target, content)}")
    return 0


if __name__ == "__main__":
    sys.exit(collect(sys.argv[1:], "seeds", __doc__, gather, table))
