"""Finds files of published weights where torch.hub keeps them, after downloading those that are missing."""

import os
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import torch

from ffcv_convert.common.errors import WeightsError


def hub_file(url: str, download: Callable[[Path], object]) -> Path:
    """Return the file of a URL's name in torch.hub's folder. download: writes it there.

    Raises WeightsError where it is missing and cannot be downloaded.
    """
    if torch.hub.get_dir().startswith("~"):  # torch would make a folder named ~
        raise WeightsError(f"{url}: no home folder to keep it in. Set TORCH_HOME to a folder")
    path = Path(torch.hub.get_dir()) / "checkpoints" / os.path.basename(url)
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            download(path)
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"{url}: cannot be downloaded ({error}). Put the file at {path}, start from another one "
            "(--model.pretrained=PATH), or from random weights (--model.pretrained=none)"
        ) from None
    return path
