"""`make benchmark-gpu`: parts that follow one another, end in time, and are repeated alone."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, page
from benchmarks.harness import RESULTS

# A part whose own child would go on. It writes the child's number to the file that TOLD names.
HANGS = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open(os.environ["TOLD"], "w").write(str(child.pid))
child.wait()
"""
STEP: dict[str, Any] = {
    "unit": "ms", "question": "step", "cases": {}, "size_px": [288, 144], "images": 48, "images_per_s": 6000.0,
    "tflops": 185.2, "mfu": 0.187, "environment": {"device": "NVIDIA H100 80GB HBM3", "commit": "0123456789"},
}  # fmt: skip


class Impatient(subprocess.Popen):
    """Waits for the part that hangs until it has a child, and not for LIMIT_S."""

    def wait(self, timeout: float | None = None) -> int:
        told = Path(os.environ["TOLD"])
        if timeout is not None and HANGS in self.args:  # type: ignore[operator]
            while not (told.exists() and told.read_text()):
                time.sleep(0.01)
            timeout /= 100
        return super().wait(timeout)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A card that no part uses. Returns the folder of its results."""
    place = {"device": "NVIDIA H100 80GB HBM3", "cores": 16}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "environment", lambda _: place)
    monkeypatch.setattr(gpu, "RESULTS", tmp_path)
    monkeypatch.setattr(
        gpu,
        "PARTS",
        {
            "good": ["-c", "print(1)"],
            "bad": ["-c", "raise SystemExit(3)"],
            "long": ["-c", HANGS],
        },
    )
    monkeypatch.setattr(gpu, "LIMIT_S", 5.0)
    monkeypatch.setattr(gpu.subprocess, "Popen", Impatient)
    monkeypatch.setenv("TOLD", str(tmp_path / "child"))
    return tmp_path


def test_without_a_gpu_nothing_is_measured() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert gpu.main([]) == 2
    assert gpu.main(["sleep"]) == 2


def test_a_part_that_fails_or_hangs_leaves_the_others_and_is_named(card: Path, capfd: pytest.CaptureFixture) -> None:
    assert gpu.main(["bad", "long", "good"]) == 1
    out, error = capfd.readouterr()
    assert out.index("== bad failed after") < out.index("== long") < out.index("== good took")
    assert "long was stopped after 5 s" in error
    assert "failed: bad, long. Repeat it alone: make benchmark-gpu PARTS=bad" in error
    child = Path("/proc", (card / "child").read_text(), "stat")
    assert not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z", "its child was not stopped"


def test_a_part_alone_and_the_rate_beside_others(card: Path, capfd: pytest.CaptureFixture) -> None:
    (card / "step-nvidia-h100-80gb-hbm3-16-cores-2026-01-02.json").write_text(json.dumps(STEP))
    assert gpu.main(["good"]) == 0
    assert "== bad" not in capfd.readouterr().out
    text = (card / "gpu-nvidia-h100-80gb-hbm3-16-cores.md").read_text()
    assert "| NVIDIA H100 80GB HBM3 | 6,000 | 185.2 | 18.7% |" in text


def test_the_model_s_rate_follows_from_its_time_and_the_counted_work() -> None:
    stored = json.loads((RESULTS / "cuda-check.json").read_text())
    (row,) = (line for line in gpu.table(None).splitlines() if "roofline" in line and "| H200 |" in line)
    images_per_s, tflops = (float(cell.replace(",", "")) for cell in row.split("|")[3:5])
    assert images_per_s == pytest.approx(48e3 / stored["roofline_ms"]["H200"], abs=1)
    assert tflops / images_per_s == pytest.approx(stored["convolution_tflop"] / 48, rel=1e-3)


def test_a_gpu_s_result_does_not_take_the_place_of_a_cpu_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copy(RESULTS / "cuda-check.json", tmp_path)
    for machine in (
        "amd-epyc-2-cores-2026-01-01", "tesla-v100-8-cores-2026-01-02", "nvidia-h100-16-cores-2026-01-03",
    ):  # fmt: skip
        (tmp_path / f"step-{machine}.json").write_text(json.dumps(STEP))
    monkeypatch.setattr(page, "RESULTS", tmp_path)
    assert page.newest("step").name == "step-amd-epyc-2-cores-2026-01-01.json"
    assert "| NVIDIA H100 80GB HBM3 | 6,000 |" in page.render("<!-- gpu -->\n<!-- end -->")
