"""Calls the commands of the search in this process, and reads what an index holds."""

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dns.search.__main__ import main
from dns.search.rows import Row
from dns.search.store import Index

CPU = ["--engine.device=cpu", "--engine.precision=fp32"]
# As a person types them in a folder with footage and a checkpoint:
BOXES, FRAMES, NETWORK = "--boxes=Footage/boxes.csv", "--frames=Footage", "--checkpoint=last.pt"
Line = Mapping[str, str]
FIRST_LINE = ["frame", "time", "camera", "modality", "x", "y", "w", "h", "track", "person"]


def index(folder: Path, *arguments: object) -> None:
    """Run the command, which has to end well."""
    assert main(["index", *map(str, (folder, *arguments)), *CPU]) == 0


def ask(capsys: pytest.CaptureFixture, folder: Path, query: Path, *arguments: object) -> dict[str, Any]:
    """Search, and return what --json prints."""
    capsys.readouterr()
    assert main(["search", *map(str, (folder, query, "--json", *arguments)), *CPU]) == 0
    return json.loads(capsys.readouterr().out)


def rows_of(folder: Path) -> list[Row]:
    return [row for part in Index.open(folder).segments for row in part.rows(np.arange(len(part)))]


def vectors_of(folder: Path) -> np.ndarray:
    """Return float64 (N, D), as they are stored."""
    return np.concatenate([part.vectors_ND for part in Index.open(folder).segments]).astype(np.float64)


def thumbnails_of(folder: Path) -> list[bytes]:
    return [small for part in Index.open(folder).segments for small in part.thumbnails(np.arange(len(part)))]


def lines_of(footage: Path) -> list[dict[str, str]]:
    """Return the lines of its boxes.csv."""
    with open(footage / "boxes.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_list(path: Path, lines: Iterable[Line]) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIRST_LINE)
        writer.writeheader()
        writer.writerows(lines)
    return path


def other_checkpoint(path: Path, to: Path) -> Path:
    """Write a checkpoint with the same network, and another SHA-256."""
    content = torch.load(path, weights_only=False)
    torch.save({**content, "epoch": content["epoch"] + 1}, to)
    return to


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def some_boxes(path: Path, footage: Path, count: int = 4) -> list[str]:
    """Write the first lines of the footage's boxes.csv, and return the options that name them."""
    return [f"--boxes={write_list(path, lines_of(footage)[:count])}", f"--frames={footage}"]
