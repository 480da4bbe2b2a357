"""The benchmarks' own arithmetic: interleaving, speedups, comparison, tables; the README shows what is stored."""

import inspect
import json
import os
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
from dns.engine import make_engine
from dns.evaluation.metrics import rank_metrics
from dns.training.writer import CheckpointWriter
from pipelines.prefetch import Prefetcher
from pipelines.subset import open_subset
from tests.conftest import Run

ASKED = {  # keys of the summary
    "ready_speedup_published", "ready_speedup_best_peer", "best_peer", "ready_speedup_best_loader", "best_loader",
    "ready_speedup_by_hand", "uint8_speedup_memcpy", "startup_warm_s",
    "convert_speedup_pillow", "convert_speedup_pillow_threads", "metrics_speedup_sysu", "metrics_speedup_llcm",
    "metrics_speedup_regdb", "step_ms", "step_speedup_eager", "save_cost_s", "data_wait_share", "epoch_s_sysu_size",
}  # fmt: skip


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


def test_a_speedup_is_said_in_words() -> None:
    assert [harness.times(ratio) for ratio in (18.34, 2.034, 1.365, 0.56)] == [
        "18 times as fast", "2.0 times as fast", "1.36 times as fast", "0.56 times as fast",
    ]  # fmt: skip


def test_our_own_cases_alone_decide_and_every_case_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    fast, slow = [100.0, 101.0, 102.0], [50.0, 51.0, 52.0]
    one = result(tmp_path, "a.json", ours=fast, memcpy=fast, gone=fast)
    two = result(tmp_path, "b.json", ours=fast, memcpy=slow, new=slow)
    assert compare.main([one, two]) == 0
    said = capsys.readouterr().out
    for row in ("0.50 | slower |", "| gone | 101 (100 to 102) |  | | only in A |",
                "| new |  | 51 (50 to 52) | | only in B |", "nothing of ours became slower"):  # fmt: skip
        assert row in said
    ours = ("ours, its evaluation", "sysu ours")
    assert all(compare.is_ours("epoch", case) for case in ours)
    assert compare.is_ours("step", "+ bf16")
    assert compare.is_ours("startup", "import to first batch")
    assert not compare.is_ours("evaluate", "sysu loops")
    assert not compare.is_ours("epoch", "published, projected")


def test_files_that_cannot_be_compared_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    good, other = result(tmp_path, "a.json", x=[1]), result(tmp_path, "b.json", "s", x=[1])
    (tmp_path / "odd.json").write_text('{"cases": [1]}')
    for arguments, said in (
        ([good], "A.json B.json"),
        ([good, str(tmp_path / "none.json")], "none.json"),
        ([good, str(tmp_path / "odd.json")], "odd.json: not a result"),
        ([good, other], "images/s"),
    ):
        assert compare.main(arguments) == 2
        assert said in capsys.readouterr().err


def test_an_unknown_question_is_refused(program: Run) -> None:
    done = program("-m", "benchmarks", "speed")
    assert done.returncode == 2
    assert "'speed'" in done.stderr
    assert "startup, convert, loader, pipeline, step, save, epoch, evaluate" in done.stderr


def test_an_answer_is_written_three_ways_and_into_the_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Question:
        @staticmethod
        def measure() -> dict[str, Any]:
            return {"unit": "ms", "cases": harness.summarise({"a": [1, 2, 3]}), "step_ms": 2.0, "speedup_eager": 3.5}

        @staticmethod
        def words(content: dict[str, Any]) -> list[str]:
            return [f"A step takes {content['step_ms']} ms."]

    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    monkeypatch.setattr(menu, "RESULTS", tmp_path)
    monkeypatch.setitem(menu.QUESTIONS, "step", Question)  # type: ignore[arg-type]
    assert menu.main(["step"]) == 0
    (stored,) = tmp_path.glob("step-*.json")
    assert stored.with_suffix(".md").read_text().endswith("| a | 2 | 1 | 3 |\n\nA step takes 2.0 ms.\n")
    (target,) = tmp_path.glob("summary-*.json")
    summary = json.loads(target.read_text())
    assert set(summary) >= ASKED | {"hardware", "commit"}
    assert (summary["step_ms"], summary["step_speedup_eager"], summary["data_wait_share"]) == (2.0, 3.5, None)


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


def test_a_result_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = harness.write_json(tmp_path / "a.json", {"a": 1})

    def killed(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        harness.write_json(target, {"a": 2})
    assert json.loads(target.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [target]


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
    (sentence,) = convert.words(found)
    for said in (harness.times(found["speedup_pillow"]), harness.times(found["speedup_pillow_threads"]), "identical"):
        assert said in sentence
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
    assert harness.times(found["speedup_memcpy"]) in loader.words(found)[0]


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
    assert f"({found['bytes']['resnet10_half'] / 1e6:.0f} MB)" in save.words(found)[0]
    assert not list(tmp_path.iterdir())


def test_ablations_end_with_the_engine_s_default() -> None:
    assert set(PUBLISHED) <= set(inspect.signature(make_engine).parameters)
    for device, cases in step.ABLATION.items():
        switches: dict[str, str] = {}
        for added in cases.values():
            switches |= added
        if device == "cuda":
            every = {"precision", "channels_last", "fused", "augment", "compile", "graph", "cudnn_benchmark"}
            assert every < set(inspect.signature(make_engine).parameters)
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
    queries, *size = evaluate.SIZES[name]
    ascending = evaluate._inputs(name, queries, *size)[0].sort(dim=1).values
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


def test_the_published_path_is_measured_for_longer_than_it_warms_up() -> None:
    assert pipeline.PUBLISHED_BATCHES > 5 * pipeline.PUBLISHED_WARM_UP


def test_the_best_are_named_by_their_kind(beton_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool, loader, by_hand = "DALI (CPU), its own operators", "tensordict", "tensordict, by hand"
    rates = {tool: 50.0, "kornia, its own operators": 20.0, loader: 10.0, "SPDL": 5.0, by_hand: 25.0, "ours": 100.0}
    opened: dict[str, list[str]] = {
        "open_tools": [tool, "kornia, its own operators"], "open_peers": ["SPDL", loader, by_hand]
    }  # fmt: skip
    for name, names in opened.items():
        monkeypatch.setattr(pipeline, name, lambda *_, names=names: nullcontext({name: name for name in names}))
    for case in ("_tool", "_peer"):
        monkeypatch.setattr(pipeline, case, lambda name, *_, **__: rates[name])
    monkeypatch.setattr(pipeline, "drawn_set", lambda: (None, beton_root / "synthetic"))
    monkeypatch.setattr(pipeline, "_published", lambda *_: 4.0)
    monkeypatch.setattr(pipeline, "_ours", lambda _: rates["ours"])
    monkeypatch.setattr(pipeline, "EPOCHS", 1)
    found = pipeline.measure()
    assert list(found["cases"])[:4] == ["ours", "ours, bf16", "memcpy of the same bytes", "published"]
    assert found["speedup_memcpy"] == 100 / found["cases"]["memcpy of the same bytes"]["median"]
    assert (found["speedup_published"], found["best_peer"], found["speedup_best_peer"]) == (25, tool, 2)
    assert (found["best_loader"], found["speedup_best_loader"]) == (loader, 10)
    assert (found["best_by_hand"], found["speedup_by_hand"]) == (by_hand, 4)
    said = " ".join(pipeline.words(found))
    for words in ("25 times as fast as the published", "2.0 times as fast as the fastest tool", ": DALI (CPU).",
                  "10 times as fast as tensordict, the", "4.0 times as fast as tensordict by hand"):  # fmt: skip
        assert words in said
    opened["open_tools"].clear()
    opened["open_peers"].clear()
    alone = pipeline.measure()
    assert {key: value for key, value in alone.items() if "best" in key or "hand" in key} == dict.fromkeys(
        ["best_peer", "speedup_best_peer", "best_loader", "speedup_best_loader", "best_by_hand", "speedup_by_hand"]
    )
    assert "to compare with" in pipeline.words(alone)[-1]
