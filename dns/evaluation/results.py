"""Reads, checks, extends and writes a run's result.json and result.md, one process at a time."""

import errno
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from dns.evaluation.tables import HOW, Row, markdown, remarks, screen
from ffcv_convert.common import atomic
from ffcv_convert.common.errors import ReportError, after_failed_write
from ffcv_convert.common.locks import lock

WAIT_S = 60.0  # for another process that writes its rows: seconds, unless it hangs


def merge(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """Return `old` rows, then `new` ones; a new row replaces the old one that was made in the same way (HOW)."""
    kept, fresh = [], list(new)
    for row in old:
        again = next((one for one in fresh if _same_way(row, one)), None)
        if again is not None:
            fresh.remove(again)
        kept.append(again or row)
    return kept + fresh


def _same_way(old: Row, new: Row) -> bool:
    """Whether two rows were made in the same way. An old one of an earlier version lacks the last three."""
    later = ("weights", "images", "normalisation")
    return all(old.get(key) == new.get(key) or (key in later and not old.get(key)) for key in {*HOW, *later})


def read_json(path: Path) -> dict[str, Any]:
    """Read a result.json; empty if there is none. Raises ReportError for one that cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
    except (ValueError, OSError) as error:
        raise ReportError(f"{path}: not a readable result ({error}). Restore it, or move it away") from None
    return content


def read_rows(path: Path, key: str) -> list[Row]:
    """Read the rows of a finished run's result.json. key: `training` for the last epoch's row and, if it is another,
    the best one's; `evaluation` for these and the rows of eval.py. Raises ReportError where there are none."""
    rows = read_json(path).get(key)
    if not rows:
        raise ReportError(f"{path}: lacks the rows of {key}. Move it away, then run the same command again")
    return rows


def read_markdown(path: Path) -> str:
    """Return the table of a result.json, as result.md holds it: that file may be gone. Raises ReportError."""
    return markdown(read_rows(path, "evaluation"), path.absolute().parent.name)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` when it is whole, and is removed otherwise. Raises ReportError where the disk is
    full or fails, and while another process writes it."""
    with writing(path), atomic.replacing(path) as file:
        yield file


def write_text(path: Path, text: str) -> None:
    """Write the file whole or not at all. Raises ReportError."""
    with replacing(path) as file:
        file.write(text.encode(errors="backslashreplace"))  # a folder's name may be no UTF-8


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the disk, which does not name the file, into a ReportError that does."""
    try:
        yield
    except BlockingIOError:
        raise ReportError(f"{path}: another process is writing it. Wait for it to end, then try again") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ReportError(f"{error.filename}: {error.strerror}. Remove it, then try again") from None
        what = f"could not be written ({error.strerror or error})"
        raise ReportError(f"{path}: {what}. {after_failed_write(error)}") from None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


@contextmanager
def results_lock(folder: Path) -> Iterator[None]:
    """Let only one process at a time write the results of a run. It locks the folder above `folder`, because a training
    locks its own folder from start to end. Raises ReportError after waiting for WAIT_S."""
    descriptor = os.open(folder.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _wait_for_lock(descriptor, folder.absolute().parent)
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int, folder: Path) -> None:
    try:
        return lock(descriptor, folder)
    except BlockingIOError:
        print(f"note: {folder}: waiting for another process that writes a result in it", file=sys.stderr)
    try:
        lock(descriptor, folder, wait_s=WAIT_S)
    except BlockingIOError:
        raise ReportError(
            f"{folder}: another process has been writing a result in it for {WAIT_S:g} s. If it hangs, end it "
            "(lslocks names it), then run the same command again"
        ) from None


def show(rows: Sequence[Row], title: str) -> None:
    """Print the rows as a table, and what is to be known about some of them as warnings."""
    print(screen(rows, title))
    for remark in (remark for row in rows for remark in remarks(row)):
        print(f"warning: {remark}", file=sys.stderr)


def add_rows(rows: Sequence[Row], folder: Path) -> None:
    """Show the rows, and add them to the folder's result.json and result.md."""
    folder.mkdir(parents=True, exist_ok=True)
    title, result = folder.absolute().name, folder / "result.json"
    show(rows, title)
    with results_lock(folder):
        before = read_json(result)
        merged = merge(before.get("evaluation", []), rows)
        write_json(result, {**before, "evaluation": merged})
        write_text(folder / "result.md", markdown(merged, title))
    print(f"written: {result}, {result.with_suffix('.md')}")
