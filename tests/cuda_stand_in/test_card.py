"""Machines on which less works: without a C compiler, and with a card that the installed torch has no kernels for."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.cuda_stand_in.build import CannotBuild
from tests.cuda_stand_in.run import environment

# A small network's step, warmed up, captured and replayed. The last line says what was resolved.
TRAIN = """
import sys
from dataclasses import asdict
import torch
from dns.engine import EngineOptions, make_engine
from dns.losses import Losses, LossOptions
from dns.model import DNS, ModelOptions
from dns.optim import MultiplierOptions, OptimOptions, make_optimiser
from dns.step import CapturedStep, make_step
from ffcv_convert.common.errors import user_errors
from tests.cuda_stand_in import device  # the convolutions

with user_errors():
    engine = make_engine(EngineOptions())
    engine.activate()
    model = engine.place(DNS(4, ModelOptions(architecture="resnet10_half"), LossOptions())).train()
    optimiser = make_optimiser(model, OptimOptions(lr=0.1), MultiplierOptions(), fused=engine.fused)
    step = make_step(model, optimiser, engine.scaler(), lambda images, _: images.chunk(2), engine)
    images, person_B = torch.zeros(8, 3, 32, 32, device="cuda"), torch.zeros(8, dtype=torch.long, device="cuda")
    for _ in range(CapturedStep.WARM_UP + 2):
        step(images, torch.zeros(8, 1, device="cuda"), person_B)
    assert step._graph is not None
    print(asdict(engine.options()))
"""


def run(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    try:
        found = {**environment(), **variables}
    except CannotBuild as error:
        pytest.skip(f"the stand-in cannot be built: {error}")
    return subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, env=found, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_without_a_c_compiler_the_step_is_captured_uncompiled(tmp_path: Path) -> None:
    """Triton builds its launcher with one. An empty cache, so that none built earlier is found."""
    (tmp_path / "bin").mkdir()
    given = {"PATH": str(tmp_path / "bin"), "CC": "/nonexistent", "CXX": "/nonexistent"}
    caches = {"TRITON_CACHE_DIR": str(tmp_path / "triton"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor")}
    done = run(TRAIN, **given, **caches)
    assert done.returncode == 0, done.stderr[-3000:]
    notes = [line for line in done.stderr.splitlines() if line.startswith("note:")]
    assert len(notes) == 1, done.stderr[-3000:]
    assert "torch.compile does not work here, so the step runs uncompiled: " in notes[0]
    assert "'compile': 'false'" in done.stdout
    assert "'graph': 'true'" in done.stdout


def test_a_card_without_kernels_ends_with_the_wheel_to_install() -> None:
    """The stand-in has kernels for every card, so torch's refusal is put in their place."""
    refusal = (
        "import torch\n"
        "def ones(*_, **__): raise RuntimeError('CUDA error: no kernel image is available for execution')\n"
        "torch.ones = ones\n"
    )
    done = run(refusal + TRAIN)
    assert done.returncode == 2, done.stderr[-3000:]
    assert "Install torch's wheel for an older CUDA (cu126" in done.stderr
    assert "Traceback" not in done.stderr
