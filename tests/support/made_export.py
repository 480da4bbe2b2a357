"""Makes folders as dns.export writes them, of networks so small that a test can run them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from dns.export import description

WIDTH = 24  # numbers in an embedding


def make_export(
    folder: Path, modalities: tuple[str, ...] = ("visible", "infrared"), size_px: tuple[int, int] = (96, 48)
) -> Path:
    """Write export.json and a network a modality: a drawn convolution of 8 x 8 pixels, ReLU, mean, length 1."""
    folder.mkdir(parents=True, exist_ok=True)
    networks: dict[str, Any] = {}
    for seed, name in enumerate(modalities):
        content = _network(seed, size_px)
        (folder / f"{name}.onnx").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        networks[name] = {"file": f"{name}.onnx", "sha256": digest, "bytes": len(content)}
    about = {
        "format": description.FORMAT, "version": description.VERSION, "size_px": list(size_px), "resize": "lanczos",
        "mean": [0.0] * 3, "deviation": [1.0] * 3, "precision": "float32", "feature": "bn", "parts": 1, "opset": 18,
        "outputs": dict.fromkeys(description.OUTPUTS, WIDTH), "networks": networks, "versions": {}, "parity": {},
        "checkpoint": {
            "file": "best.pt", "sha256": "0" * 64, "epoch": 4, "method": "dns", "architecture": "resnet10_half",
            "dataset": "synthetic", "identities": 8, "config": {"model": {"method": "dns"}}, "lists": {},
        },
    }  # fmt: skip
    (folder / "export.json").write_text(json.dumps(about))
    return folder


def _network(seed: int, size_px: tuple[int, int]) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)
    weights = {
        "kernels": rng.normal(size=(WIDTH, 3, 8, 8)).astype(np.float32) / 255,
        "shift": rng.normal(size=WIDTH).astype(np.float32),
        "places": np.array([2, 3]),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["numbers"], ["channels_first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["channels_first", "kernels", "shift"], ["map"], strides=[8, 8]),
        helper.make_node("Relu", ["map"], ["positive"]),
        helper.make_node("ReduceMean", ["positive", "places"], ["mean"], keepdims=0),
        helper.make_node("LpNormalization", ["mean"], ["embedding"], axis=1, p=2),
        *(helper.make_node("Identity", ["embedding"], [name]) for name in ("bn", "z")),
    ]
    given = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", *size_px, 3])
    found = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", WIDTH]) for name in description.OUTPUTS]
    stored = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "made", [given], found, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
