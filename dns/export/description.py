"""Describes the folder of an exported network in its export.json.

visible.onnx, infrared.onnx (or sketch.onnx)   one network a modality, weights inside
    input    images     uint8 (batch, H, W, 3), RGB, at the stated size; normalisation is inside
    outputs  embedding  float32 (batch, D): what is compared, by the dot product of its rows
             bn, z      float32 (batch, width): after and before the BN neck
export.json                                    size, resize filter, statistics, checksums, versions, parity
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import CheckpointError

FORMAT, VERSION = "dns-ffcv-export", 1
FILE = "export.json"
INPUT, OUTPUTS = "images", ("embedding", "bn", "z")
MOST_NUMBERS = 1 << 16  # in an embedding, and pixels of a side: more is damage
PRECISIONS = ("float32", "float16", "int8")
AGAIN = "Export the checkpoint again: make export CHECKPOINT=..."
KINDS = {
    **dict.fromkeys(("size_px", "mean", "deviation"), list),
    **dict.fromkeys(("networks", "outputs", "checkpoint", "versions", "parity"), dict),
    **dict.fromkeys(("feature", "precision", "resize"), str),
    **dict.fromkeys(("parts", "opset"), int),
}
CHECKPOINT_KINDS = {
    "file": str, "sha256": str, "epoch": int, "method": str, "architecture": str, "dataset": str, "identities": int,
    "config": dict, "lists": dict,
}  # fmt: skip


def missing(library: str, extra: str = "export") -> str:
    """Say what to install where a library of an extra is missing."""
    return f"this needs {library}, which is not installed here: .venv/bin/pip install '.[{extra}]'"


def file_of(modality: Modality) -> str:
    return f"{modality.name.lower()}.onnx"


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def of_files(folder: Path, modalities: Sequence[Modality]) -> dict[str, dict[str, Any]]:
    """Return what export.json says of each network's file, by modality."""
    found = {}
    for modality in modalities:
        path = folder / file_of(modality)
        found[modality.name.lower()] = {"file": path.name, "sha256": digest(path), "bytes": path.stat().st_size}
    return found


def usage(content: Mapping[str, Any]) -> list[str]:
    """Return the lines of Python that embed images with the folder's network of visible images."""
    high, wide = content["size_px"]
    return [
        "import numpy, onnxruntime",
        "from PIL import Image, ImageOps",
        'session = onnxruntime.InferenceSession("visible.onnx")',
        'photo = ImageOps.exif_transpose(Image.open("photo.png")).convert("RGB")  # transparent parts: on white first',
        f"image = photo.resize(({wide}, {high}), Image.Resampling.LANCZOS)",
        "images = numpy.asarray(image)[None]  # uint8 (batch, height, width, 3)",
        '(embedding,) = session.run(["embedding"], {"images": images})  # compare rows by their dot product',
    ]


def read(folder: Path) -> dict[str, Any]:
    """Read and check export.json, and that the networks are the files that it describes. Raises CheckpointError."""
    path = folder / FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder}: a folder without {FILE}, so not an exported network. Name a checkpoint, such as best.pt in a "
            "run's folder, or a folder that `make export` wrote"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}). {AGAIN}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path}: does not describe an exported network of this program. {AGAIN}")
    if content.get("version") != VERSION:
        raise CheckpointError(f"{path}: version {content.get('version')}, this program reads {VERSION}. {AGAIN}")
    wrong = _wrong(content, KINDS) or _wrong(content["checkpoint"], CHECKPOINT_KINDS) or _wrong_parts(content)
    if wrong:
        raise CheckpointError(f"{path}: damaged ({wrong} is missing or of another type). {AGAIN}")
    _check_files(folder, content)
    return content


def _wrong(content: Mapping[str, Any], kinds: Mapping[str, type]) -> str:
    return next((name for name, kind in kinds.items() if type(content.get(name)) is not kind), "")


def _wrong_parts(content: Mapping[str, Any]) -> str:
    size_px, outputs, parts, networks = (content[name] for name in ("size_px", "outputs", "parts", "networks"))
    if len(size_px) != 2 or not all(type(side) is int and 0 < side <= MOST_NUMBERS for side in size_px):
        return "size_px"
    if set(outputs) != set(OUTPUTS) or not all(type(width) is int for width in outputs.values()):
        return "outputs"
    width = outputs["bn"]
    if not 0 < width <= MOST_NUMBERS or outputs["z"] != width or outputs["embedding"] not in (width, 2 * width):
        return "outputs"
    if not 0 < parts <= width or width % parts:
        return "parts"
    if not re.fullmatch(r"\w+", content["checkpoint"]["dataset"]):
        return "checkpoint: dataset"
    others = {modality.name.lower() for modality in Modality if modality != Modality.VISIBLE}
    described = all(isinstance(one, dict) and {"file", "sha256", "bytes"} <= set(one) for one in networks.values())
    if len(networks) != 2 or "visible" not in networks or not set(networks) - {"visible"} <= others or not described:
        return "networks"
    return ""


def _check_files(folder: Path, content: Mapping[str, Any]) -> None:
    for modality, about in content["networks"].items():
        path = folder / f"{modality}.onnx"
        if about["file"] != path.name or not path.is_file():
            raise CheckpointError(f"{path}: is missing, but {FILE} beside it describes it. {AGAIN}")
        if digest(path) != about["sha256"]:
            raise CheckpointError(
                f"{path}: is not the file that {FILE} describes (SHA-256): damaged, or another's. {AGAIN}"
            )
