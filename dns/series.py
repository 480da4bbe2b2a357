"""Several runs as one: the trials of a set that is split anew by each, or one recipe over several seeds."""

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


def summary(runs: Sequence[Values]) -> list[Mapping[str, Any]]:
    """A row over the last epochs of finished runs, and one over their best, each run once. Raises ReportError."""
    stored = [report.read_rows(_result(values), "training") for values in runs]  # last, and best if it is another
    last, best = [rows[0] for rows in stored], [rows[-1] for rows in stored]
    row = _row(last, f"last.pt of {len(runs)} runs")
    if best == last:
        return [row]
    return [row, _row(best, f"best.pt of {len(runs)} runs, chosen by rank-1 on the test set")]


def _row(rows: Sequence[Mapping[str, Any]], tested: str) -> Mapping[str, Any]:
    how = {key: rows[0].get(key, "") for key in report.HOW if key not in ("protocol", "checkpoint")}
    each = [_mean([Metrics(**trial) for trial in row["per_trial"]]) for row in rows]
    return report.make_row(rows[0]["protocol"], each, **how, checkpoint=tested)


def _result(values: Values) -> Path:
    run, data = values["run"], values["data"]
    return run_path(run["root"], run["name"], data["set"], run["seed"], data["trial"]) / "result.json"


def _mean(trials: Sequence[Metrics]) -> Metrics:
    columns = {field.name: [getattr(trial, field.name) for trial in trials] for field in fields(Metrics)}
    curve = [mean(values) for values in zip(*columns.pop("cmc"), strict=True)]
    return Metrics(cmc=curve, **{name: mean(values) for name, values in columns.items()})
