"""Runs an exported network with onnxruntime, as testing asks a network."""

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dns.export import description
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import CheckpointError, ConfigError


class ExportedNetwork:
    """The networks of a folder. content: what description.read says of it; precision: what rows call the way it
    computes."""

    def __init__(self, folder: Path, content: Mapping[str, Any], threads: int):
        self.parts, self.width = content["parts"], content["outputs"]["bn"]
        self.precision = f"onnxruntime {content['precision']}"
        self._sha256 = [about["sha256"] for _, about in sorted(content["networks"].items())]
        visible, *others = sorted(content["networks"], key=lambda name: name != Modality.VISIBLE.name.lower())
        self._sessions = {
            seen: _fitting_session(folder / f"{name}.onnx", content, threads)
            for seen, name in zip((True, False), (visible, *others), strict=True)
        }

    @torch.compiler.disable
    def embed(self, images: Tensor, *, visible: bool) -> tuple[Tensor, Tensor]:
        """Embed images of one modality, (B, 3, H, W) of 0 to 255, see Network.embed."""
        pixels_BHWC = images.permute(0, 2, 3, 1).to("cpu", torch.uint8).contiguous().numpy()
        bn, z = run(self._sessions[visible], pixels_BHWC, "bn", "z")
        return torch.from_numpy(z).to(images.device), torch.from_numpy(bn).to(images.device)

    def digest(self) -> str:
        """Return the SHA-256 of those of the files."""
        return hashlib.sha256("".join(self._sha256).encode()).hexdigest()


def _fitting_session(path: Path, content: Mapping[str, Any], threads: int) -> Any:
    """Open a network of the described size and widths. Raises CheckpointError for another one."""
    session = open_session(path, threads)
    size_px = session.get_inputs()[0].shape[1:3]
    widths = {one.name: one.shape[-1] for one in session.get_outputs()}
    if size_px != content["size_px"] or widths != content["outputs"]:
        raise CheckpointError(
            f"{path}: takes images of {size_px} px and gives {widths}, but {description.FILE} says "
            f"{content['size_px']} and {content['outputs']}. {description.AGAIN}"
        )
    return session


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which would report each call to a web address. Raises ImportError."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # OpenVINO takes its own stub then
    import openvino

    return openvino


def open_session(path: Path, threads: int) -> Any:
    """Return an onnxruntime session on the CPU. Raises CheckpointError for a file that is no network of ours, and
    ConfigError where onnxruntime is not installed."""
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError(description.missing("onnxruntime")) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3  # errors alone
    try:
        # From its bytes: weights that lie in other files, which no checksum covers, are refused.
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises errors of its own, without a common class
        raise CheckpointError(f"{path}: no network that onnxruntime can open ({error}). {description.AGAIN}") from None
    inputs, outputs = session.get_inputs(), [one.name for one in session.get_outputs()]
    shape = inputs[0].shape if len(inputs) == 1 and inputs[0].name == description.INPUT else []
    taken = len(shape) == 4 and inputs[0].type == "tensor(uint8)" and not isinstance(shape[0], int) and shape[3] == 3
    if not taken or outputs != list(description.OUTPUTS):
        takes = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
        raise CheckpointError(
            f"{path}: takes {takes} and gives {', '.join(outputs)}: no network of this program, which takes any number "
            f"of uint8 images. {description.AGAIN}"
        )
    return session


def run(session: Any, images_BHWC: np.ndarray, *outputs: str) -> list[np.ndarray]:
    """Return the named outputs for uint8 images (B, H, W, 3): float32 (B, D) each."""
    return session.run(list(outputs), {description.INPUT: images_BHWC})
