"""Compares files in pairs, for a table below the others."""

from collections.abc import Sequence
from itertools import combinations

from dns.evaluation.intervals import DRAWS, SEED, STATISTICS, paired, sums_of
from dns.evaluation.tables import Row, Table
from dns.judge.conventions import COSINE, Judged, Refused

TITLE = f"Files in pairs, cosine: difference, 95 % interval, p of a permutation test; {DRAWS:,} draws, seed {SEED}"


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
