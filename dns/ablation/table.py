"""Makes the table of an ablation from the results of its runs.

A figure is that of the last epoch, which no test chose: the mean over a seed's trials, then over the seeds.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from dns.ablation.plan import Planned
from dns.evaluation.intervals import LEVEL, over_seeds
from dns.evaluation.results import read_json, write_text
from dns.evaluation.tables import Table, in_markdown
from dns.training.network import build_network
from dns.training.options import Config
from dns.training.run_folder import finished

MEASURES = {"rank1": "Rank-1", "mAP": "mAP"}
ALIKE = {  # what the results of all runs say alike, in words; rows that differ in these say little of each other
    "dataset": "data set", "protocol": "protocol", "feature": "feature", "flip": "flip", "images": "test images",
    "training_images": "training images", "normalisation": "normalisation", "precision": "precision", "sources": "code",
}  # fmt: skip
OF_TRIALS = ("images", "training_images")  # each trial of a set has its own


@dataclass(frozen=True)
class Figures:
    """What the finished runs of a row gave. of_seed: measure -> seed -> share in [0, 1]; made: how, by ALIKE: the
    values that its runs have, one where they are alike; parameters: those that are trained; tflop: 10^12 operations of
    a step on each device, None where the log is gone; images_per_s: of the training alone, mean over the runs."""

    name: str
    same_as: str
    of_seed: Mapping[str, Mapping[int, float]]
    made: Mapping[str, Sequence[str]]
    parameters: int
    tflop: float | None
    images_per_s: float

    @property
    def seeds(self) -> list[int]:
        return sorted(self.of_seed["rank1"])


def figures(rows: Sequence[Planned]) -> list[Figures]:
    """Return the figures of each row with a result. A seed counts when all of its trials are finished."""
    found = []
    for row in rows:
        trained: dict[int, list[dict[str, Any]]] = {}
        for member in row.members:
            result = read_json(member.folder / "result.json") if finished(member.folder) else None
            trained.setdefault(member.config.run.seed, []).append(result or {})
        complete = {seed: results for seed, results in trained.items() if all(results)}
        if complete:
            found.append(_figures(row, complete))
    return found


def _figures(row: Planned, trained: Mapping[int, Sequence[Mapping[str, Any]]]) -> Figures:
    each = [result for results in trained.values() for result in results]
    first = each[0]
    tflop = first["tflops"] * first["images_a_step"] / first["images_per_s"] if first.get("tflops") else None
    return Figures(
        row.row.name,
        row.same_as,
        {name: {seed: mean(one[name] for one in results) for seed, results in trained.items()} for name in MEASURES},
        {key: _values(trained.values(), key) for key in ALIKE},
        parameters(row.members[0].config, first["identities"]),
        tflop,
        mean(result["images_per_s"] for result in each),
    )


def _values(seeds: Iterable[Sequence[Mapping[str, Any]]], key: str) -> list[str]:
    """Return what the results of each seed's trials say. A result of an earlier version may not say it."""
    of_each = [[str(one[key]) for one in results if key in one] for results in seeds]
    if key in OF_TRIALS:
        of_each = [[" ".join(values)] for values in of_each if values]
    return sorted({value for values in of_each for value in values})


def parameters(config: Config, identities: int) -> int:
    """Count what is trained. torch makes the network without memory for its numbers."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_network(config, identities).parameters())


def difference(row: Figures, first: Figures, measure: str) -> list[float]:
    """Return the row's figure minus the first row's, of each seed that both have; nothing for the same runs."""
    if first.name in (row.name, row.same_as):
        return []
    here, there = row.of_seed[measure], first.of_seed[measure]
    return [here[seed] - there[seed] for seed in row.seeds if seed in there]


def table(rows: Sequence[Figures]) -> Table:
    """Return header and cells, in per cent."""
    compared = [f"{name} minus that of {rows[0].name}" for name in MEASURES.values()]
    cells = [["row", "seeds", *MEASURES.values(), *compared, "parameters", "TFLOP a step", "images/s"]]
    for row in rows:
        own = [_shown(list(row.of_seed[name].values())) for name in MEASURES]
        apart = [_shown(difference(row, rows[0], name), sign="+") for name in MEASURES]
        cells.append(
            [row.name + (f" (the runs of {row.same_as})" if row.same_as else ""), ", ".join(map(str, row.seeds)), *own,
             *apart, f"{row.parameters / 1e6:.2f} M", "" if row.tflop is None else f"{row.tflop:.4g}",
             f"{row.images_per_s:.1f}"]
        )  # fmt: skip
    return cells


def _shown(values: Sequence[float], sign: str = "") -> str:
    if not values:
        return ""
    shown = f"{100 * mean(values):{sign}.2f}"
    if len(values) > 1:
        low, high = over_seeds(values)
        shown += f" ({100 * low:{sign}.2f} to {100 * high:{sign}.2f})"
    return shown


def numbers(rows: Sequence[Figures]) -> str:
    """Return the table as CSV, shares in [0, 1] with every digit; a cell is empty where there is no number."""
    file = io.StringIO()
    of_measures = [
        f"{name}{what}{end}" for name in MEASURES for what in ("", "_difference") for end in ("", "_low", "_high")
    ]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["row", "same_as", "seeds", *of_measures, "parameters", "tflop_a_step", "images_per_s", *ALIKE])
    for row in rows:
        measured: list[float | str] = []
        for name in MEASURES:
            for values in (list(row.of_seed[name].values()), difference(row, rows[0], name)):
                bounds = over_seeds(values) if len(values) > 1 else ("", "")
                measured += [mean(values) if values else "", *bounds]
        tflop = "" if row.tflop is None else row.tflop
        seeds = " ".join(map(str, row.seeds))
        about = [row.parameters, tflop, row.images_per_s, *map(", ".join, row.made.values())]
        writer.writerow([row.name, row.same_as, seeds, *measured, *about])
    return file.getvalue()


def remarks(rows: Sequence[Figures]) -> list[str]:
    """Say what the figures are, what the intervals mean, and what the rows do not have in common."""
    first = rows[0].made
    dataset, protocol, feature, flip = (first[key][0] for key in ("dataset", "protocol", "feature", "flip"))
    said = [
        f"Per cent, mean over the seeds: {dataset}, {protocol}, {feature}, flip {flip}, last epoch. Differences are to "
        f"{rows[0].name!r}, seed by seed.",
        "images/s are those of training alone, on the machine and beside the other runs that each row had.",
    ]
    if len(rows[0].seeds) > 1:
        said.insert(
            1,
            f"In brackets {100 * LEVEL:g} % intervals of the mean over seeds (Student's t). They say how much other "
            "initial weights and batches would move it, and nothing of other people or galleries.",
        )
    for key, words in ALIKE.items():
        others = [row.name for row in rows if row.made[key] and first[key] and row.made[key] != first[key]]
        if others:
            said.append(f"Not the first row's {words}: {', '.join(others)}.")
        mixed = [row.name for row in rows if len(row.made[key]) > 1]
        if mixed:
            said.append(f"Runs of one row do not share their {words}: {', '.join(mixed)}.")
    if any(row.seeds != rows[0].seeds for row in rows):
        said.append("Rows have different seeds, for some runs have no result yet.")
    return said


def write(folder: Path, title: str, rows: Sequence[Figures]) -> list[Path]:
    """Write ablation.md and ablation.csv. Returns their paths. Raises ReportError."""
    text, lines = folder / "ablation.md", folder / "ablation.csv"
    write_text(text, in_markdown(title, table(rows)).lstrip("\n") + "\n" + "\n\n".join(remarks(rows)) + "\n")
    write_text(lines, numbers(rows))
    return [text, lines]
