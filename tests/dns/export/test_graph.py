"""The ONNX graph of each method: any number of images a batch, and PyTorch's numbers."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dns.export.description import OUTPUTS
from dns.export.graph import ExportedBranch, to_onnx
from dns.export.runtime import open_session, run
from dns.layers import GEM_EPSILON
from dns.methods import METHODS
from dns.network import Network
from ffcv_convert.common.errors import ConfigError
from tests.conftest import Run
from tests.support.refusals import refusal

IDENTITIES, SIZE_PX = 5, (64, 32)


def network(method: str, architecture: str = "resnet10_half") -> Network:
    """A network whose batch norms have seen images, in evaluation mode."""
    torch.manual_seed(0)
    row = METHODS[method]
    options = row.model(method=method, architecture=architecture)
    model = row.network(IDENTITIES, options, row.loss()).train()
    visible, other = torch.randn(2, 8 * model.views, 3, *SIZE_PX)[:, :8]
    model(torch.cat([visible] * model.views), other)
    return model.eval()


def images(count: int, size_px: tuple[int, int] = SIZE_PX) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *size_px, 3), dtype=np.uint8)


def session_of(model: Network, path: Path, feature: str, size_px: tuple[int, int] = SIZE_PX, **how: bool) -> Any:
    path.write_bytes(to_onnx(ExportedBranch(model, feature, visible=how.get("visible", True)), size_px))
    return open_session(path, 1)


def differences(model: Network, session: Any, feature: str, pixels: np.ndarray, *, visible: bool = True) -> list[float]:
    with torch.inference_mode():
        wanted = ExportedBranch(model, feature, visible=visible).eval()(torch.from_numpy(pixels))
    given = run(session, pixels, *OUTPUTS)
    assert [one.shape for one in given] == [two.shape for two in wanted]
    return [float(np.abs(one - two.numpy()).max()) for one, two in zip(given, wanted, strict=True)]


@pytest.mark.parametrize("method", ["dns", *(pytest.param(name, marks=pytest.mark.slow) for name in ("agw", "deen"))])
def test_any_batch_gives_pytorch_s_numbers(method: str, tmp_path: Path) -> None:
    model, feature = network(method), METHODS[method].feature
    for visible in (True, False) if method == "dns" else (False,):
        session = session_of(model, tmp_path / "network.onnx", feature, visible=visible)
        for batch in (1, 3, 48):  # an exporter that fixes the batch takes the traced one alone
            assert max(differences(model, session, feature, images(batch), visible=visible)) < 2e-6
    pixels = images(3)
    with torch.inference_mode():
        z, bn = model.embed(normalised(pixels), visible=False)
    given = dict(zip(OUTPUTS, run(session, pixels, *OUTPUTS), strict=True))
    assert np.allclose(given["z"], z, atol=2e-6)
    assert np.allclose(given["bn"], bn, atol=2e-6)
    assert np.allclose(given["embedding"], torch.cat([z, bn], 1) if feature == "sum" else bn, atol=2e-6)


def normalised(pixels: np.ndarray) -> Tensor:
    """Normalise by hand: (pixel / 255 - mean) / deviation of ImageNet."""
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((torch.from_numpy(pixels) / 255 - mean) / deviation).permute(0, 3, 1, 2)


@pytest.mark.slow
def test_the_largest_architecture_gives_pytorch_s_numbers(tmp_path: Path) -> None:
    """docs/results.md has every method and architecture."""
    model = network("dns", "resnet50")
    session = session_of(model, tmp_path / "network.onnx", "bn")
    assert max(differences(model, session, "bn", images(3))) < 1e-5


def test_numbers_that_an_optimiser_takes_for_zero_are_kept(tmp_path: Path) -> None:
    """GeM adds 1e-12 below a cube root: where a channel is dead, that is 1e-4 of the embedding."""
    model = network("baseline")
    last = model.last_map
    with torch.no_grad():
        for parameter in [p for name, p in last.named_parameters() if name.endswith(("bn2.weight", "bn2.bias"))]:
            parameter[: len(parameter) // 2] = -1e3
    session = session_of(model, tmp_path / "network.onnx", "z")
    pixels = images(2)
    (z,) = run(session, pixels, "z")
    dead = z[:, np.abs(z).max(axis=0) < 1e-3]
    assert dead.shape[1]
    with torch.inference_mode():
        wanted = ExportedBranch(model, "z", visible=True).eval()(torch.from_numpy(pixels))[2].numpy()
    assert wanted[:, np.abs(z).max(axis=0) < 1e-3].min() > 0
    assert GEM_EPSILON ** (1 / 3) > 9e-5
    assert np.allclose(dead, wanted[:, np.abs(z).max(axis=0) < 1e-3], rtol=1e-3, atol=0)


class FixesTheBatch(torch.nn.Module):
    """A network of somebody's own, with the mistake that everybody makes."""

    parts, width = 1, 4

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)

    def embed(self, images: Tensor, *, visible: bool) -> tuple[Tensor, Tensor]:
        rows = self.conv(images).mean(dim=(2, 3)).reshape(len(images), -1)
        return rows, rows + 1


def test_a_network_that_fixes_the_batch_is_refused_and_not_exported_for_two_images() -> None:
    with refusal(ConfigError, "FixesTheBatch.embed", "images.shape[0]"):
        to_onnx(ExportedBranch(FixesTheBatch(), "bn", visible=True), SIZE_PX)  # type: ignore[arg-type]


def test_a_missing_library_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript.optimizer", None)
    with refusal(ConfigError, "onnxscript", "pip install '.[export]'"):
        to_onnx(ExportedBranch(network("baseline"), "bn", visible=True), SIZE_PX)


def test_openvino_reports_to_nobody(program: Run) -> None:
    """Its telemetry starts a process that sends events; the stub that takes its place does nothing."""
    lines = [
        "import sys",
        "from dns.export.runtime import import_openvino",
        "import_openvino().Core()",
        "assert 'openvino.tools.ovc.telemetry_stub' in sys.modules",
        "assert not any(name.startswith('openvino_telemetry.') for name in sys.modules)",
    ]
    done = program("-c", "\n".join(lines))
    assert done.returncode == 0, done.stderr
