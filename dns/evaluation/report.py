"""Rows of results: as a table on the screen, as Markdown, as JSON. Every row says how it came about."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from statistics import mean, pstdev
from typing import Any, BinaryIO

from terminaltables import AsciiTable

from dns.evaluation.metrics import Metrics

HOW = ("dataset", "protocol", "feature", "flip", "re_ranking", "precision", "checkpoint")  # how a row came about
SHOWN_RANKS = (1, 5, 10, 20)


def make_row(protocol: str, results: Sequence[Metrics], **how: Any) -> dict[str, Any]:
    """Mean and (population) standard deviation over trials, in [0, 1], every trial kept. how: flip, re_ranking,
    checkpoint, ..."""
    columns = {f"rank{rank}": [result.cmc[rank - 1] for result in results] for rank in SHOWN_RANKS}
    columns |= {"mAP": [result.mAP for result in results], "mINP": [result.mINP for result in results]}
    row: dict[str, Any] = {"protocol": protocol, **how, "trials": len(results)}
    for name, values in columns.items():
        row[name], row[f"{name}_std"] = mean(values), pstdev(values)
    row["chance"] = mean(result.chance for result in results)
    row["per_trial"] = [asdict(result) for result in results]
    return row


def merge(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """`old` rows, then `new` ones; a new row stands where an old one stood that came about in the same way."""

    def how(row: Mapping[str, Any]) -> tuple:
        return tuple(row.get(key) for key in HOW)

    fresh = {how(row): row for row in new}
    return [fresh.pop(how(row), row) for row in old] + list(fresh.values())


def table(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Header and cells, in per cent; the deviation over trials behind Rank-1 and mAP."""
    names = [f"rank{rank}" for rank in SHOWN_RANKS] + ["mAP", "mINP"]
    cells = [["data set", "protocol", *names, "trials", "feature", "flip", "re-ranking", "precision", "checkpoint"]]
    for row in rows:
        numbers = [
            f"{100 * row[name]:.2f}" + (f" ± {100 * row[name + '_std']:.2f}" if name in ("rank1", "mAP") else "")
            for name in names
        ]
        how = [str(row["trials"]), *(row.get(key, "") for key in HOW[2:])]
        cells.append([row["dataset"], row["protocol"], *numbers, *how])
    return cells


def screen(rows: Sequence[Mapping[str, Any]], title: str) -> str:
    return AsciiTable(table(rows), title).table


def markdown(rows: Sequence[Mapping[str, Any]], title: str) -> str:
    header, *body = table(rows)
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *body)]
    return f"# {title}\n\nPer cent, mean over the trials.\n\n" + "\n".join(lines) + "\n"


class ReportError(Exception):
    """A result that cannot be read or written; the message names the file and the next step."""


def read_json(path: Path) -> dict[str, Any]:
    """A result.json; empty if there is none. Raises ReportError for a damaged one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (ValueError, OSError) as error:
        raise ReportError(f"{path}: not a readable result ({error}). Restore it, or move it away") from None
    if not isinstance(content, dict):
        raise ReportError(f"{path}: not a result of this program. Move it away")
    return content


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when it is whole, and is gone otherwise. Raises ReportError."""
    partial = path.with_name(path.name + ".partial")
    try:
        with writing(path):
            with open(partial, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Whole or not at all. Raises ReportError."""
    with replacing(path) as file:
        file.write(text.encode(errors="backslashreplace"))  # a folder's name may be no UTF-8


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the disk, which does not name the file, into a ReportError that does."""
    try:
        yield
    except OSError as error:
        raise ReportError(
            f"{path}: could not be written ({error.strerror}). Free some space, then give the same command again"
        ) from None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Write a run's results while no other process does; on file systems without locks, nobody waits. The lock is of
    the folder that holds `folder`, whose own is held all through a training."""
    descriptor = os.open(folder.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def add_rows(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Show the rows, and put them among those of the folder's result.json and result.md."""
    folder.mkdir(parents=True, exist_ok=True)
    title, result = folder.absolute().name, folder / "result.json"
    print(screen(rows, title))
    with in_turn(folder):
        before = read_json(result)
        merged = merge(before.get("evaluation", []), rows)
        write_json(result, {**before, "evaluation": merged})
        write_text(folder / "result.md", markdown(merged, title))
    print(f"written: {result}, {result.with_suffix('.md')}")
