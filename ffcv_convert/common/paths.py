"""Reads paths as users type them, and asks whether they can be written."""

import os
from pathlib import Path

from ffcv_convert.common.errors import ConfigError


def expanded(text: str) -> str:
    """Return `text` with the home folder in place of a leading ~, which a shell does not expand after `--option=`.

    Raises ConfigError if there is no such home, because a folder named ~ would be made.
    """
    path = os.path.expanduser(text)
    if text.startswith("~") and (path.startswith("~") or os.environ.get("HOME") == ""):
        raise ConfigError(f"{text}: no home folder is known for it. Name the path in full, or as ./{text}")
    return path


def can_write(folder: Path) -> bool:
    """Whether files can be made in a folder or, where there is none yet, in the nearest one above it."""
    nearest = next(one for one in (folder.absolute(), *folder.absolute().parents) if os.path.exists(one))
    return os.access(nearest, os.W_OK | os.X_OK)
