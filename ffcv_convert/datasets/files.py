"""Reads list files and image folders for all data sets."""

import codecs
import csv
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ffcv_convert.common.errors import DataError
from ffcv_convert.decoding import RESTORE
from ffcv_convert.records import Record, inside, shown

ENDINGS = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}
SYSTEM = {
    "__MACOSX", "lost+found", "System Volume Information", "Network Trash Folder", "Temporary Items", "Thumbs.db",
    "desktop.ini",
}  # fmt: skip
SEPARATORS = ",;\t|"


def is_system(name: str) -> bool:
    """Whether a file or folder belongs to a file system, a NAS or an archive tool, not to the data set: `.snapshot`,
    `@eaDir`, `#recycle`, `$RECYCLE.BIN`, `~snapshot`, `__MACOSX`, ..."""
    return name[0] in ".@#$~" or name in SYSTEM


def read_text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():  # reading a pipe or a device would never end
            raise OSError("not a regular file")
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. {RESTORE}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}). {RESTORE}") from None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or content[:8].count(0) > 2:
        raise DataError(f"{path} line 1: is UTF-16. Save the file as UTF-8")
    try:
        text = content.decode("utf-8-sig")  # some editors write a byte order mark
    except UnicodeDecodeError as error:
        line, byte = content.count(b"\n", 0, error.start) + 1, f"{content[error.start]:#x}"
        raise DataError(f"{path} line {line}: is not UTF-8 (byte {byte}). Save the file as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (place, line) for every line that is not blank; place, such as "list.txt line 3", is for messages."""
    empty = True
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            empty = False
            yield f"{path.name} line {number}", line.strip()
    if empty:
        raise DataError(f"{path}: the list is empty. {RESTORE}")


def read_table(path: Path, first_line: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (place, cells) for every row of a CSV file that is not blank, its header first; place, such as "records.csv
    line 3", is for messages. Of commas, semicolons, tabs and |, that separates which the header has most of.

    Raises DataError for a line that is no CSV, and for an empty file: `first_line` says what should stand there.
    """
    text = read_text(path)
    begin = text.find("\n") + 1
    has_hint = text[:begin].strip().lower().startswith("sep=")  # Excel's own line
    begin *= has_hint
    header = re.compile(r"\S.*").search(text, begin)
    if not header:
        raise DataError(f"{path}: is empty. Its first line should be {first_line}")
    # One line at a time: io.StringIO would take four bytes a character.
    lines = (line[0] for line in re.compile(r".*\n|.+").finditer(text, begin))
    reader = csv.reader(lines, delimiter=max(SEPARATORS, key=header[0].count), strict=True)
    try:
        for cells in reader:
            row = [cell.strip() for cell in cells]
            if any(row):  # Excel leaves rows of separators behind
                yield f"{path.name} line {reader.line_num + has_hint}", row
    except csv.Error as error:
        place = f"{path} line {reader.line_num + has_hint}"
        raise DataError(f"{place}: not readable as CSV ({error}). Correct the line") from None


def wrong_line(folder: Path, place: str, line: str, expected: str) -> DataError:
    """Return the error for a line of a list in `folder` that is not what it should be."""
    is_header = place.endswith(" line 1") and not re.search(r"[\d/\\.]", line)
    advice = "Is it a header? Remove it" if is_header else "Correct the list"
    return DataError(f"{folder / place}: {shown(line)} is not {expected}. {advice}")


def read_labelled_paths(root: Path, path: Path) -> list[tuple[str, int]]:
    """Read lines "path label" as (path below root, label)."""
    rows = []
    for place, line in read_lines(path):
        fields = line.rsplit(maxsplit=1)  # some lists use a tab
        if len(fields) != 2 or not is_number(fields[1]):
            raise wrong_line(path.parent, place, line, "a path and a number")
        rows.append((inside(root, fields[0].strip("\"'"), place), int(fields[1])))
    return rows


def refuse_swapped(source: Path, names: Sequence[str], of_other: Sequence[str], other: str) -> None:
    """Raise DataError if most `names`, which a list or folder `source` holds, are `of_other`, the other modality: each
    image would be learnt or searched as what it is not."""
    if 2 * len(of_other) > len(names):
        raise DataError(
            f"{source}: {len(of_other):,} of its {len(names):,} images are named as {other}, first {of_other[0]}. Was "
            "it swapped with that of the other modality? Restore both from one archive"
        )


def read_identities(path: Path) -> list[int]:
    """Read numbers separated by commas, on one or more lines, and return the identities in ascending order."""
    fields = [field.strip() for field in read_text(path).replace("\n", ",").split(",")]
    wrong = [field for field in fields if field and not is_number(field)]
    if wrong:
        raise DataError(f"{path}: {shown(wrong[0])} is not an identity. It should hold numbers separated by commas")
    persons = sorted({int(field) for field in fields if field})
    if not persons:
        raise DataError(f"{path}: lists no identity. {RESTORE}")
    return persons


def refuse_shared_identities(lists: Path, records: Sequence[Record]) -> None:
    """Raise DataError if the set's lists, in the folder `lists`, train and test on the same identity."""
    trained, tested = ({r.person for r in records if (r.split == "test") == tests} for tests in (False, True))
    if trained & tested:
        raise DataError(
            f"{lists}: the lists train and test on identity {min(trained & tested)}, so the test would be meaningless. "
            "Restore them from one archive"
        )


def is_number(text: str) -> bool:
    """Whether `text` is ASCII digits only and fits the int64 of a label."""
    return text.isascii() and text.isdecimal() and len(text) <= 18


def refuse_broken_link(path: Path) -> None:
    """Raise DataError if `path`, or a folder above it, is a broken link: ignoring it would shrink the set."""
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            raise DataError(
                f"{place}: a link to {os.readlink(place)}, which does not exist. Restore it or fix the link"
            )


def refuse_unpadded(folder: Path, persons: Sequence[int]) -> None:
    """Raise DataError if an identity's folder in `folder` is named 1 instead of 0001: its images would be left out."""
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:  # the code that reads its images reports it
        return
    wrong = [name for name in names if is_number(name) and len(name) != 4 and int(name) in persons]
    if wrong:
        others = f" ({len(wrong)} such folders here)" if len(wrong) > 1 else ""
        raise DataError(
            f"{folder / wrong[0]}: an identity's folder has four digits{others}. Rename it to {int(wrong[0]):04d}"
        )


def images_in(folder: Path) -> list[str]:
    """Return the sorted names of the images in `folder`; [] if there is no such folder. Links are followed.

    Names that begin with a dot are skipped: macOS packs a "._x.jpg" beside x.jpg into archives. A broken link to an
    image is listed, and a broken link to a folder raises DataError: skipping them would shrink the set silently.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name
                for entry in entries
                if os.path.splitext(entry.name)[1].lower() in ENDINGS
                and not entry.name.startswith(".")
                and not entry.is_dir()
            )
    except FileNotFoundError:
        refuse_broken_link(folder)
        return []
