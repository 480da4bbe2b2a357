"""Sets runs side by side: their results and curves, and the queries that one finds and another misses."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from dns.evaluation import results
from dns.evaluation.tables import Row, below, remarks, table
from dns.report import figures, html
from dns.report.page import Parts, document
from dns.report.write import FIGURES, write
from dns.training.log import JsonLines, Line
from dns.training.options import DEFAULT_METHOD
from dns.training.run_folder import CONFIG
from ffcv_convert.common.errors import ReportError

COMPARABLE = ("protocol", "feature", "flip", "re_ranking")  # rows that differ in these say nothing of the runs
MOST = 20  # queries shown for each pair of runs and protocol, in each direction
Images = Callable[[Sequence[str]], Mapping[str, str]]  # paths of test images -> data URIs of those that can be shown


@dataclass(frozen=True)
class Query:
    """One query of a run's report/queries.csv. first: see ranked.query_table."""

    path: str
    identity: int
    first: int
    precision: float
    nearest: str
    nearest_identity: int


@dataclass(frozen=True)
class Run:
    """What a run's folder holds. method, epochs: those of its config.yaml, "" without one; rows: result.json's; lines:
    log.jsonl's, by kind; queries: protocol -> path -> query, empty without a report."""

    name: str
    method: str
    epochs: str
    rows: Sequence[Row]
    lines: Mapping[str, Sequence[Line]]
    queries: Mapping[str, Mapping[str, Query]]


def read_run(folder: Path) -> Run:
    """Read a run's folder. Raises ReportError where it lacks a result, or where a file of it is damaged."""
    result = folder / "result.json"
    if not result.exists():
        raise ReportError(
            f"{result}: no such result. Name the folder of a run that was tested, such as runs/llcm-seed0"
        )
    log = JsonLines(folder / "log.jsonl")
    lines = {kind: log.read(kind) for kind in ("train", "epoch", "eval")}
    rows = results.read_rows(result, "evaluation")
    queries = _queries(folder / FIGURES / "queries.csv")
    return Run(folder.absolute().name, *_trained(folder / CONFIG), rows, lines, queries)


def _trained(config: Path) -> tuple[str, str]:
    """Return the method and the number of epochs of a run. Raises ReportError for a damaged configuration."""
    if not config.exists():
        return "", ""
    try:
        stored = yaml.safe_load(config.read_text(encoding="utf-8"))
        return stored.get("model", {}).get("method", DEFAULT_METHOD), str(stored["optim"]["epochs"])
    except (OSError, ValueError, yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise ReportError(f"{config}: damaged ({error}). Name the folder of another run") from None


def _queries(path: Path) -> dict[str, dict[str, Query]]:
    found: dict[str, dict[str, Query]] = {}
    if not path.exists():
        return found
    try:
        with open(path, encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                if line["AP"]:  # a query without a match can be neither found nor missed
                    found.setdefault(line["protocol"], {})[line["query"]] = Query(
                        line["query"], int(line["identity"]), int(line["first"]), float(line["AP"]),
                        line["nearest"], int(line["nearest identity"]),
                    )  # fmt: skip
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise ReportError(f"{path}: damaged ({error}). Write that run's report again: make report") from None
    return found


def compare(folders: Sequence[Path], target: Path, images: Images) -> Path:
    """Write a page on these runs into `target`. Returns its path. Raises ReportError."""
    runs = [read_run(folder) for folder in folders]
    if len({run.name for run in runs}) < len(runs):  # such as trial-1 of several runs
        above = [folder.absolute().parent.name for folder in folders]
        runs = [replace(run, name=f"{name}/{run.name}") for name, run in zip(above, runs, strict=True)]
    if len({run.name for run in runs}) < len(runs):
        raise ReportError(f"{', '.join(map(str, folders))}: two runs of one name. Rename the folder of one")
    parts = Parts()
    _show_results(parts, runs)
    charts = figures.training_charts({run.name: run.lines for run in runs})
    if charts:
        parts.section("training", "Training", parts.charts(charts))
    for run in runs[1:]:
        _show_queries(parts, runs[0], run, images)
    without = [run.name for run in runs if not run.queries]
    lead = html.paragraph(
        f"Without a report, and so without their queries: {', '.join(without)}. Write theirs first: make report "
        "CHECKPOINT=runs/.../best.pt"
        if without
        else "The queries are those of each run's last report, first trial."
    )
    target.mkdir(parents=True, exist_ok=True)
    return write(target, document(" and ".join(run.name for run in runs), lead, {}, parts.sections), parts.files())


def _show_results(parts: Parts, runs: Sequence[Run]) -> None:
    header = ["run", "method", "epochs", *table(runs[0].rows)[0]]
    pairs = [
        (row, [run.name, run.method, run.epochs, *cells])
        for run in runs
        for row, cells in zip(run.rows, table(run.rows)[1:], strict=True)
    ]
    # Rows that can be compared stand together; within them, the runs in the order in which they were named.
    lines = [cells for _, cells in sorted(pairs, key=lambda pair: [str(pair[0].get(key, "")) for key in COMPARABLE])]
    parts.tables["results"] = (header, lines)
    protocols = dict.fromkeys(row["protocol"] for run in runs for row in run.rows)
    charts = [
        figures.cmc({run.name: row for run in runs if (row := _row(run, name))}, f"cmc-{name}") for name in protocols
    ]
    note = (
        "Per cent, mean over the trials. Compare rows of one protocol, feature, flip and re-ranking; a run lacks the "
        "protocols that it was not tested under (make eval). The curves are of each run's first row of that protocol."
    )
    apart = [name for name in protocols if len({row.get("images") for run in runs if (row := _row(run, name))}) > 1]
    differ = f"These curves are of different test images, and tell nothing of the runs: {', '.join(apart)}."
    warnings = [html.paragraph(f"{remark}.") for run in runs for row in run.rows for remark in remarks(row)]
    parts.section(
        "results", "Results", html.paragraph(note, differ if apart else ""), *warnings,
        html.table(header, lines, caption="All results"), *_uncertain(parts, runs), parts.charts(charts),
    )  # fmt: skip


def _uncertain(parts: Parts, runs: Sequence[Run]) -> list[str]:
    """Return the tables below that of the results, each of all runs, as HTML."""
    found = []
    each = [(run.name, below(run.rows)) for run in runs]
    for place, name in enumerate(("intervals", "open-set")):
        of_runs = [(run, *tables[place]) for run, tables in each if tables]
        lines = [[run, *cells] for run, _, (_, *body) in of_runs for cells in body]
        if lines:
            _, title, (header, *_) = of_runs[0]
            parts.tables[name] = (["run", *header], lines)
            found.append(html.table(["run", *header], lines, caption=title))
    return found


def _row(run: Run, protocol: str) -> Row | None:
    return next((row for row in run.rows if row["protocol"] == protocol), None)


def differing(one: Mapping[str, Query], other: Mapping[str, Query]) -> list[tuple[Query, Query]]:
    """Return the queries of both runs that `one` finds at rank 1 and `other` does not, the largest loss of AP first."""
    pairs = [(query, other[path]) for path, query in one.items() if path in other]
    pairs = [(here, there) for here, there in pairs if here.first == 1 < there.first]
    return sorted(pairs, key=lambda pair: pair[1].precision - pair[0].precision)


def _show_queries(parts: Parts, one: Run, other: Run, images: Images) -> None:
    for protocol in [name for name in one.queries if name in other.queries]:
        inside = []
        for finds, misses in ((one, other), (other, one)):
            pairs = differing(finds.queries[protocol], misses.queries[protocol])
            both = len(finds.queries[protocol].keys() & misses.queries[protocol].keys())
            said = f"{finds.name} finds {len(pairs)} of {both} queries that {misses.name} misses"
            paths = [path for here, there in pairs[:MOST] for path in (here.path, here.nearest, there.nearest)]
            shown = images(paths)
            items = "".join(_item(finds, here, misses, there, shown) for here, there in pairs[:MOST])
            first = f"; the {MOST} with the largest loss of AP" if len(pairs) > MOST else ""
            inside.append(f'<h3>{html.text(said + first)}</h3><ul class="queries">{items}</ul>')
            parts.tables[f"found-{len(parts.tables)}"] = (
                ["protocol", "query", "found by", "AP", "missed by", "AP there", "first right rank there"],
                [
                    [protocol, here.path, finds.name, here.precision, misses.name, there.precision, there.first]
                    for here, there in pairs
                ],
            )
        anchor = f"queries-{len(parts.sections)}"
        parts.section(anchor, f"Queries of {protocol}, {one.name} and {other.name}", *inside)


def _item(finds: Run, here: Query, misses: Run, there: Query, images: Mapping[str, str]) -> str:
    cells = [
        _cell("asked", "query", here.path, here.identity, images),
        _cell("right", f"{finds.name} ✓", here.nearest, here.nearest_identity, images),
        _cell("wrong", f"{misses.name} ✗", there.nearest, there.nearest_identity, images),
    ]
    said = f"AP {100 * here.precision:.1f} % and {100 * there.precision:.1f} %, first right rank {there.first} there"
    return (
        f'<li class="query" data-group="found by {html.text(finds.name)}"><p>{html.text(said)} <span class="quiet">'
        f'{html.text(here.path)}</span></p><ul class="row">{"".join(cells)}</ul></li>'
    )


def _cell(kind: str, name: str, path: str, identity: int, images: Mapping[str, str]) -> str:
    said = f"{name}, identity {identity}"
    shown = html.image(images[path], said) if path in images else f'<span class="blank">{identity}</span>'
    return f'<li class="cell {kind}">{shown}<b>{html.text(name)}</b><br>identity {identity}</li>'
