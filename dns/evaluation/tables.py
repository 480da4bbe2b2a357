"""Makes the rows of results, each of which says how it was made; and tables of them, on the screen and in Markdown.

Below the table of the rows stand those of their intervals (intervals.py) and of the open set (open_set.py).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import mean, pstdev
from typing import Any, NamedTuple

from terminaltables import AsciiTable

from dns.evaluation.intervals import DRAWS, LEVEL, SEED, STATISTICS, interval
from dns.evaluation.metrics import Metrics
from dns.evaluation.open_set import FPIRS, open_set
from dns.evaluation.ranking import Ranking
from ffcv_convert.beton.labels import ENOUGH_MATCHED, PUBLISHED_SETS, VIDEO_SETS
from ffcv_convert.common.errors import printable

Row = Mapping[str, Any]
Table = list[list[str]]  # the header, then a line for each row


class Measured(NamedTuple):
    """What a row measured. checkpoint: its name in reports; weights, images: digests of its network and of the test
    images, see Evaluator.measured."""

    checkpoint: str
    weights: str
    images: str


# How a row was made. Sets and checkpoints of the same name may differ, so their digests belong to it.
HOW = ("dataset", "protocol", "feature", "flip", "re_ranking", "precision", *Measured._fields)
TRAINED = ("world", "images_a_step", "scale_lr", "started_from")  # how it was trained, see selection.training_setup
# What else a row says: that, the code that tested, which pixels' statistics its images were normalised with, and how
# many of the test images training saw, None: nobody knows.
ABOUT = (*TRAINED, "also_trained", "normalisation", "commit", "modified", "sources")
SHOWN_RANKS = (1, 5, 10, 20)
OF_TRACKLETS = "; tracklet mean, not a video network"  # behind the feature's name
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


def ranked_row(protocol: str, rankings: Sequence[Ranking], **how: Any) -> Row:
    """Return make_row's row of these rankings, with its intervals and the errors of an open set. Where tracklets were
    ranked, the feature's name says so."""
    if rankings[0].trial.tracklet:
        how["feature"] += OF_TRACKLETS
    uncertain = {"interval": interval(rankings), "open_set": open_set([ranking.searches for ranking in rankings])}
    return make_row(protocol, [ranking.metrics for ranking in rankings], **how, **uncertain)


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
    dataset = row["dataset"].partition(", styles ")[0].partition(", one frame in ")[0].removesuffix(" (synthetic)")
    if dataset in (*PUBLISHED_SETS, *VIDEO_SETS):
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


def name_of(row: Row) -> str:
    """Name a row by its convention and its checkpoint or file."""
    again = "" if row.get("re_ranking", "off") == "off" else ", re-ranked"
    return f"{row['protocol']}, {row['feature']}{again} ({row['checkpoint']})"


def table(rows: Sequence[Row]) -> Table:
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


def intervals_table(rows: Sequence[Row]) -> Table:
    """Return the bounds of each row, of those that have some. Those by a bootstrap over queries are too narrow, and are
    in result.json alone."""
    cells = [["row", *STATISTICS, "identities"]]
    for row in rows:
        found = row["interval"]["identities"]
        bounds = [" to ".join(f"{100 * bound:.2f}" for bound in found[name]) for name in STATISTICS]
        cells.append([name_of(row), *bounds, str(found["count"])])
    return cells


def open_set_table(rows: Sequence[Row]) -> Table:
    cells = [["row", *(f"FNIR at FPIR {100 * fpir:g} %" for fpir in FPIRS), "gallery", "queries"]]
    for row in rows:
        found = row["open_set"]
        shares = [found[f"fnir_at_{fpir:g}"] for fpir in FPIRS]
        shown = ["" if share is None else f"{100 * share:.2f}" for share in shares]
        cells.append([name_of(row), *shown, f"{found['gallery']:g}", str(found["queries"])])
    return cells


def below(rows: Sequence[Row]) -> list[tuple[str, Table]]:
    """Return title and cells of the tables below, of the rows that have intervals: earlier versions wrote none, and a
    mean over several runs has none."""
    rows = [row for row in rows if "interval" in row]
    if not rows:
        return []
    drawn = f"{DRAWS:,} draws, seed {SEED}; galleries as drawn"
    return [
        (f"{100 * LEVEL:g} % intervals, bootstrap over identities: {drawn}", intervals_table(rows)),
        ("Not in the gallery: half of the identities left out in turn, rank 1", open_set_table(rows)),
    ]


def screen(rows: Sequence[Row], title: str) -> str:
    more = [on_screen(*each) for each in below(rows)]
    return "\n".join([AsciiTable(table(rows), printable(title, newlines=False)).table, *more])


def on_screen(title: str, cells: Table) -> str:
    clean = [[printable(cell, newlines=False) for cell in line] for line in cells]
    return f"{title}\n{AsciiTable(clean).table}"


def markdown(rows: Sequence[Row], title: str) -> str:
    head = f"# {printable(title, newlines=False)}\n\nPer cent, mean over the trials.\n\n"
    return head + _lines(table(rows)) + "".join(in_markdown(*each) for each in below(rows))


def in_markdown(title: str, cells: Table) -> str:
    return f"\n## {title}\n\n{_lines(cells)}"


def _lines(cells: Table) -> str:
    header, *body = [[printable(cell, newlines=False).replace("|", "\\|") for cell in line] for line in cells]
    return "".join("| " + " | ".join(line) + " |\n" for line in (header, ["---"] * len(header), *body))
