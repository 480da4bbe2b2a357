"""Opens the networks that `python -m dns.export` wrote, and checks that they are whole."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ffcv_convert.common.errors import CheckpointError

DESCRIPTION, FORMAT, VERSION = "export.json", "dns-ffcv-export", 1
SAID = ("name", "epoch", "method", "architecture", "dataset")  # of the checkpoint, on the page
AGAIN = "Export the checkpoint again: python -m dns.export"


class Exported(NamedTuple):
    """Exported networks. size_px: height and width of their images; width: numbers in an embedding; networks: modality
    -> file; checkpoint: what is said of it, by SAID."""

    folder: Path
    size_px: tuple[int, int]
    width: int
    networks: Mapping[str, Path]
    checkpoint: Mapping[str, Any]


def open_exported(folder: Path) -> Exported:
    """Read a folder of dns.export. Raises CheckpointError where it is none, where a file lacks or has other bytes."""
    path = folder / DESCRIPTION
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if (content["format"], content["version"]) != (FORMAT, VERSION):
            raise CheckpointError(f"{path}: is no {FORMAT} of version {VERSION}. {AGAIN}")
        height, width = map(int, content["size_px"])
        networks = {name: _whole(folder, entry["file"], entry["sha256"]) for name, entry in content["networks"].items()}
        checkpoint = {name: content["checkpoint"][name] for name in SAID}
        return Exported(folder, (height, width), int(content["outputs"]["embedding"]), networks, checkpoint)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; a folder of exported networks holds one. {AGAIN}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged ({type(error).__name__}: {error}). {AGAIN}") from None


def _whole(folder: Path, name: str, sha256: str) -> Path:
    path = folder / name
    if Path(name).name != name:  # a folder that was sent along may be hostile
        raise CheckpointError(f"{folder / DESCRIPTION}: names {name}, which is not in this folder. {AGAIN}")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file, but {DESCRIPTION} names it. {AGAIN}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise CheckpointError(f"{path}: damaged (its SHA-256 is not the one in {DESCRIPTION}). {AGAIN}")
    return path
