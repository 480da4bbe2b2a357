"""What does each part of DNS add on the drawn people?

    make ablation
    python -m benchmarks.ablation runs/ablation-synthetic

Stores the table that `make ablation` wrote (ablation.csv) as
benchmarks/results/ablation-<dataset>-<hardware>-<date>.json and prints it. docs/ablation.md says what the intervals
mean, and what the table does not say.
"""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import seeds

MEASURES = {"rank1": "Rank-1", "mAP": "mAP"}


def gather(folder: Path) -> dict[str, Any]:
    """Return the rows of a finished ablation, numbers as numbers, and where its runs were trained.

    Folders with a point were set aside. Raises ValueError where the runs come from several machines or versions.
    """
    results = [path for path in folder.rglob("result.json") if "." not in str(path.parent.relative_to(folder))]
    places = [json.loads(path.read_text(encoding="utf-8"))["environment"] for path in results]
    if not places or any(place != places[0] for place in places):
        raise ValueError(f"{folder}: the runs come from several machines or versions, or there are none")
    with open(folder / "ablation.csv", encoding="utf-8", newline="") as file:
        rows = [{name: _number(text) for name, text in row.items()} for row in csv.DictReader(file)]
    return {"dataset": rows[0]["dataset"], "environment": places[0], "rows": rows}


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def table(content: Mapping[str, Any]) -> str:
    """Return Markdown: a row for each of the ablation; shares in per cent, 95 % intervals of the mean over seeds."""
    first = content["rows"][0]["row"]
    compared = [f"{shown} minus that of {first}" for shown in MEASURES.values()]
    lines = [["row", *MEASURES.values(), *compared, "parameters", "TFLOP a step"]]
    lines.append(["---"] * len(lines[0]))
    for row in content["rows"]:
        own = [_shown(row, name) for name in MEASURES]
        tflop = "" if row["tflop_a_step"] == "" else f"{row['tflop_a_step']:.4g}"  # the log is gone
        apart = [_shown(row, f"{name}_difference", sign="+") for name in MEASURES]
        lines.append([row["row"], *own, *apart, f"{row['parameters'] / 1e6:.2f} M", tflop])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _shown(row: Mapping[str, Any], name: str, sign: str = "") -> str:
    mean, low, high = (
        f"{100 * row[key]:{sign}.1f}" if row[key] != "" else "" for key in (name, f"{name}_low", f"{name}_high")
    )
    return f"{mean} ({low} to {high})" if low else mean  # one seed has no interval


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1:
        print(__doc__)
        return 2
    try:
        content = gather(Path(arguments[0]))
    except (OSError, ValueError, KeyError) as error:
        print(f"error: {error}. Name the folder of a finished make ablation", file=sys.stderr)
        return 2
    print(table(content))
    return seeds.store(f"ablation-{content['dataset'].partition(' ')[0]}", content, content["environment"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
