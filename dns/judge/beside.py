"""Makes what stands below the judge's table: intervals, the open set, and files compared in pairs."""

from collections.abc import Sequence
from itertools import combinations

from terminaltables import AsciiTable

from dns.evaluation.intervals import DRAWS, LEVEL, SEED, STATISTICS, paired, sums_of
from dns.evaluation.open_set import FPIRS
from dns.evaluation.tables import Row
from dns.judge.claims import name_of
from dns.judge.conventions import COSINE, Judged, Refused
from ffcv_convert.common.errors import printable

Table = list[list[str]]


def intervals_table(rows: Sequence[Row]) -> Table:
    """Return the bounds of each row by identities; those by queries, which are too narrow, are in judge.json."""
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


def pairs(judged: Sequence[Judged]) -> tuple[list[Row], list[Refused]]:
    """Compare every two files under each protocol, by the cosine of the feature that both have first."""
    first: dict[tuple[str, str, bool], Judged] = {}
    for one in judged:
        if COSINE in one.measure:
            first.setdefault((one.protocol, one.file, one.re_ranking), one)
    found: list[Row] = []
    refused: list[Refused] = []
    for (_, one), (_, two) in combinations(first.items(), 2):
        if (one.protocol, one.re_ranking) != (two.protocol, two.re_ranking):
            continue
        names = {"protocol": one.protocol, "re_ranking": one.row["re_ranking"], "first": one.file, "second": two.file}
        try:
            apart = paired(sums_of(one.rankings), sums_of(two.rankings))
        except ValueError as error:
            refused.append(Refused(f"{one.file} beside {two.file}, {one.protocol}", str(error)))
            continue
        found.append({**names, **{name: difference._asdict() for name, difference in apart.items()}})
    return found, refused


def pairs_table(found: Sequence[Row]) -> Table:
    cells = [["protocol", "files", *(f"{name}, 95 %, p" for name in STATISTICS)]]
    for one in found:
        shown = [
            f"{100 * by['difference']:+.2f}, {100 * by['low']:+.2f} to {100 * by['high']:+.2f}, {by['p']:.3f}"
            for by in (one[name] for name in STATISTICS)
        ]
        again = "" if one["re_ranking"] == "off" else ", re-ranked"
        cells.append([one["protocol"] + again, f"{one['first']} minus {one['second']}", *shown])
    return cells


def below(rows: Sequence[Row], compared: Sequence[Row]) -> list[tuple[str, Table]]:
    """Return title and cells of each table."""
    drawn = f"{DRAWS:,} draws, seed {SEED}"
    found = [
        (f"{100 * LEVEL:g} % intervals, bootstrap over identities: {drawn}; galleries as drawn", intervals_table(rows)),
        ("Not in the gallery: half of the identities left out in turn, rank 1", open_set_table(rows)),
    ]
    if compared:
        found.append(
            (f"Files in pairs, cosine: difference, interval, permutation test; {drawn}", pairs_table(compared))
        )
    return found


def on_screen(title: str, cells: Table) -> str:
    clean = [[printable(cell, newlines=False) for cell in line] for line in cells]
    return f"{title}\n{AsciiTable(clean).table}"


def in_markdown(title: str, cells: Table) -> str:
    header, *body = [[printable(cell, newlines=False).replace("|", "\\|") for cell in line] for line in cells]
    lines = ["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *body)]
    return f"\n## {title}\n\n" + "\n".join(lines) + "\n"
