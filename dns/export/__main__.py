"""Export a trained network: one ONNX file a modality, compared with PyTorch before anything is written.

    python -m dns.export runs/llcm-seed0/best.pt
    make export CHECKPOINT=runs/llcm-seed0/best.pt ARGS='--precision=int8 --max-loss=0.5'

Options with a point in their names, such as --data.set=sysu, are those of eval.py: a published checkpoint needs the
set. Where the test set is converted, its protocols are run through the export as well. docs/export.md explains the
files.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dns.export.command import Wanted, export
from dns.export.description import PRECISIONS
from ffcv_convert.common.errors import user_errors
from ffcv_convert.common.streams import lasting_streams


def parser() -> argparse.ArgumentParser:
    description, _, more = (__doc__ or "").partition("\n")
    top = argparse.ArgumentParser(
        "python -m dns.export", description=description, epilog=more, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    top.add_argument("checkpoint", type=Path, help="a checkpoint of this program or of the published code")
    top.add_argument("--to", type=Path, metavar="FOLDER", help="by default beside the checkpoint: best-float32")
    top.add_argument("--precision", choices=PRECISIONS, default="float32", help="int8 is calibrated on training images")
    top.add_argument(
        "--max-loss", type=float, default=1.0, metavar="POINTS", help="of Rank-1 that float16 and int8 may lose: 1"
    )
    return top


def main(arguments: Sequence[str]) -> int:
    given, more = parser().parse_known_args(arguments)
    command = shlex.join(["python", "-m", "dns.export", *arguments])
    to = given.to or given.checkpoint.with_name(f"{given.checkpoint.stem}-{given.precision}")
    report(export(Wanted(given.checkpoint, to, given.precision, given.max_loss, tuple(more), command)), to)
    return 0


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
