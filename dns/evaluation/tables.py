"""Makes the rows of results, each of which says how it was made; and tables of them, on the screen and in Markdown."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import mean, pstdev
from typing import Any, NamedTuple

from terminaltables import AsciiTable

from dns.evaluation.metrics import Metrics
from ffcv_convert.beton.labels import ENOUGH_MATCHED, PUBLISHED_SETS
from ffcv_convert.common.errors import printable

Row = Mapping[str, Any]


class Measured(NamedTuple):
    """What a row measured. checkpoint: its name in reports; weights, images: digests of its network and of the test
    images, see Evaluator.measured."""

    checkpoint: str
    weights: str
    images: str


# How a row was made. Sets and checkpoints of the same name may differ, so their digests belong to it.
HOW = ("dataset", "protocol", "feature", "flip", "re_ranking", "precision", *Measured._fields)
TRAINED = ("world", "images_a_step", "scale_lr", "started_from")  # how it was trained, see selection.training_setup
# What else a row says: that, the code that tested, and how many of the test images training saw, None: nobody knows.
ABOUT = (*TRAINED, "also_trained", "commit", "modified", "sources")
SHOWN_RANKS = (1, 5, 10, 20)
COLUMNS = (*(f"rank{rank}" for rank in SHOWN_RANKS), "mAP", "mINP")


def make_row(protocol: str, results: Sequence[Metrics], **how: Any) -> Row:
    """Return mean and (population) standard deviation over trials, in [0, 1], and every trial. matched, queries: those
    of the trial with the smallest share of queries that have a match. how: flip, re_ranking, checkpoint, ..."""
    columns = {f"rank{rank}": [result.cmc[rank - 1] for result in results] for rank in SHOWN_RANKS}
    columns |= {"mAP": [result.mAP for result in results], "mINP": [result.mINP for result in results]}
    row: dict[str, Any] = {"protocol": protocol, **how, "trials": len(results)}
    for name, values in columns.items():
        row[name], row[f"{name}_std"] = mean(values), pstdev(values)
    row["chance"] = mean(result.chance for result in results)
    fewest = min(results, key=lambda result: result.matched_share)
    row |= {"matched": fewest.matched, "queries": fewest.queries}
    row["per_trial"] = [asdict(result) for result in results]
    return row


def joined(digests: Iterable[str]) -> str:
    """Return one digest for several: their common one, or that of all in order."""
    digests = list(digests)
    return digests[0] if len(set(digests)) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def together(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what a row over several networks says about them: what all have in common, "several" where they differ;
    of `also_trained`, the highest number."""
    found: dict[str, Any] = {}
    for key in (key for key in ABOUT if any(key in row for row in rows)):
        values = [row.get(key) for row in rows]
        known = [value for value in values if isinstance(value, int)]
        several = max(known, default=None) if key == "also_trained" else "several"
        found[key] = values[0] if values.count(values[0]) == len(values) else several
    return found


def remarks(row: Row) -> list[str]:
    """Return sentences about a row whose means leave out many queries, or are of images that training saw. Published
    sets are as they are."""
    of = f"{row['dataset']}, {row['protocol']}"
    if row["dataset"].partition(", styles ")[0].removesuffix(" (synthetic)") in PUBLISHED_SETS:
        return []
    found, matched, queries, seen = [], row.get("matched"), row.get("queries"), row.get("also_trained")
    if queries and matched < ENOUGH_MATCHED * queries:
        found.append(
            f"{of}: {queries - matched:,} of {queries:,} queries have no match in the gallery and count in no mean: "
            f"the figures are of {matched:,} queries. Check the identities, or take another protocol"
        )
    if seen:
        found.append(
            f"{of}: {seen:,} of the test images have the same pixels as images for training, so that the figures are "
            "too high. make verify names one. Remove them from one of the parts"
        )
    return found


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Return header and cells, in per cent; the deviation over trials stands behind Rank-1 and mAP. Of digests, the
    first eight digits are shown."""
    how_made = ("feature", "flip", "re-ranking", "precision", *Measured._fields)
    cells = [["data set", "protocol", *COLUMNS, "matched queries", "trials", *how_made]]
    for row in rows:
        numbers = [
            f"{100 * row[name]:.2f}" + (f" ± {100 * row[name + '_std']:.2f}" if name in ("rank1", "mAP") else "")
            for name in COLUMNS
        ]
        matched = f"{row['matched']} / {row['queries']}" if row.get("queries") else ""
        how = [str(row.get(key, "")) for key in HOW[2:]]
        how[-2:] = [digest[:8] for digest in how[-2:]]
        line = (row["dataset"], row["protocol"], *numbers, matched, str(row["trials"]), *how)
        cells.append([printable(cell, newlines=False) for cell in line])
    return cells


def screen(rows: Sequence[Row], title: str) -> str:
    return AsciiTable(table(rows), printable(title, newlines=False)).table


def markdown(rows: Sequence[Row], title: str) -> str:
    header, *body = [[cell.replace("|", "\\|") for cell in line] for line in table(rows)]
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *body)]
    return f"# {printable(title, newlines=False)}\n\nPer cent, mean over the trials.\n\n" + "\n".join(lines) + "\n"
