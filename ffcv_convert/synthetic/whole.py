"""Fills a folder with drawn files completely or not at all, once: a file in it says what it was drawn from."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ffcv_convert.common.atomic import partial_folder
from ffcv_convert.common.errors import DataError, as_data_errors, named


def stored(path: Path) -> dict[str, Any] | None:
    """Return what a folder's file says that it was drawn from; None where it is missing or damaged."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    # Older sets name no layout, because there was only one.
    return {"layout": "llcm", "official_size": False, **about} if isinstance(about, dict) else None


def drawn_once(root: Path, file: str, about: Mapping[str, Any], write: Callable[[Path], int], *, option: str) -> int:
    """Let `write` fill `root`, and return what it returns; 0 where `root` is there and its `file` says `about`.

    Raises DataError, which names the command's `option`, and changes nothing, if `root` holds anything else or another
    process is drawing it. The folder appears only when it is complete.
    """
    if _is_there(root, file, about, option):
        return 0
    root.parent.mkdir(parents=True, exist_ok=True)
    partial = root.with_name(f"{root.name}.dns-ffcv.partial")  # a name that no folder of a user has
    with as_data_errors(), partial_folder(partial):
        if _is_there(root, file, about, option):  # another process has finished it since the first check
            return 0
        count = write(partial)
        with named(partial / file):
            (partial / file).write_text(json.dumps(about), encoding="utf-8")
        os.replace(partial, root)
    return count


def _is_there(root: Path, file: str, about: Mapping[str, Any], option: str) -> bool:
    """Whether `root` holds what is to be drawn. Raises DataError if it holds anything else."""
    if root.exists() and stored(root / file) != about:
        raise DataError(f"{root}: exists, but is not this set. Remove it, or name another folder with {option}")
    return root.exists()
