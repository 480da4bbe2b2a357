"""What do exported networks differ in from PyTorch, and what do float16 and int8 lose?

    make export CHECKPOINT=runs/synthetic-seed0/last.pt ARGS=--precision=int8
    python -m benchmarks.exports runs/synthetic-seed0/last-*

Collects what the export.json of these folders says into benchmarks/results/exports-<hardware>-<date>.json and prints
the table: a row a folder. The folders have to be of one version of this program and of the libraries, and of the
machine that collects them.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.seeds import store
from dns.export import description
from dns.methods import METHODS
from dns.training.environment import environment
from ffcv_convert.common.errors import CheckpointError, UserError

HEADER = (
    "method", "architecture", "images", "precision", "difference, batch 1", "batch 3", "batch 48", "OpenVINO, f32",
    "OpenVINO, bf16", "Rank-1, PyTorch", "exported", "points lost", "other places", "MB",
)  # fmt: skip
PER_COMMIT = ("commit", "modified")  # may differ where the sources are the same


def read(folder: Path) -> dict[str, Any]:
    """Return the row of an exported folder. Raises CheckpointError where its files are not what export.json says."""
    content = description.read(folder)
    parity, trained = content["parity"], content["checkpoint"]
    return {
        **{key: trained[key] for key in ("method", "architecture", "dataset", "epoch")},
        **{key: content[key] for key in ("size_px", "precision", "calibration", "versions")},
        **{key: parity[key] for key in ("images", "outputs", "openvino", "not_run")},
        "protocol": parity["protocols"][0] if parity["protocols"] else None,
        "bytes": sum(about["bytes"] for about in content["networks"].values()),
    }


def gather(rows: Sequence[dict[str, Any]], place: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rows in the table's order, networks whose protocols were run first, and with what they were made.
    place: the environment that collects. Raises CheckpointError where the folders are of several versions."""
    versions = [{key: value for key, value in row["versions"].items() if key not in PER_COMMIT} for row in rows]
    if any(one != versions[0] for one in versions):
        raise CheckpointError(
            "the folders are of different versions of this program or of the libraries. Export all checkpoints again"
        )
    methods = list(METHODS)

    def order(row: Mapping[str, Any]) -> tuple[Any, ...]:
        precision = description.PRECISIONS.index(row["precision"])
        return row["protocol"] is None, row["architecture"], methods.index(row["method"]), precision

    own = [{key: value for key, value in row.items() if key != "versions"} for row in sorted(rows, key=order)]
    return {"rows": own, "environment": {**place, **rows[0]["versions"]}}


def table(content: Mapping[str, Any]) -> str:
    """Return Markdown: a row a folder; Rank-1 in per cent, of the first protocol."""
    lines = [list(HEADER), ["---"] * len(HEADER), *(_cells(row) for row in content["rows"])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _cells(row: Mapping[str, Any]) -> list[str]:
    height, width = row["size_px"]
    openvino = row["openvino"] or {}
    differences = [*row["outputs"].values(), *(openvino.get(hint) for hint in ("f32", "bf16"))]
    return [
        row["method"], row["architecture"], f"{height} x {width}", row["precision"],
        *("not installed" if number is None else f"{number:.1e}" for number in differences),
        *_protocol_cells(row["protocol"]), f"{row['bytes'] / 1e6:.1f}",
    ]  # fmt: skip


def _protocol_cells(row: Mapping[str, Any] | None) -> list[str]:
    if row is None:
        return ["not run", "", "", ""]
    before, after = row["torch"]["rank1"], row["export"]["rank1"]
    lost = round(before - after, 2) + 0.0  # no minus before 0.00
    return [f"{before:.2f}", f"{after:.2f}", f"{lost:.2f}", f"{row['places']:,} of {row['of']:,}"]


def main(arguments: Sequence[str]) -> int:
    if not arguments:
        print(__doc__)
        return 2
    place = environment(torch.device("cpu"))
    try:
        content = gather([read(Path(folder)) for folder in arguments], place)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(table(content))
    return store("exports", content, place)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
