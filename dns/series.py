"""Several runs as one: the trials of a set that is split anew by each, or one recipe over several seeds."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from statistics import mean
from typing import Any

from dns.evaluation import report
from dns.evaluation.metrics import Metrics
from dns.run import run_path

Values = Mapping[str, Mapping[str, Any]]


def members(values: Values, trials: Sequence[int]) -> list[Values]:
    """The configuration of each single run that `values` asks for: every trial, or its one, and every seed."""
    run, data = values["run"], values["data"]
    several = run["name"] != "auto" and run["repeats"] > 1
    return [
        {
            **values,
            "run": {**run, "seed": seed, "repeats": 1, "name": f"{run['name']}-seed{seed}" if several else run["name"]},
            "data": {**data, "trial": trial},
        }
        for seed in range(run["seed"], run["seed"] + run["repeats"])
        for trial in ([data["trial"]] if data["trial"] or not trials else trials)
    ]


def folder(values: Values) -> Path:
    """Where the summary of the runs goes."""
    run, dataset = values["run"], values["data"]["set"]
    last = run["seed"] + run["repeats"] - 1
    if run["repeats"] == 1:
        return run_path(run["root"], run["name"], dataset, run["seed"], 0)
    return Path(run["root"]) / f"{dataset if run['name'] == 'auto' else run['name']}-seeds{run['seed']}-{last}"


def summary(runs: Sequence[Values]) -> Mapping[str, Any]:
    """One row over the last epochs' rows of finished runs, each run counting once; deviation over runs."""
    rows = [json.loads(_result(values).read_text(encoding="utf-8"))["evaluation"][0] for values in runs]
    how = {key: rows[0][key] for key in ("dataset", "feature", "flip", "re_ranking")}
    each = [_mean([Metrics(**trial) for trial in row["per_trial"]]) for row in rows]
    return report.make_row(rows[0]["protocol"], each, **how, checkpoint=f"last.pt of {len(runs)} runs")


def _result(values: Values) -> Path:
    run, data = values["run"], values["data"]
    return run_path(run["root"], run["name"], data["set"], run["seed"], data["trial"]) / "result.json"


def _mean(trials: Sequence[Metrics]) -> Metrics:
    columns = {field.name: [getattr(trial, field.name) for trial in trials] for field in fields(Metrics)}
    curve = [mean(values) for values in zip(*columns.pop("cmc"), strict=True)]
    return Metrics(cmc=curve, **{name: mean(values) for name, values in columns.items()})
