"""The benchmarks' own arithmetic: interleaving, speedups, comparison, and what is stored."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import __main__ as menu
from benchmarks import compare, convert, evaluate, harness, loader, pipeline, profile, save, step
from benchmarks.training import PUBLISHED
from dns.engine import EngineOptions
from dns.training.writer import CheckpointWriter
from pipelines.prefetch import Prefetcher
from pipelines.subset import open_subset
from tests.support.metrics_of import rank_metrics


def result(tmp_path: Path, name: str, unit: str = "images/s", question: str = "loader", **cases: list[float]) -> str:
    path = tmp_path / name
    content = {"unit": unit, "cases": harness.summarise(cases), "environment": {"device": "x", "cores": 2}}
    path.write_text(json.dumps({"question": question, **content}))
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
        ("images/s", [50, 55, 60], 1, "slower: ours"),
        ("images/s", [150, 155, 160], 0, "faster"),
        ("images/s", [95, 155, 160], 0, "within the spread"),
        ("s", [150, 155, 160], 1, "slower: ours"),
        ("ms", [50, 55, 60], 0, "faster"),
        ("images/s", [50], 0, "one round, no verdict"),
        ("images/s", [50, 55], 0, "2 rounds, no verdict"),
    ],
)
def test_slower_means_beyond_the_spread(
    tmp_path: Path, capsys: pytest.CaptureFixture, unit: str, after: list[float], code: int, said: str
) -> None:
    one = result(tmp_path, "a.json", unit, ours=[90, 100, 110], other=[1])
    two = result(tmp_path, "b.json", unit, ours=after, other=[1])
    assert menu.main(["compare", one, two]) == code
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(("unit", "after"), [("images/s", 200.0), ("s", 50.0), ("ms", 50.0)])
def test_a_speedup_above_one_means_faster(unit: str, after: float) -> None:
    assert compare.speedup({"median": 100.0}, {"median": after}, unit) == 2


def test_our_own_cases_alone_decide(tmp_path: Path) -> None:
    fast, slow = [100.0, 101.0, 102.0], [50.0, 51.0, 52.0]
    one = result(tmp_path, "a.json", ours=fast, memcpy=fast, gone=fast)
    two = result(tmp_path, "b.json", ours=fast, memcpy=slow, new=slow)
    assert compare.main([one, two]) == 0
    assert all(compare.is_ours("epoch", case) for case in ("ours, its evaluation", "sysu ours"))
    assert compare.is_ours("step", "+ bf16")
    assert not compare.is_ours("evaluate", "sysu loops")
    assert not compare.is_ours("epoch", "published, projected")


def test_files_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    good, other = result(tmp_path, "a.json", x=[1]), result(tmp_path, "b.json", "s", x=[1])
    (tmp_path / "odd.json").write_text('{"cases": [1]}')
    for arguments in ([good], [good, str(tmp_path / "none.json")], [good, str(tmp_path / "odd.json")], [good, other]):
        assert compare.main(arguments) == 2


def test_an_unknown_question_is_refused() -> None:
    assert menu.main(["speed"]) == 2


def test_an_answer_goes_into_the_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Question:
        @staticmethod
        def measure() -> dict[str, Any]:
            return {"unit": "ms", "cases": harness.summarise({"a": [1, 2, 3]}), "step_ms": 2.0, "speedup_eager": 3.5}

        @staticmethod
        def words(content: dict[str, Any]) -> list[str]:
            return []

    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    monkeypatch.setattr(menu, "RESULTS", tmp_path)
    monkeypatch.setitem(menu.QUESTIONS, "step", Question)  # type: ignore[arg-type]
    assert menu.main(["step"]) == 0
    (stored,) = tmp_path.glob("step-*.json")
    assert json.loads(stored.read_text())["cases"]["a"]["rounds"] == [1, 2, 3]
    (target,) = tmp_path.glob("summary-*.json")
    summary = json.loads(target.read_text())
    assert (summary["step_ms"], summary["step_speedup_eager"], summary["data_wait_share"]) == (2.0, 3.5, None)
    assert summary["commit"]


@pytest.mark.parametrize("change", [{}, {"commit": "older"}, {"hardware": "other"}, None])
def test_a_summary_holds_one_commit_s_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture, change: dict[str, str] | None
) -> None:
    now, target = {"hardware": "x", "commit": "newer"}, tmp_path / "summary-x.json"
    harness.write_json(target, {"step_ms": 7.0, **now, **(change or {})})
    if change is None:  # cut short
        target.write_text(target.read_text()[:20])
    summary = menu.former(target, now)
    assert summary == {**dict.fromkeys(menu.SUMMARY), "step_ms": 7.0 if change == {} else None, **now}
    assert ("not readable" in capsys.readouterr().err) == (change is None)


def test_a_share_of_waiting_may_be_negative() -> None:
    assert harness.waiting_share(3.0, 4.0) == 0.25
    assert harness.waiting_share(5.0, 4.0) == -0.25


def test_pillow_is_timed_with_as_many_threads_too(
    data_root_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "drawn_set", lambda: (data_root_of("sysu"), None))
    monkeypatch.setattr(convert, "WORK", tmp_path)
    found = convert.measure()
    assert list(found["cases"]) == ["ours", "pillow", f"pillow, {convert.allowed_workers(0)} threads"]
    assert found["identical"]
    median = [case["median"] for case in found["cases"].values()]
    assert (found["speedup_pillow"], found["speedup_pillow_threads"]) == (median[0] / median[1], median[0] / median[2])
    assert not list(tmp_path.iterdir())


def test_the_checksum_is_timed_separately(beton_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "drawn_set", lambda: (None, beton_root / "synthetic"))
    asked: list[int] = []
    verify = Prefetcher.verify
    monkeypatch.setattr(Prefetcher, "verify", lambda self, samples: asked.append(len(samples)) or verify(self, samples))
    subset = open_subset(beton_root / "synthetic", "train")
    assert loader._checksum_us(subset) > 0
    assert asked == 2 * [len(subset.sample_N)]
    monkeypatch.setattr(loader, "EPOCHS", 1)
    found = loader.measure()
    assert {"first_use_us", "checksum_us"} <= set(found)
    assert found["speedup_memcpy"] == found["cases"]["ours"]["median"] / found["cases"]["memcpy"]["median"]


def test_the_cost_of_a_checkpoint_is_beside_epochs_without_one(
    converted_layout: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "drawn_set": lambda: (None, converted_layout("sysu")), "WORK": tmp_path, "ARCHITECTURES": ("resnet10_half",),
        "STEPS": 1, "ROUNDS": 1,
    }.items():  # fmt: skip
        monkeypatch.setattr(save, name, value)
    waited: list[bool] = []
    wait = CheckpointWriter.wait
    monkeypatch.setattr(CheckpointWriter, "wait", lambda writer: waited.append(True) or wait(writer))
    found = save.measure()
    # Of two passes: every save waits for the one before (one more is behind the first epoch of ours), two more are
    # waited for, and every round ends with a wait.
    assert len(waited) == 2 * (3 + (2 + 2) + 3)
    cases = {name: case["median"] for name, case in found["cases"].items()}
    assert found["cost_s"]["resnet10_half"] == cases["resnet10_half, ours"] - cases["resnet10_half, not saved"]
    assert found["cost_waited_s"]["resnet10_half"] == (
        cases["resnet10_half, waited for"] - cases["resnet10_half, not saved"]
    )
    assert found["bytes"]["resnet10_half"] > 5e6
    assert not list(tmp_path.iterdir())


def test_ablations_end_with_the_engine_s_default() -> None:
    assert set(PUBLISHED) <= set(EngineOptions.__dataclass_fields__)
    for device, cases in step.ABLATION.items():
        switches: dict[str, str] = {}
        for added in cases.values():
            switches |= added
        if device == "cuda":
            every = {"precision", "channels_last", "fused", "augment", "compile", "graph", "cudnn_benchmark"}
            assert every < set(EngineOptions.__dataclass_fields__)
            assert set(switches) == every, "the ablation must set exactly these options"
            assert "false" not in switches.values()


def test_the_naive_loops_give_the_program_s_numbers() -> None:
    rng = np.random.default_rng(3)
    distance = torch.from_numpy(rng.standard_normal((40, 60)).astype(np.float32))
    query, gallery = torch.from_numpy(rng.integers(0, 7, 40)), torch.from_numpy(rng.integers(0, 7, 60))
    excluded = torch.from_numpy(rng.random((40, 60)) < 0.2)
    for cmc in ("identities", "images"):
        found = rank_metrics(distance, query, gallery, excluded_QG=excluded, cmc=cmc)  # type: ignore[arg-type]
        naive = evaluate.loops(distance.numpy(), query.numpy(), gallery.numpy(), excluded.numpy(), cmc)  # type: ignore[arg-type]
        assert naive[0] == pytest.approx(found.cmc[0])
        assert naive[2:] == pytest.approx((found.mAP, found.mINP))


@pytest.mark.parametrize("name", evaluate.SIZES)
def test_random_distances_have_no_ties(name: str) -> None:
    _, *size = evaluate.SIZES[name]
    ascending = evaluate.inputs_of(name, 100, *size)[0].sort(dim=1).values  # queries are ranked one by one
    assert (ascending[:, 1:] > ascending[:, :-1]).all()


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


def test_speedups_are_over_the_fastest_tool_and_tensordict_by_hand(
    beton_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast, slow = "torchvision v2, its own operators", "DALI (CPU), its own operators"
    rates, tools = {"ours": 100.0, fast: 50.0, slow: 20.0}, {slow: slow, fast: fast}
    there = True
    for name, value in {
        "open_tools": lambda *_: nullcontext(tools), "importable": lambda _: there,
        "drawn_set": lambda: (None, beton_root / "synthetic"), "EPOCHS": 1, "_published": lambda *_: 4.0,
        "_ours": lambda _: 100.0, "_tool": lambda name, *_, **__: rates[name], "_peer": lambda *_: 25.0,
    }.items():  # fmt: skip
        monkeypatch.setattr(pipeline, name, value)
    monkeypatch.setattr(pipeline.peers, "opened", lambda *_: nullcontext())
    found = pipeline.measure()
    assert found["speedup_memcpy"] == 100 / found["cases"]["memcpy of the same bytes"]["median"]
    assert (found["speedup_published"], found["best_peer"], found["speedup_best_peer"]) == (25, fast, 2)
    assert found["speedup_by_hand"] == 4
    said = " ".join(pipeline.words(found))
    assert all(harness.times(ratio) in said for ratio in (25, 2, 4))
    there = False
    tools.clear()
    alone = pipeline.measure()
    assert [alone[key] for key in ("best_peer", "speedup_best_peer", "speedup_by_hand")] == [None] * 3
    assert " ".join(pipeline.words(alone)).count("to compare with") == 2
