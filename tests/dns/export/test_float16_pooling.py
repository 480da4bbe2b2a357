"""float16 stops at the pooling: GeM's cubes neither overflow nor vanish, however large the last map's values are."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dns.training.network import build_network
from tests.support.configs import make_config

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from dns.export.graph import ExportedBranch, to_onnx  # noqa: E402
from dns.export.precision import to_float16  # noqa: E402
from dns.export.runtime import open_session, run  # noqa: E402


@pytest.mark.parametrize("factor", [0.003, 300])
def test_maps_of_any_scale_are_pooled(tmp_path: Path, factor: float) -> None:
    """A network with new batch norms scales all its maps as its stem does."""
    torch.manual_seed(0)
    model = build_network(make_config(recipe="baseline/synthetic"), 2).eval()
    with torch.no_grad():
        model.visible_stem.bn1.weight.mul_(factor)  # type: ignore[union-attr, operator]
    images = torch.randint(0, 256, (4, 96, 48, 3), dtype=torch.uint8).numpy()
    whole = to_onnx(ExportedBranch(model, "bn", visible=True), (96, 48))
    half = to_float16(whole)
    onnx.checker.check_model(onnx.load_from_string(half), full_check=True)
    wanted, given = (embedding(network, tmp_path / "network.onnx", images) for network in (whole, half))
    assert np.abs(given - wanted).max() < 2e-4


def embedding(network: bytes, path: Path, images: np.ndarray) -> np.ndarray:
    path.write_bytes(network)
    return run(open_session(path, 1), images, "embedding")[0]
