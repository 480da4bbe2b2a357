"""Train the rows of an ablation on a data set, each with several seeds, and set them side by side.

    python -m dns.ablation --dataset llcm [--rows configs/ablation.yaml] [--run.jobs=2] [--optim.epochs=3 ...]
    make ablation DATASET=llcm JOBS=2 ARGS='--optim.epochs=3'          # the same

Options with a point in their names are those of train_ffcv.py, and hold for all rows. Rows that have a result are not
trained again: after a stop, the same command goes on with the others. The runs, the table (ablation.md, ablation.csv)
and the page (report.html) go into runs/ablation-<set>/, or the folder below runs/ that --run.name names.
--run.dry=true shows which runs there are, and trains none. docs/ablation.md says more.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dns.ablation.plan import Planned, plan, top_folder, unfinished
from dns.ablation.rows import read_ablation
from dns.ablation.table import figures, remarks, table, write
from dns.evaluation.tables import on_screen
from dns.report.__main__ import side_by_side
from dns.training import jobs
from dns.training.run_folder import finished
from ffcv_convert.common.errors import ConfigError, ReportError, TrainingError, user_errors
from ffcv_convert.common.streams import lasting_streams

SCRIPT = Path(__file__).parents[2] / "train_ffcv.py"


def parser() -> argparse.ArgumentParser:
    description, _, more = (__doc__ or "").partition("\n")
    top = argparse.ArgumentParser(
        "python -m dns.ablation", description=description, epilog=more,
        allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    top.add_argument("--dataset", type=str.lower, default="synthetic", help="which set, as of make train")
    top.add_argument("--rows", type=Path, default=Path("configs/ablation.yaml"), help="file of the rows")
    return top


def main(arguments: Sequence[str]) -> int:
    """Train what lacks a result, and write table and page. Returns 0, or the code of the signal that stopped it.

    Raises TrainingError in the end where a run did not finish: the table then holds the others.
    """
    asked, options = parser().parse_known_args(arguments)
    names = [word.partition("=")[0] for word in options if word.startswith("-")]
    if unknown := [name for name in names if "." not in name and name != "--config-file"]:
        raise ConfigError(f"the command line: unknown option {unknown[0]}. python -m dns.ablation --help lists all")
    rows = plan(read_ablation(asked.rows), asked.dataset, options)
    run, device = rows[0].members[0].config.run, rows[0].members[0].config.engine.device
    left = unfinished(rows)
    show_plan(rows, [member.folder for member in left])
    if run.dry:
        return 0
    failed = None
    try:
        code = jobs.train_all(SCRIPT, [member.run for member in left], device, run.jobs) if left else 0
    except TrainingError as error:
        code, failed = 0, error
    if code:
        return code
    show_results(rows)
    if failed:
        raise failed
    return 0


def show_plan(rows: Sequence[Planned], left: Sequence[Path]) -> None:
    """Print every row and where its runs are. left: the folders of those that are to be trained."""
    cells = [["row", "runs", "to train"]]
    for row in rows:
        folders = [member.folder for member in row.members]
        to_train = f"the runs of {row.same_as}" if row.same_as else f"{len(set(folders) & set(left))} of {len(folders)}"
        cells.append([row.row.name, ", ".join(map(str, folders)), to_train])
    print(on_screen("ablation", cells), flush=True)


def show_results(rows: Sequence[Planned]) -> None:
    """Print the table and write it, and the page on one run of each row: the first seed's, and the first trial's."""
    found, folder = figures(rows), top_folder(rows)
    if not found:
        return
    print(on_screen(folder.name, table(found)))
    print("\n".join(remarks(found)))
    for path in write(folder, folder.name, found):
        print(f"written: {path}")
    shown = [row.members[0].folder for row in rows if not row.same_as and finished(row.members[0].folder)]
    if len(shown) < 2:
        return
    try:
        images = rows[0].members[0].config.report.images
        print(f"written: {side_by_side(shown, folder, images=images)}")
    except ReportError as error:
        print(f"note: {error}. The table stands", file=sys.stderr)


if __name__ == "__main__":
    with lasting_streams(), user_errors():
        sys.exit(main(sys.argv[1:]))
