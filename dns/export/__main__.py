"""Export a trained network: one ONNX file a modality, compared with PyTorch before anything is written.

    python -m dns.export --eval.checkpoint=runs/llcm-seed0/best.pt
    make export DATASET=llcm ARGS='--precision=int8 --max-loss=0.5'
    make export DATASET=sysu CHECKPOINT=sysu_p6_n4_lr_0.2_seed_0_best.pth

The checkpoint, the data set and everything else with a point in its name are chosen as eval.py chooses them. Where the
test set is converted, its protocols are run through the export as well. docs/export.md explains the files.
"""

import argparse
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dns.export.command import Wanted, export
from dns.export.description import PRECISIONS
from dns.training.config import given_options
from dns.training.selection import checkpoint_pattern, expand_pattern
from ffcv_convert.common.errors import ConfigError, user_errors
from ffcv_convert.common.streams import lasting_streams

MAX_LOSS = 1.0
# Options of eval.py that change nothing here.
NOT_ASKED = ("engine.", "report.", "eval.features", "eval.export", "eval.re_ranking")


def points(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def parser() -> argparse.ArgumentParser:
    description, _, more = (__doc__ or "").partition("\n")
    top = argparse.ArgumentParser(
        "python -m dns.export", description=description, epilog=more, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    top.add_argument("--to", type=Path, metavar="FOLDER", help="by default beside the checkpoint: best-float32")
    top.add_argument("--precision", choices=PRECISIONS, default="float32", help="int8 is calibrated on training images")
    top.add_argument(
        "--max-loss", type=points, metavar="POINTS", help="of Rank-1 that float16 and int8 may lose; by default 1"
    )
    return top


def main(arguments: Sequence[str]) -> int:
    given, more = parser().parse_known_args(arguments)
    if given.max_loss is not None and given.precision == "float32":
        raise ConfigError("--max-loss: float32 loses nothing. Leave it out, or add --precision=float16 or int8")
    for name in given_options(more):
        if name.startswith(NOT_ASKED):
            raise ConfigError(f"--{name}: an export computes in float32 on the CPU and writes one folder. Leave it out")
    command = shlex.join(["python", "-m", "dns.export", *arguments])
    path, trial = chosen(more)
    loss = MAX_LOSS if given.max_loss is None else given.max_loss
    to = given.to or path.with_name(f"{path.stem}-{given.precision}")
    report(export(Wanted(path, trial, to, given.precision, loss, tuple(more), command)), to)
    return 0


def chosen(options: Sequence[str]) -> tuple[Path, int]:
    """Return the checkpoint that the options name, and its trial, or 0. Raises ConfigError where they name several."""
    found = expand_pattern(*checkpoint_pattern(given_options(options)))
    if len(found) > 1:
        raise ConfigError(
            f"{len(found)} checkpoints of trials or seeds, {found[0][0]} first. Name one: --eval.checkpoint=FILE"
        )
    return found[0]


def report(content: dict[str, Any], folder: Path) -> None:
    """Print what was compared and written, and how to use it."""
    parity = content["parity"]
    print("largest difference from PyTorch:", _listed(parity["outputs"], "batch "))
    if parity["openvino"] is not None:
        print("OpenVINO's from onnxruntime:", _listed(parity["openvino"], "hint "))
    for row in parity["protocols"]:
        shares = ", ".join(f"{name} {row['torch'][name]:.2f} -> {row['export'][name]:.2f}" for name in row["torch"])
        print(f"{row['protocol']}: {shares}; {row['places']:,} of {row['of']:,} images at another place, "
              f"whose similarities differ by {row['farthest']:.1e} at most")  # fmt: skip
    if not parity["protocols"]:
        print(f"the protocols were not run: {parity['not_run']}")
    high, wide = content["size_px"]
    for name, about in content["networks"].items():
        print(f"written: {folder / about['file']}, {about['bytes'] / 1e6:.1f} MB")
        shapes = [
            f"--{kind}Shapes=images:{batch}x{high}x{wide}x3" for kind, batch in (("min", 1), ("opt", 16), ("max", 64))
        ]
        print(f"  TensorRT (not tried): trtexec --onnx={about['file']} {' '.join(shapes)} --saveEngine={name}.plan")


def _listed(numbers: dict[str, float], what: str) -> str:
    return ", ".join(f"{what}{name} {number:.1e}" for name, number in numbers.items())


if __name__ == "__main__":
    with lasting_streams(), user_errors("stopped; nothing was written"):
        sys.exit(main(sys.argv[1:]))
