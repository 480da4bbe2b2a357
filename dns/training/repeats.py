"""Combines several runs into one: the trials of a set, each with its own split, or one recipe over several seeds."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

from dns.evaluation.metrics import Metrics
from dns.evaluation.results import read_rows
from dns.evaluation.tables import HOW, Row, joined, make_row, together
from dns.training.options import Config
from dns.training.run_folder import folder_of, run_path, set_and_method


def members(config: Config, trials: Sequence[int]) -> list[Config]:
    """Return the configuration of each single run: one for every seed and, if the set has trials, for every trial."""
    run, data = config.run, config.data
    several = run.name != "auto" and run.repeats > 1
    return [
        replace(
            config,
            run=replace(run, seed=seed, repeats=1, name=f"{run.name}-seed{seed}" if several else run.name),
            data=replace(data, trial=trial),
        )
        for seed in range(run.seed, run.seed + run.repeats)
        for trial in ([data.trial] if data.trial or not trials else trials)
    ]


def folder(config: Config) -> Path:
    """Return the folder of the summary over the runs."""
    run, dataset, method = config.run, config.data.set, config.model.method
    if run.repeats == 1:
        return run_path(run.root, run.name, dataset, method, run.seed, 0)
    last = run.seed + run.repeats - 1
    name = set_and_method(dataset, method) if run.name == "auto" else run.name
    return Path(run.root) / f"{name}-seeds{run.seed}-{last}"


def summary(runs: Sequence[Config]) -> list[Row]:
    """Return a row over the last epochs of finished runs, and one over their best epochs. Raises ReportError."""
    # Each run gives the last epoch's row, and the best one's if it is another.
    stored = [read_rows(folder_of(config) / "result.json", "training") for config in runs]
    last, best = [rows[0] for rows in stored], [rows[-1] for rows in stored]
    row = _row(last, f"last.pt of {len(runs)} runs")
    if best == last:
        return [row]
    return [row, _row(best, f"best.pt of {len(runs)} runs, chosen by rank-1 on the test set")]


def _row(rows: Sequence[Row], tested: str) -> Row:
    how = {key: rows[0].get(key, "") for key in HOW if key not in ("protocol", "checkpoint")}
    how |= {key: joined(row.get(key, "") for row in rows) for key in ("images", "weights")}
    how |= together(rows)
    each = [_mean([Metrics(**trial) for trial in row["per_trial"]]) for row in rows]
    return make_row(rows[0]["protocol"], each, **how, checkpoint=tested)


def _mean(trials: Sequence[Metrics]) -> Metrics:
    columns = {name: [getattr(trial, name) for trial in trials] for name in ("mAP", "mINP", "chance")}
    curve = [mean(values) for values in zip(*(trial.cmc for trial in trials), strict=True)]
    fewest = min(trials, key=lambda trial: trial.matched_share)
    means = {name: mean(values) for name, values in columns.items()}
    return Metrics(cmc=curve, **means, matched=fewest.matched, queries=fewest.queries)
