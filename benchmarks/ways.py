"""Makes ready each way of running a network that `python -m benchmarks embed` compares."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.training import REPOSITORY
from dns.engine import Engine, Precision, can_compile, make_engine
from dns.evaluation.embedding import Embedder
from dns.export.description import missing
from dns.export.graph import ExportedBranch, to_onnx
from dns.export.precision import to_float16, to_int8
from dns.export.runtime import import_openvino, open_session, run
from dns.network import Network
from dns.option import AutoSwitch
from dns.training.config import read_config
from dns.training.network import build_network
from ffcv_convert.common.errors import ConfigError
from pipelines.augment.apply import normalise

CPU = torch.device("cpu")
IDENTITIES = 2  # the classifier takes no part in embedding
EAGER, BF16 = "PyTorch, fp32", "PyTorch, bf16"
Way = Callable[[np.ndarray], np.ndarray]  # uint8 images (B, H, W, 3) -> BN(Z), float32 (B, D)


class Subject(NamedTuple):
    """A network to embed with. recipe: its file in configs/; every: which pixels of the drawn images it takes."""

    recipe: str
    every: int


def ways(subject: Subject, calibration_NHWC: np.ndarray, folder: Path) -> Iterator[tuple[str, Callable[[], Way]]]:
    """Yield every case with what makes it ready, the eager network in fp32 first. A maker raises ConfigError where the
    case cannot run here."""
    yield EAGER, partial(_pytorch, subject, "fp32")
    yield "PyTorch, compiled", partial(_pytorch, subject, "fp32", compiled=True)
    yield BF16, partial(_pytorch, subject, "bf16")
    files = _Files(subject, calibration_NHWC, folder)
    for form in ("float32", "float16", "int8"):
        yield f"onnxruntime, {form}", partial(_onnxruntime, files, form)
    yield "OpenVINO, float32", partial(_openvino, files)


def _network(subject: Subject, precision: Precision = "fp32", *, compiled: bool = False) -> tuple[Network, Engine, str]:
    """Build the recipe's network with the same random weights every time; its engine; what it compares."""
    config = read_config(
        ["--config-file", str(REPOSITORY / "configs" / f"{subject.recipe}.yaml"), "--model.pretrained=none"],
        description="",
    )
    compile_: AutoSwitch = "true" if compiled else "false"
    engine = make_engine(replace(config.engine, device="cpu", precision=precision, compile=compile_))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return engine.place(build_network(config, IDENTITIES)).eval(), engine, config.method.feature


def _pytorch(subject: Subject, precision: Precision, *, compiled: bool = False) -> Way:
    if compiled and not can_compile(CPU):
        raise ConfigError("torch.compile does not work here. It needs a C++ compiler: apt install g++")
    model, engine, _ = _network(subject, precision, compiled=compiled)
    embedder = Embedder(model, normalise, engine, flip="off").eval()

    @torch.inference_mode()
    def embed(pixels_BHWC: np.ndarray) -> np.ndarray:
        return embedder(torch.from_numpy(pixels_BHWC), visible=True).bn.numpy()

    return embed


class _Files:
    """The files of a network, each made when it is first asked for."""

    def __init__(self, subject: Subject, calibration_NHWC: np.ndarray, folder: Path):
        self._subject, self._calibration, self._folder = subject, calibration_NHWC, folder

    def path(self, form: str) -> Path:
        path = self._folder / f"{self._subject.recipe}-{form}.onnx"
        if not path.exists():
            path.write_bytes(self._made(form))
        return path

    def _made(self, form: str) -> bytes:
        if form == "float32":
            model, _, feature = _network(self._subject)
            height, width = self._calibration.shape[1:3]
            return to_onnx(ExportedBranch(model, feature, visible=True), (height, width))
        whole = self.path("float32").read_bytes()
        return to_float16(whole) if form == "float16" else to_int8(whole, self._calibration)


def _onnxruntime(files: _Files, form: str) -> Way:
    session = open_session(files.path(form), torch.get_num_threads())
    return lambda pixels_BHWC: run(session, pixels_BHWC, "bn", "z")[0]  # both, as testing asks for


def _openvino(files: _Files) -> Way:
    try:
        openvino = import_openvino()
    except ImportError:
        raise ConfigError(missing("openvino", "openvino")) from None
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = openvino.Core().compile_model(str(files.path("float32")), "CPU", settings)
    return lambda pixels_BHWC: compiled(pixels_BHWC)["bn"]
