"""Training and testing end to end, on a small set: repeatable, resumable, and clear about bad input."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import eval as eval_script
import train_ffcv
from dns.engine import EngineOptions, make_engine
from dns.evaluation import ranking
from dns.evaluation.embedding import Embedder
from dns.evaluation.evaluator import Evaluator
from dns.evaluation.protocols import PROTOCOLS
from dns.training import checkpoint, setup, throughput
from dns.training.config import given_options
from dns.training.environment import this_code
from dns.training.network import trained_network
from dns.training.options import Config
from dns.training.selection import checkpoint_pattern
from dns.training.stopping import Interruption
from ffcv_convert.common.errors import ConfigError, DataError
from ffcv_convert.common.world import World
from ffcv_convert.convert import convert
from ffcv_convert.datasets import synthetic
from ffcv_convert.images import ImageFormat
from ffcv_convert.synthetic import Options
from pipelines.data import TestImages
from tests.conftest import REPOSITORY, Refused
from tests.support.configs import stored_config
from tests.support.drawing import draw_here
from tests.support.refusals import assert_tells, refusal

SMALL = [
    "--config-file", str(REPOSITORY / "configs" / "synthetic.yaml"), "--data.persons=3", "--data.pictures=2",
    "--optim.epochs=2", "--optim.peak_epoch=1", "--eval.every=1", "--eval.batch_size=16", "--run.log_every=1",
    "--optim.lr=0.002", "--data.workers=1", "--engine.device=cpu", "--report.write=false",
]  # fmt: skip
STEPS_PER_EPOCH = 48 // 6 + 1  # the published schedule runs one more


def train(beton_root: Path, runs: Path, name: str, *options: str) -> int:
    arguments = [*SMALL, f"--data.beton_root={beton_root}", f"--run.root={runs}", f"--run.name={name}", *options]
    return train_ffcv.train(arguments)


def losses(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "train"]


@pytest.fixture(scope="module")
def finished(beton_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unbroken run."""
    runs = tmp_path_factory.mktemp("runs")
    assert train(beton_root, runs, "whole") == 0
    return runs / "whole"


def test_float64_trains_and_is_tested(beton_root: Path, tmp_path: Path) -> None:
    """Its losses are those of float32 to its rounding, as long as that has not grown: in the first step."""
    found = {}
    for precision in ("fp32", "fp64"):
        options = [f"--engine.precision={precision}", "--optim.epochs=1"]
        assert train(beton_root, tmp_path, precision, *options) == 0
        found[precision] = losses(tmp_path / precision)[0]["total"]
        result = json.loads((tmp_path / precision / "result.json").read_text())
        assert 0 < result["rank1"] <= 1
    assert 0 < abs(found["fp64"] - found["fp32"]) < 1e-5 * found["fp32"]


def test_a_run_leaves_what_it_promises(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {
        "config.yaml", "log.jsonl", "last.pt", "best.pt", "result.json", "result.md",
    }  # fmt: skip
    result = json.loads((finished / "result.json").read_text())
    assert (result["dataset"], result["protocol"], result["identities"]) == ("synthetic", "llcm-i2v", 8)
    assert result["epochs"] == 2
    assert result["steps"] == 2 * STEPS_PER_EPOCH == len(losses(finished))
    for key in ("rank1", "mAP", "mINP", "rank1_untrained", "chance"):
        assert 0 <= result[key] <= 1
    assert result["images_per_s"] > 0
    assert result["epoch_s"] > 0
    assert result["environment"]["torch"] == torch.__version__.partition("+")[0]
    for row in result["evaluation"]:
        assert {row["protocol"], row["flip"], row["re_ranking"]} == {"llcm-i2v", "published", "off"}
        assert ".pt, epoch" in row["checkpoint"]
        assert len(row["per_trial"]) == row["trials"] == 10
        assert 0 < row["matched"] <= row["queries"]
    digests = {row["images"] for row in result["evaluation"]}
    assert len(digests) == 1
    begun = json.loads((finished / "log.jsonl").read_text().splitlines()[0])
    assert (begun["kind"], begun["sources"]) == ("run", result["environment"]["sources"])
    assert [entry["sources"] for entry in result["code"]] == [begun["sources"]]
    assert "llcm-i2v" in (finished / "result.md").read_text()


def test_a_run_starts_from_a_trained_dns_and_goes_on_without_its_file(
    finished: Path, beton_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    start = tmp_path / "start.pt"
    start.write_bytes((finished / "last.pt").read_bytes())
    said = f"start.pt, SHA-256 {hashlib.sha256(start.read_bytes()).hexdigest()}"
    asked = [f"--model.pretrained={start}", "--run.seed=1"]
    assert train(beton_root, tmp_path, "tuned", *asked, "--optim.epochs=1") == 0
    assert_tells(capsys.readouterr().err, "note", start)
    before, after = (json.loads((run / "result.json").read_text()) for run in (finished, tmp_path / "tuned"))
    assert after["rank1_untrained"] == before["evaluation"][0]["rank1"] != before["rank1_untrained"]
    assert [row["started_from"] for row in after["evaluation"]] == [said] * len(after["evaluation"])
    start.unlink()
    (tmp_path / "tuned" / "result.json").unlink()
    assert train(beton_root, tmp_path, "tuned", *asked, "--optim.epochs=1") == 0
    again = json.loads((tmp_path / "tuned" / "result.json").read_text())
    assert again["evaluation"] == after["evaluation"]
    assert eval_script.evaluate([f"--eval.checkpoint={tmp_path / 'tuned' / 'last.pt'}"]) == 0
    rows = json.loads((tmp_path / "tuned" / "result.json").read_text())["evaluation"]
    assert {row["started_from"] for row in rows} == {said}


def test_the_log_holds_the_speed_of_its_steps(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    result = json.loads((finished / "result.json").read_text())
    asked = stored_config(checkpoint.load(finished / "last.pt")["config"])
    tflop_an_image = throughput.count(asked.model, asked.loss, 8, batch=12, size_px=(96, 48), accumulate=1) / 12
    steps, epochs = ([line for line in lines if line["kind"] == kind] for kind in ("speed", "epoch"))
    assert [line["step"] for line in steps] == list(range(1, 2 * STEPS_PER_EPOCH + 1))
    for number, epoch in enumerate(epochs):
        assert epoch["images_per_s"] == pytest.approx(12 * STEPS_PER_EPOCH / epoch["seconds"])
        seconds = [12 / line["images_per_s"] for line in steps if line["epoch"] == number]
        assert sum(seconds) == pytest.approx(epoch["seconds"], rel=0.1)
    for line in (*steps, *epochs, result):
        assert line["tflops"] == pytest.approx(line["images_per_s"] * tflop_an_image)
        assert "mfu" not in line, "of a CPU no peak is known"


def test_the_same_seed_gives_the_same_losses_and_another_seed_others(
    finished: Path, beton_root: Path, tmp_path: Path
) -> None:
    assert train(beton_root, tmp_path, "again") == 0
    assert train(beton_root, tmp_path, "other", "--run.seed=1", "--optim.epochs=1") == 0
    assert losses(tmp_path / "again") == losses(finished)
    assert losses(tmp_path / "other")[0]["total"] != losses(finished)[0]["total"]
    first, second = (json.loads((run / "result.json").read_text()) for run in (finished, tmp_path / "again"))
    assert first["evaluation"] == second["evaluation"]


@pytest.mark.parametrize(
    ("stop_after", "number"),
    [(4, signal.SIGINT), (STEPS_PER_EPOCH, signal.SIGUSR1), (STEPS_PER_EPOCH + 3, signal.SIGXCPU)],
)
def test_a_stopped_run_goes_on_as_if_unbroken(
    finished: Path, beton_root: Path, tmp_path: Path, stop_after: int, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal after some steps, in the middle of the first epoch, at its end, and in the second."""
    real, done = train_ffcv.read_losses, []

    def interrupting(*arguments: Any, **options: Any) -> dict:
        done.append(1)
        if len(done) == stop_after:
            os.kill(os.getpid(), number)
        return real(*arguments, **options)

    monkeypatch.setattr(train_ffcv, "read_losses", interrupting)
    assert train(beton_root, tmp_path, "broken") == 128 + number
    assert len(losses(tmp_path / "broken")) == stop_after
    assert not (tmp_path / "broken" / "result.json").exists()
    if stop_after == 4:  # a look in between writes a result.json, which is not the run's
        assert eval_script.evaluate([f"--eval.checkpoint={tmp_path / 'broken' / 'last.pt'}"]) == 0
    torch.manual_seed(99)
    assert train(beton_root, tmp_path, "broken") == 0
    result = json.loads((tmp_path / "broken" / "result.json").read_text())
    assert result["steps"] == 2 * STEPS_PER_EPOCH
    assert result["evaluation"] == json.loads((finished / "result.json").read_text())["evaluation"]
    assert losses(tmp_path / "broken") == losses(finished)
    weights = [torch.load(run / "last.pt", weights_only=True)["model"] for run in (finished, tmp_path / "broken")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_ctrl_c_on_the_command_line_leaves_a_checkpoint(beton_root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "train_ffcv.py", *SMALL, f"--data.beton_root={beton_root}", f"--run.root={tmp_path}"]
    log = tmp_path / "synthetic-seed0" / "log.jsonl"
    with subprocess.Popen(
        [*command, "--optim.epochs=500"], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 120
        while not (log.exists() and '"train"' in log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "goes on from" in output
    assert "Traceback" not in errors
    assert (log.parent / "last.pt").exists()


@pytest.mark.slow
def test_a_closed_terminal_leaves_a_checkpoint(beton_root: Path, tmp_path: Path) -> None:
    """SIGHUP, and from then on neither bar nor messages can be printed."""
    command = ["setsid", "--ctty", sys.executable, "train_ffcv.py", *SMALL, f"--data.beton_root={beton_root}"]
    log, (ours, its) = tmp_path / "synthetic-seed0" / "log.jsonl", os.openpty()
    process = subprocess.Popen(
        [*command, f"--run.root={tmp_path}", "--optim.epochs=500"], cwd=REPOSITORY, stdin=its, stdout=its, stderr=its,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # these tests may run under nohup
    )  # fmt: skip
    os.close(its)
    deadline = time.monotonic() + 120
    while not (log.exists() and '"train"' in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.close(ours)
    assert process.wait(60) == 128 + signal.SIGHUP
    content = checkpoint.load(log.parent / "last.pt")
    assert len(losses(log.parent)) == content["iteration"] + content["epoch"] * STEPS_PER_EPOCH > 0


def test_a_run_trains_in_another_thread(finished: Path, beton_root: Path, tmp_path: Path) -> None:
    """As a sweep calls it: the numbers are those of the main thread."""
    codes: list[int] = []
    thread = Thread(target=lambda: codes.append(train(beton_root, tmp_path, "run")))
    thread.start()
    thread.join()
    assert codes == [0]
    assert losses(tmp_path / "run") == losses(finished)


def test_second_signal_acts_at_once() -> None:
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.code == 130
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_killed_runs_extra_log_lines_are_dropped(finished: Path, beton_root: Path, tmp_path: Path) -> None:
    """Killed after the checkpoint, in the middle of writing a line: the log is cut back to the checkpoint."""
    shutil.copytree(finished, tmp_path / "killed")
    with open(tmp_path / "killed" / "log.jsonl", "a") as file:
        file.write(
            json.dumps({"kind": "train", "step": 99, "epoch": 9, "iteration": 1, "total": 0.0}) + '\n{"kind": "tr'
        )
    assert train(beton_root, tmp_path, "killed") == 0
    assert losses(tmp_path / "killed") == losses(finished)


def test_another_configuration_in_the_same_folder_is_refused(
    finished: Path, beton_root: Path, tmp_path: Path, refused: Refused
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    options = [*SMALL, f"--data.beton_root={beton_root}", f"--run.root={tmp_path}", "--run.name=run"]
    message = refused(train_ffcv.train, [*options, "--optim.lr=0.01"])
    assert_tells(message, tmp_path / "run", "optim.lr", 0.002, 0.01, "--run.resume=never")
    assert (tmp_path / "run" / "result.json").read_bytes() == (finished / "result.json").read_bytes()


def test_resume_never_sets_the_old_run_aside(finished: Path, beton_root: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    assert train(beton_root, tmp_path, "run", "--run.resume=never", "--optim.epochs=1") == 0
    assert (tmp_path / "run.1" / "result.json").read_bytes() == (finished / "result.json").read_bytes()
    assert json.loads((tmp_path / "run" / "result.json").read_text())["epochs"] == 1


def test_a_finished_run_is_not_run_or_rewritten_again(
    finished: Path, beton_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    assert train(beton_root, tmp_path, "run") == 0
    assert "finished before" in capsys.readouterr().out
    assert (tmp_path / "run" / "result.json").read_bytes() == (finished / "result.json").read_bytes()


def test_a_run_that_other_code_trained_says_so(
    finished: Path, beton_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The code was edited since: the same command shows the former result, and that it is the former one."""
    run = shutil.copytree(finished, tmp_path / "other")
    content = torch.load(run / "last.pt", weights_only=True)
    (entry,) = content["code"]
    assert (entry["sources"], entry["epoch"]) == (this_code()["sources"], 0)
    entry.update(sources="0123456789", commit="unknown")
    torch.save(content, run / "last.pt")
    assert train(beton_root, tmp_path, "other") == 0
    said = capsys.readouterr().err
    assert "sources 01234567" in said
    assert "--run.resume=never" in said
    assert (run / "log.jsonl").read_text() == (finished / "log.jsonl").read_text()


def test_a_test_set_of_another_size_is_refused_at_the_start(beton_root: Path, data_root: Path, tmp_path: Path) -> None:
    convert(synthetic.DATASET, data_root, tmp_path, ImageFormat(64, 32), workers=1)
    for name in ("train.beton", "train.json"):
        shutil.copy(beton_root / "synthetic" / name, tmp_path / "synthetic" / name)
    with refusal(DataError, tmp_path / "synthetic" / "test.beton", "64 x 32", "96 x 48"):
        train(tmp_path, tmp_path / "runs", "run")
    assert not (tmp_path / "runs").exists()


def test_the_configuration_that_is_stored_is_the_resolved_one(finished: Path) -> None:
    stored = yaml.safe_load((finished / "config.yaml").read_text())
    assert stored["engine"]["device"] == "cpu"
    assert "auto" not in stored["engine"].values()


def test_eval_finds_its_checkpoint_through_a_file(finished: Path, tmp_path: Path) -> None:
    def found(*arguments: str) -> tuple[Path, int]:
        return checkpoint_pattern(given_options(arguments))

    file = tmp_path / "run.yaml"
    file.write_text(f"eval: {{checkpoint: {finished / 'last.pt'}}}")
    assert found("-C", str(file)) == (finished / "last.pt", 0)
    file.write_text("run: {name: other, root: somewhere}")
    assert found("-C", str(file)) == (Path("somewhere/other/best.pt"), 0)
    assert found("--data.set=llcm", "--data.trial=3") == (Path("runs/llcm-seed0/best.pt"), 3)
    (tmp_path / "regdb-seed0" / "trial-2").mkdir(parents=True)
    pattern = tmp_path / "regdb-seed0" / "trial-{trial}" / "best.pt"
    assert found("--data.set=regdb", f"--run.root={tmp_path}") == (pattern, 0)


def test_re_ranking_is_refused_before_the_work_where_memory_lacks(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    monkeypatch.setattr(ranking, "free_bytes", lambda _: 1000)
    monkeypatch.setattr(Evaluator, "embed", None)
    with refusal(ConfigError, "eval.re_ranking"):
        eval_script.evaluate([f"--eval.checkpoint={run / 'last.pt'}", "--eval.re_ranking=true"])


def test_eval_reports_both_directions_and_agrees_with_training(
    finished: Path, beton_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    before = json.loads((run / "result.json").read_text())
    assert eval_script.evaluate([f"--eval.checkpoint={run / 'last.pt'}"]) == 0
    assert "llcm-v2i" in capsys.readouterr().out
    after = json.loads((run / "result.json").read_text())
    assert {key: value for key, value in after.items() if key != "evaluation"} == {
        key: value for key, value in before.items() if key != "evaluation"
    }
    rows = {(row["protocol"], row["feature"], row["checkpoint"]): row for row in after["evaluation"]}
    assert len(rows) == len(after["evaluation"]) == len(before["evaluation"]) + 3
    for row in before["evaluation"]:
        assert rows[row["protocol"], "BN(Z)", row["checkpoint"]]["per_trial"] == row["per_trial"]
    assert ("llcm-v2i", "Z", "last.pt, epoch 2") in rows
    assert "llcm-v2i" in (run / "result.md").read_text()


def open_evaluator(asked: Config) -> Evaluator:
    engine = make_engine(EngineOptions(device="cpu", precision="fp32"))
    return setup.open_evaluator(asked, World(engine.device), engine, {})


@pytest.mark.parametrize("batch_size", [5, 64])
def test_embeddings_do_not_depend_on_the_batch_size(finished: Path, beton_root: Path, batch_size: int) -> None:
    path = finished / "last.pt"
    content = checkpoint.load(path)
    asked = stored_config(content["config"])
    model = trained_network(path, content["model"], asked)
    embeddings = []
    for size in (16, batch_size):
        embeddings.append(open_evaluator(replace(asked, eval=replace(asked.eval, batch_size=size))).embed(model))
    for one, other in zip(*(found.both for found in embeddings), strict=True):
        assert torch.isfinite(one).all()
        assert torch.allclose(one, other, atol=1e-5)


def test_an_epoch_is_chosen_without_flip_on_what_trial_0_ranks(
    finished: Path, beton_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the published code chooses; the final table is a matter of eval.flip."""
    path, asked_for, flips = finished / "last.pt", [], set()
    content = checkpoint.load(path)
    asked = stored_config(content["config"])
    assert asked.eval.flip == "published"
    evaluator, model = open_evaluator(asked), trained_network(path, content["model"], asked)

    def batches(images: TestImages, row_N: np.ndarray) -> Any:
        asked_for.extend(row_N.tolist())
        return real_batches(images, row_N)

    def embedder(*arguments: Any, flip: str) -> Embedder:
        flips.add(flip)
        return Embedder(*arguments, flip=flip)

    real_batches = TestImages.batches
    monkeypatch.setattr(TestImages, "batches", batches)
    monkeypatch.setattr("dns.evaluation.evaluator.Embedder", embedder)
    chosen_by = evaluator.choosing_rank1(model, "llcm-i2v")
    protocol, test = PROTOCOLS["llcm-i2v"], evaluator.test_set
    ranked = len(protocol.queries(test)) + len(protocol.galleries(test)[0])
    assert len(asked_for) == len(set(asked_for)) == ranked
    assert flips == {"off"}
    logged = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert chosen_by == [line for line in logged if line["kind"] == "eval"][-1]["rank1"]
    some, everything = evaluator.embed(model, np.array([1, 4]), flip="off"), evaluator.embed(model, flip="off")
    assert some.bn.shape == (2, model.width)
    assert torch.allclose(some.compared("bn")[np.array([4, 1])], everything.bn[[4, 1]], atol=1e-5)
    with pytest.raises(KeyError, match="row 3 of the test set"):
        some.compared("bn")[np.array([1, 3])]
    assert chosen_by == evaluator.rankings(everything.bn, "llcm-i2v", [0])[0].metrics.cmc[0]


def break_nothing(root: Path) -> None:
    pass


def remove_manifest(root: Path) -> None:
    (root / "synthetic" / "train.json").unlink()


def truncate_beton(root: Path) -> None:
    path = root / "synthetic" / "train.beton"
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - 1000)


def age_manifest(root: Path) -> None:
    path = root / "synthetic" / "train.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 0'))


@pytest.mark.parametrize(
    ("damage", "options", "told"),
    [
        (break_nothing, ["--data.persons=9"], ["data.persons", "8 identities", 9]),
        (break_nothing, ["--data.set=regdb"], ["regdb/train.beton", "no such"]),
        (break_nothing, ["--optm.lr=1"], ["optm.lr", "optim.lr"]),
        (break_nothing, ["--optim.epochs=many"], ["optim.epochs", "'many'"]),
        (break_nothing, ["--engine.device=cuda:7"], ["engine.device", "'cuda:7'"]),
        (break_nothing, ["--model.pretrained=/nowhere.pth"], ["/nowhere.pth", "no such"]),
        (remove_manifest, [], ["synthetic/train.json", "missing"]),
        (truncate_beton, [], ["synthetic/train.beton", "cut short"]),
        (age_manifest, [], ["synthetic/train.json", "version 0"]),
    ],
)
def test_bad_input_is_refused_and_leaves_no_run(
    beton_root: Path, tmp_path: Path, refused: Refused, damage: Callable[[Path], None], options: list[str], told: list
) -> None:
    shutil.copytree(beton_root, tmp_path / "beton")
    damage(tmp_path / "beton")
    roots = [f"--data.beton_root={tmp_path / 'beton'}", f"--run.root={tmp_path / 'runs'}"]
    message = refused(train_ffcv.train, [*SMALL, *roots, *options])
    assert message.startswith("error: ")
    assert_tells(message, *told)
    assert not (tmp_path / "runs").exists()


def test_a_checkpoint_of_another_number_of_identities_is_refused(
    finished: Path, tmp_path: Path, refused: Refused
) -> None:
    """The run folder holds a run on 8 identities; the set now has 7."""
    options = Options(train_identities=7, test_identities=1, train_images=2, test_images=1, height_px=32)
    draw_here(tmp_path / "data" / "synthetic", options)
    convert(synthetic.DATASET, tmp_path / "data", tmp_path / "beton", ImageFormat(96, 48), workers=1)
    shutil.copytree(finished, tmp_path / "runs" / "whole")
    arguments = [
        *SMALL,
        f"--data.beton_root={tmp_path / 'beton'}",
        f"--run.root={tmp_path / 'runs'}",
        "--run.name=whole",
    ]
    assert_tells(refused(train_ffcv.train, arguments), tmp_path / "runs" / "whole" / "last.pt", 8, 7)


def test_eval_refuses_what_it_cannot_test(tmp_path: Path, refused: Refused) -> None:
    message = refused(eval_script.evaluate, [f"--eval.checkpoint={tmp_path / 'gone.pt'}"])
    assert message.startswith("error: ")
    assert_tells(message, tmp_path / "gone.pt", "no such")
    (tmp_path / "text.pt").write_text("nothing")
    message = refused(eval_script.evaluate, [f"--eval.checkpoint={tmp_path / 'text.pt'}"])
    assert_tells(message, tmp_path / "text.pt", "readable")


@pytest.mark.parametrize("function", [train_ffcv.train, eval_script.evaluate])
def test_help_of_both_programs(function: Callable[[list[str]], int], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        function(["--help"])
    assert caught.value.code == 0
    assert "--optim.lr" in capsys.readouterr().out


def test_a_compiled_run_compiles_each_thing_once(
    beton_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step, and the embedding of either modality, through epochs and evaluations in turn; without graph breaks."""
    compiled, real = [], torch.compile

    def backend(graph: torch.fx.GraphModule, inputs: list) -> object:
        compiled.append("loss" if torch.is_grad_enabled() else "embedding")
        return graph

    monkeypatch.setattr(
        torch, "compile", lambda function, **how: real(function, **how, fullgraph=True, backend=backend)
    )
    options = ["--engine.compile=true", "--engine.precision=fp32", "--data.persons=8"]
    assert train(beton_root, tmp_path, "run", *options) == 0
    assert len(json.loads((tmp_path / "run" / "result.json").read_text())["evaluation"]) in (1, 2)
    assert compiled.count("loss") == 1
    assert compiled.count("embedding") <= 2 * 2  # those of the best epoch's network too
