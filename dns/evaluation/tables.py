"""Makes the rows of results, each of which says how it was made; and tables of them, on the screen and in Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import mean, pstdev
from typing import Any

from terminaltables import AsciiTable

from dns.evaluation.metrics import Metrics
from ffcv_convert.common.errors import printable

Row = Mapping[str, Any]
HOW = ("dataset", "protocol", "feature", "flip", "re_ranking", "precision", "checkpoint")  # how a row was made
TRAINED = ("world", "images_a_step", "scale_lr", "started_from")  # how it was trained, see selection.training_setup
SHOWN_RANKS = (1, 5, 10, 20)
COLUMNS = (*(f"rank{rank}" for rank in SHOWN_RANKS), "mAP", "mINP")


def make_row(protocol: str, results: Sequence[Metrics], **how: Any) -> Row:
    """Return mean and (population) standard deviation over trials, in [0, 1], and every trial. how: flip, re_ranking,
    checkpoint, ..."""
    columns = {f"rank{rank}": [result.cmc[rank - 1] for result in results] for rank in SHOWN_RANKS}
    columns |= {"mAP": [result.mAP for result in results], "mINP": [result.mINP for result in results]}
    row: dict[str, Any] = {"protocol": protocol, **how, "trials": len(results)}
    for name, values in columns.items():
        row[name], row[f"{name}_std"] = mean(values), pstdev(values)
    row["chance"] = mean(result.chance for result in results)
    row["per_trial"] = [asdict(result) for result in results]
    return row


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Return header and cells, in per cent; the deviation over trials stands behind Rank-1 and mAP."""
    cells = [["data set", "protocol", *COLUMNS, "trials", "feature", "flip", "re-ranking", "precision", "checkpoint"]]
    for row in rows:
        numbers = [
            f"{100 * row[name]:.2f}" + (f" ± {100 * row[name + '_std']:.2f}" if name in ("rank1", "mAP") else "")
            for name in COLUMNS
        ]
        how = [str(row["trials"]), *(row.get(key, "") for key in HOW[2:])]
        cells.append([printable(cell, newlines=False) for cell in (row["dataset"], row["protocol"], *numbers, *how)])
    return cells


def screen(rows: Sequence[Row], title: str) -> str:
    return AsciiTable(table(rows), printable(title, newlines=False)).table


def markdown(rows: Sequence[Row], title: str) -> str:
    header, *body = [[cell.replace("|", "\\|") for cell in line] for line in table(rows)]
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *body)]
    return f"# {printable(title, newlines=False)}\n\nPer cent, mean over the trials.\n\n" + "\n".join(lines) + "\n"
