"""The benchmarks' own arithmetic: interleaving, ratios, comparison, tables; the README shows what is stored."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import __main__ as menu
from benchmarks import compare, evaluate, harness, pipeline, profile, step
from dns.evaluation.metrics import rank_metrics
from tests.conftest import REPOSITORY, Run

ASKED = {  # keys of the summary
    "ready_ratio_published", "ready_ratio_best_peer", "best_peer", "uint8_ratio_memcpy", "startup_warm_s",
    "convert_ratio_pillow", "metrics_ratio_sysu", "metrics_ratio_llcm", "metrics_ratio_regdb", "step_ms",
    "step_ratio_eager", "data_wait_share", "epoch_s_sysu_size",
}  # fmt: skip


def result(tmp_path: Path, name: str, unit: str = "images/s", **cases: list[float]) -> str:
    path = tmp_path / name
    content = {"unit": unit, "cases": harness.summarise(cases), "environment": {"device": "x", "cores": 2}}
    path.write_text(json.dumps(content))
    return str(path)


def test_rounds_are_interleaved() -> None:
    calls: list[str] = []

    def case(name: str) -> Callable[[], float]:
        return lambda: calls.append(name) or float(len(calls))

    found = harness.interleaved({"a": case("a"), "b": case("b")}, rounds=5)
    assert "".join(calls) == "ab" * 5
    assert found == {"a": [1, 3, 5, 7, 9], "b": [2, 4, 6, 8, 10]}
    assert harness.summarise(found)["a"] == {"median": 5, "least": 1, "most": 9, "rounds": [1, 3, 5, 7, 9]}
    assert harness.ROUNDS >= 5


@pytest.mark.parametrize(
    ("unit", "after", "code", "said"),
    [
        ("images/s", [50, 60], 1, "slower: ours"),
        ("images/s", [150, 160], 0, "faster"),
        ("images/s", [95, 160], 0, "within the spread"),
        ("s", [150, 160], 1, "slower: ours"),
        ("ms", [50, 60], 0, "faster"),
    ],
)
def test_slower_is_what_lies_beyond_the_spread(
    tmp_path: Path, capsys: pytest.CaptureFixture, unit: str, after: list[float], code: int, said: str
) -> None:
    one = result(tmp_path, "a.json", unit, ours=[90, 100, 110], other=[1])
    two = result(tmp_path, "b.json", unit, ours=after, other=[1])
    assert menu.main(["compare", one, two]) == code
    assert said in capsys.readouterr().out


def test_what_cannot_be_compared_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    good, other = result(tmp_path, "a.json", x=[1]), result(tmp_path, "b.json", "s", x=[1])
    (tmp_path / "odd.json").write_text('{"cases": [1]}')
    for arguments, said in (
        ([good], "A.json B.json"),
        ([good, str(tmp_path / "none.json")], "none.json"),
        ([good, str(tmp_path / "odd.json")], "odd.json: no result of a benchmark"),
        ([good, other], "counts images/s"),
    ):
        assert compare.main(arguments) == 2
        assert said in capsys.readouterr().err


def test_a_question_that_is_not_there(program: Run) -> None:
    done = program("-m", "benchmarks", "speed")
    assert done.returncode == 2
    assert "no question 'speed'. There are startup, convert, loader, pipeline, step, epoch, evaluate" in done.stderr


def test_an_answer_is_written_three_ways_and_into_the_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Question:
        @staticmethod
        def measure() -> dict[str, Any]:
            return {"unit": "ms", "cases": harness.summarise({"a": [1, 2, 3]}), "step_ms": 2.0, "ratio_eager": 3.5}

    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    monkeypatch.setattr(menu, "RESULTS", tmp_path)
    monkeypatch.setitem(menu.QUESTIONS, "step", Question)  # type: ignore[arg-type]
    assert menu.main(["step"]) == 0
    (stored,) = tmp_path.glob("step-*.json")
    assert "| a | 2 | 1 | 3 |" in stored.with_suffix(".md").read_text()
    (target,) = tmp_path.glob("summary-*.json")
    summary = json.loads(target.read_text())
    assert set(summary) >= ASKED | {"hardware", "commit"}
    assert (summary["step_ms"], summary["step_ratio_eager"], summary["data_wait_share"]) == (2.0, 3.5, None)


def test_ablations_end_with_the_engine_s_default() -> None:
    for device, cases in step.ABLATION.items():
        switches: dict[str, str] = {}
        for added in cases.values():
            switches |= added
        if device == "cuda":
            every = {"precision", "channels_last", "fused", "augment", "compile", "graph"}
            assert set(switches) == every, "a switch is measured that the ablation does not turn"
            assert "false" not in switches.values()


def test_the_naive_loops_give_the_program_s_numbers() -> None:
    rng = np.random.default_rng(3)
    distance = torch.from_numpy(rng.standard_normal((40, 60)).astype(np.float32))
    query, gallery = torch.from_numpy(rng.integers(0, 7, 40)), torch.from_numpy(rng.integers(0, 7, 60))
    left_out = torch.from_numpy(rng.random((40, 60)) < 0.2)
    for cmc in ("identities", "images"):
        found = rank_metrics(distance, query, gallery, excluded_QG=left_out, cmc=cmc)  # type: ignore[arg-type]
        naive = evaluate.loops(distance.numpy(), query.numpy(), gallery.numpy(), left_out.numpy(), cmc)  # type: ignore[arg-type]
        assert naive[0] == pytest.approx(found.cmc[0])
        assert naive[2:] == pytest.approx((found.mAP, found.mINP))


def test_kernels_have_classes() -> None:
    names = {
        "sm90_xmma_fprop_implicit_gemm_bf16": "convolution",
        "cudnn::bn_fw_tr_1C11_kernel_NHWC": "batch norm",
        "ampere_bf16_s16816gemm": "matrix product",
        "triton_poi_fused_add_relu_12": "other, fused by Inductor",
        "multi_tensor_apply_kernel<FusedSgd>": "optimiser",
        "Memcpy DtoD": "copy",
        "elementwise_kernel": "other",
    }
    for name, kind in names.items():
        assert profile.class_of(name) == kind, name


def test_the_published_path_is_measured_for_itself() -> None:
    assert pipeline.PUBLISHED_BATCHES > 5 * pipeline.PUBLISHED_WARM_UP


def test_the_readme_shows_the_stored_results() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    stored = [path for question in menu.QUESTIONS for path in harness.RESULTS.glob(f"{question}-*.json")]
    assert stored
    for path in stored:
        content = json.loads(path.read_text(encoding="utf-8"))
        assert menu.table(path.name.partition("-")[0], content).splitlines()[0] in readme
        for line in menu.table(path.name.partition("-")[0], content).splitlines():
            assert line in readme, path.name
