"""Runs an exported network with onnxruntime, as testing asks a network."""

import hashlib
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
            seen: open_session(folder / f"{name}.onnx", threads)
            for seen, name in zip((True, False), (visible, *others), strict=False)
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
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises errors of its own, without a common class
        raise CheckpointError(f"{path}: no network that onnxruntime can open ({error}). {description.AGAIN}") from None
    inputs, outputs = [one.name for one in session.get_inputs()], [one.name for one in session.get_outputs()]
    if inputs != [description.INPUT] or outputs != list(description.OUTPUTS):
        raise CheckpointError(
            f"{path}: takes {', '.join(inputs)} and gives {', '.join(outputs)}: no network of this program. "
            f"{description.AGAIN}"
        )
    return session


def run(session: Any, images_BHWC: np.ndarray, *outputs: str) -> list[np.ndarray]:
    """Return the named outputs for uint8 images (B, H, W, 3): float32 (B, D) each."""
    return session.run(list(outputs), {description.INPUT: images_BHWC})
