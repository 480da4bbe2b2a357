"""Paths as users type them."""

import os

from ffcv_convert.common.errors import ConfigError


def expanded(text: str) -> str:
    """`text` with the home folder in the place of a leading ~, which a shell leaves alone after `--option=`.

    Raises ConfigError if there is no such home: a folder named ~ would be made.
    """
    path = os.path.expanduser(text)
    if text.startswith("~") and (path.startswith("~") or os.environ.get("HOME") == ""):
        raise ConfigError(f"{text}: no home folder is known for it. Name the path in full, or as ./{text}")
    return path
