"""The ways of embedding that are timed: each computes the same network; a missing library leaves its cases out."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import embed, ways
from benchmarks.ways import EAGER, Subject
from dns.export import precision

PYTORCH = [EAGER, "PyTorch, bf16"]


@pytest.fixture
def small(beton_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The small network alone, a few drawn images of 96 x 48, short rounds, nothing compiled."""
    monkeypatch.setattr(ways, "can_compile", lambda _: False)
    for name, value in {
        "drawn_set": lambda: (None, beton_root / "synthetic"), "SUBJECTS": {"small": Subject("synthetic", 1)},
        "BATCH": 6, "CALIBRATED": 5, "ROUND_S": 1e-9,
    }.items():  # fmt: skip
        monkeypatch.setattr(embed, name, value)


def cases(found: dict[str, Any]) -> list[str]:
    return [name.removeprefix("small: ") for name in found["cases"]]


def test_every_way_computes_the_same_network(small: None, capsys: pytest.CaptureFixture) -> None:
    for library in ("onnx", "onnxruntime", "onnxscript", "openvino"):
        pytest.importorskip(library)
    found = embed.measure()
    exported = [f"onnxruntime, {form}" for form in ("float32", "float16", "int8")]
    assert set(cases(found)) == {*PYTORCH, *exported, "OpenVINO, float32"}
    assert found["likeness"].keys() == found["cases"].keys()
    for name, cosine in found["likeness"].items():
        assert cosine > (0.99 if "int8" in name else 0.9999 if "16" in name else 0.999999), name
    assert all(case["least"] > 0 for case in found["cases"].values())
    assert found["speedups"]["small"][EAGER] == 1
    assert list(found["left_out"]) == ["small: PyTorch, compiled"]
    said = " ".join(embed.words(found))
    assert "Left out: small: PyTorch, compiled: torch.compile does not work here" in said
    assert f"weights of {precision.weight_bits()} bits" in said


def test_a_missing_library_leaves_its_cases_out(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("onnxscript", "onnxscript.optimizer", "openvino"):
        monkeypatch.setitem(sys.modules, library, None)
    found = embed.measure()
    assert set(cases(found)) == set(PYTORCH)
    assert "onnxscript" in found["left_out"]["small: onnxruntime, int8"]
    assert "openvino" in found["left_out"]["small: OpenVINO, float32"]
    said = " ".join(embed.words(found))
    assert said.count("Left out: ") == len(found["left_out"]) == 5
    assert "pip install" in said


def test_another_network_is_not_alike() -> None:
    wanted = np.eye(3, dtype=np.float32)
    assert embed._likeness(wanted[:2], wanted) == 1
    assert embed._likeness(wanted[[0, 2]], wanted) == 0  # the worst row counts


def test_a_rate_counts_whole_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.0, 0.3, 0.6])
    monkeypatch.setattr(embed.time, "perf_counter", lambda: next(seconds))
    monkeypatch.setattr(embed, "ROUND_S", 0.5)
    assert embed._images_per_s(lambda pixels: pixels, np.zeros((48, 1))) == pytest.approx(2 * 48 / 0.6)


def test_the_fastest_way_is_named() -> None:
    figures = {f"ResNet-50: {case}": {"median": rate} for case, rate in ((EAGER, 10.0), ("onnxruntime, int8", 25.0))}
    found = embed._speedups(figures)
    assert found == {"ResNet-50": {EAGER: 1.0, "onnxruntime, int8": 2.5}}
    content = {
        "speedups": found,
        "likeness": {},
        "left_out": {},
        "threads": 2,
        "images": 48,
        "weight_bits": 7,
        "bf16": True,
    }
    assert "ResNet-50: onnxruntime, int8 is the fastest, 2.5 times as fast as" in embed.words(content)[0]
