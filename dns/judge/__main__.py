"""Rank features of any method under every convention of a data set.

    python -m dns.judge a.npz b.npz --dataset=llcm
    make judge FEATURES='a.npz b.npz' DATASET=llcm
    make judge FEATURES=a.npz DATASET=llcm ARGS=--claim=rank1=57.45,mAP=64.11

A row of features is an image of the converted set's test part: by its name where the file has names, else in the order
of the test part, or of the published code (--order=published). docs/judge.md says what a file may look like.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from dns.evaluation import results
from dns.evaluation.protocols import PROTOCOLS
from dns.evaluation.tables import Row, in_markdown, markdown, on_screen, screen
from dns.judge.beside import TITLE, pairs, pairs_table
from dns.judge.claims import agrees, read_claim, verdict
from dns.judge.conventions import Judged, Refused, cannot_give, judge, protocols_of
from dns.judge.features import Features, read_features
from dns.judge.orders import KNOWN_ORDER, Placed, place, place_published
from dns.judge.report import write_report
from dns.judge.subject import Subject, digest, open_subject
from ffcv_convert.common.errors import ConfigError, user_errors
from ffcv_convert.common.streams import lasting_streams

CLAIMED = " = the claim"


def parser() -> argparse.ArgumentParser:
    description, _, more = (__doc__ or "").partition("\n")
    top = argparse.ArgumentParser(
        "python -m dns.judge", description=description, epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    top.add_argument("files", nargs="+", type=Path, metavar="FILE", help="features: .npz, .npy, .csv, .pt, .pth, .mat")
    top.add_argument("--dataset", default="synthetic", type=str.lower, help="whose conventions: sysu, llcm, ...")
    top.add_argument("--beton-root", type=Path, default=Path("Beton"), help="folder that holds the converted sets")
    top.add_argument("--labels", type=Path, help="identities, cameras, modalities, names: of a set not converted")
    top.add_argument("--trial", type=int, help="RegDB's split, 1 to 10; the gallery of --order=published, 0 to 9")
    top.add_argument("--order", choices=["set", "published"], default="set", help="of rows without names")
    top.add_argument("--protocol", choices=list(PROTOCOLS), help="whose queries and gallery --order=published has")
    top.add_argument("--re-ranking", action="store_true", help="add rows of k-reciprocal re-ranking")
    top.add_argument("--claim", type=str, help="published numbers to look for, such as rank1=57.45,mAP=64.11")
    top.add_argument("--write", type=Path, metavar="FOLDER", help="write judge.json and judge.md into this folder")
    top.add_argument("--report", action="store_true", help="write a report of each file into the folder of --write")
    top.add_argument("--no-images", action="store_true", help="leave the test images out of the report")
    return top


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    claim = read_claim(options.claim) if options.claim else None
    if options.report and not options.write:
        raise ConfigError("--report: needs a folder to write into. Add --write=FOLDER")
    files = [read_features(path) for path in options.files]
    subject = open_subject(options.dataset, options.beton_root, files, options.labels, options.trial)
    protocols = protocols_of(options.dataset, subject.test)
    judged: list[Judged] = []
    refused: list[Refused] = []
    each = _placed(files, subject, options)
    for placed in each:
        about = {"precision": "as stored", "checkpoint": placed.name, "weights": digest(placed), **subject.about}
        more, less = judge(placed, protocols, subject.test, re_ranking=options.re_ranking, about=about)
        judged += more
        refused += [*less, *cannot_give(placed, re_ranking=options.re_ranking)]
    if not judged:
        raise ConfigError(f"{options.files[0]}: gives no row. {refused[0].what}: {refused[0].reason}")
    compared, different = pairs(judged)
    report([one.row for one in judged], compared, [*dict.fromkeys([*refused, *different])], options, claim)
    if options.report:
        write_pages(each, judged, subject, options, shlex.join(["python", "-m", "dns.judge", *arguments]))
    return 0


def report(
    rows: Sequence[Row], compared: Sequence[Row], refused: Sequence[Refused], options: argparse.Namespace,
    claim: dict[str, Decimal] | None,
) -> None:  # fmt: skip
    """Print the tables, and write them where --write says so."""
    shown: list[Row] = [
        {**row, "protocol": row["protocol"] + CLAIMED} if claim and agrees(row, claim) else row for row in rows
    ]
    title = f"{options.dataset}: per cent, mean over the trials"
    print(screen(shown, title))
    tables = [(TITLE, pairs_table(compared))] if compared else []
    for title_below, cells in tables:
        print(on_screen(title_below, cells))
    print("Not in the table:", *(f"  {what}: {reason}" for what, reason in refused), sep="\n")
    if claim:
        print(verdict(rows, claim))
    if options.write:
        content = {"rows": list(rows), "pairs": list(compared), "left_out": [one._asdict() for one in refused]}
        write(options.write, content, markdown(shown, title) + "".join(in_markdown(*table) for table in tables))


def write_pages(
    each: Sequence[Placed], judged: Sequence[Judged], subject: Subject, options: argparse.Namespace, command: str
) -> None:
    """Write a report of each file's features; those of several files go into folders of their names."""
    for placed in each:
        rows = [one for one in judged if one.file == placed.name]
        folder = options.write / placed.name if len(each) > 1 else options.write
        with results.writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        images = not options.no_images
        page = write_report(folder, placed, rows, subject, options.dataset, command=command, images=images)
        print(f"written: {page}")


def _placed(files: Sequence[Features], subject: Subject, options: argparse.Namespace) -> list[Placed]:
    if options.order == "set":
        if options.protocol:
            raise ConfigError("--protocol: only says what --order=published is of. Add it, or leave --protocol out")
        return [place(features, subject.test) for features in files]
    protocol = PROTOCOLS[options.protocol or protocols_of(options.dataset, subject.test)[0].name]
    family = protocol.name.partition("-")[0]
    if family not in KNOWN_ORDER:
        raise ConfigError(
            f"--order=published: the lists of {protocol.name} are not known, those of {', '.join(KNOWN_ORDER)} are. "
            "Save the names of the images beside the features"
        )
    number = 0 if family == "regdb" else options.trial or 0
    galleries = len(protocol.galleries(subject.test))
    if not 0 <= number < galleries:
        raise ConfigError(f"--trial={number}: {protocol.name} has the galleries 0 to {galleries - 1}. Name one of them")
    return place_published(files, subject.test, protocol.trials(subject.test, [number])[0])


def write(folder: Path, content: dict[str, Any], tables: str) -> None:
    """Write judge.json and judge.md. Raises ReportError."""
    with results.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    results.write_json(folder / "judge.json", content)
    results.write_text(folder / "judge.md", tables)
    print(f"written: {folder / 'judge.json'}, {folder / 'judge.md'}")


if __name__ == "__main__":
    with lasting_streams(), user_errors("stopped"):
        sys.exit(main(sys.argv[1:]))
