"""A run's folder and its interruption, without training."""

import fcntl
import os
import signal
from pathlib import Path

import pytest
import torch

from dns.training import former_choices
from dns.training.former_choices import with_former_choices
from dns.training.run_folder import RunFolder, set_aside
from dns.training.stopping import Interruption
from ffcv_convert.common.errors import ConfigError, ReportError
from ffcv_convert.common.world import World
from tests.support.configs import make_config
from tests.support.refusals import assert_tells, refusal

WORLD = World(torch.device("cpu"))
TRAIN = '{"kind": "train", "step": 1, "epoch": 0, "iteration": 1, "total": 0.1}'


def folder(root: Path, resume: str = "auto") -> RunFolder:
    return RunFolder(make_config(f"--run.root={root}", "--run.name=run", f"--run.resume={resume}"), WORLD)


@pytest.mark.parametrize("name", ["best.pt", "result.json"])
def test_what_a_run_without_its_last_checkpoint_left_is_set_aside(tmp_path: Path, name: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("dear")
    with folder(tmp_path).training():
        assert (tmp_path / "run.1" / name).read_text() == "dear"
        assert {path.name for path in (tmp_path / "run").iterdir()} == {"config.yaml"}


def test_a_run_that_never_saved_is_begun_again_in_its_folder(tmp_path: Path) -> None:
    for _ in range(2):
        run = folder(tmp_path)
        with run.training():
            assert run.lines.read("train") == []
            run.log.write("train", step=1)
            (run.path / "last.pt.partial").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    with run.training():
        assert not (run.path / "last.pt.partial").exists()


def test_one_training_a_folder(tmp_path: Path) -> None:
    with folder(tmp_path).training():
        for resume in ("auto", "never"):
            with refusal(ConfigError, tmp_path / "run"), folder(tmp_path, resume).training():
                pass
        set_aside(tmp_path / "run")
        with folder(tmp_path).training():
            pass


def test_a_file_system_without_locks_is_mentioned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with folder(tmp_path).training():
        assert "No locks available" in capsys.readouterr().err


def test_a_log_is_cut_back_to_its_checkpoint(tmp_path: Path) -> None:
    run = folder(tmp_path)
    lines = [
        '{"kind": "run", "step": 0, "epoch": 0}', TRAIN, '{"kind": "epoch", "step": 1, "epoch": 1}',
        '{"kind": "eval", "step": 1, "epoch": 1}', '{"kind": "train", "step": 2, "epoch": 1, "iteration": 1}',
    ]  # fmt: skip
    for at, tested, left in (
        ((0, 0), True, 1),
        ((0, 1), True, 2),
        ((1, 0), False, 3),
        ((1, 0), True, 4),
        ((1, 1), False, 5),
    ):
        run.path.mkdir(exist_ok=True)
        run.lines.path.write_text("\n".join([*lines, '{"kind": "tr']))
        run.lines.truncate(*at, evaluated=tested)
        assert run.lines.path.read_text() == "".join(line + "\n" for line in lines[:left])


def test_a_damaged_line_of_a_log_is_named(tmp_path: Path) -> None:
    run = folder(tmp_path)
    run.path.mkdir()
    run.lines.path.write_text(f"{TRAIN}\n{TRAIN[:-5]}\n{TRAIN}\n")
    for read in (lambda: run.lines.read("train"), lambda: run.lines.truncate(0, 1, evaluated=True)):
        with refusal(ReportError, run.lines.path, "line 2"):
            read()
    assert run.lines.path.read_text() == f"{TRAIN}\n{TRAIN[:-5]}\n{TRAIN}\n"


def test_a_signal_ends_at_once_what_can_be_done_again() -> None:
    done = []
    with Interruption() as interruption:
        with interruption.at_once():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("the rest of the work")
        done.append("the rest of the block")
    assert (interruption.code, done) == (143, [])
    with Interruption() as interruption:  # the signal comes just before
        os.kill(os.getpid(), signal.SIGTERM)
        with interruption.at_once():
            done.append("the work")
    assert (interruption.code, done) == (143, [])


def begun(root: Path, *options: str) -> Path:
    """The folder of a run that began with these options, every "auto" settled."""
    run = RunFolder(make_config(f"--run.root={root}", "--run.name=run", *options), WORLD)
    with run.training():
        run.last.touch()
        run.lines.write({"kind": "train", "step": 1, "epoch": 0})
    return run.path


SETTLED = ("--engine.device=cpu", "--engine.precision=bf16", "--engine.graph=false", "--eval.protocol=llcm-v2i")


@pytest.mark.parametrize(
    ("asked", "precision", "graph", "protocol"),
    [
        ((), "bf16", "false", "llcm-v2i"),
        (("--engine.device=cpu",), "bf16", "false", "llcm-v2i"),
        (("--engine.precision=fp32",), "fp32", "false", "llcm-v2i"),
        (("--eval.protocol=llcm-i2v",), "bf16", "false", "llcm-i2v"),
        (("--engine.device=cuda",), "auto", "auto", "llcm-v2i"),  # it will be refused: another type of device
        (("--run.resume=never",), "auto", "auto", "auto"),
        (("--run.name=other",), "auto", "auto", "auto"),
    ],
)
def test_what_auto_chose_when_the_run_began_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
    asked: tuple[str, ...], precision: str, graph: str, protocol: str,
) -> None:  # fmt: skip
    folder = begun(tmp_path, *SETTLED)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(former_choices, "fastest_precision", lambda _: "fp32")
    config = make_config(f"--run.root={tmp_path}", "--run.name=run", "--eval.protocol=auto", *asked)
    found = with_former_choices(config)
    assert (found.engine.precision, found.engine.graph, found.eval.protocol) == (precision, graph, protocol)
    assert (found.data, found.run, found.engine.compile) == (config.data, config.run, "auto")
    said = capsys.readouterr().err
    if precision == "bf16":
        assert_tells(said, "note", folder, "bf16", "fp32")
    else:
        assert not said


def test_a_first_try_that_trained_nothing_decides_nothing(tmp_path: Path) -> None:
    (begun(tmp_path, *SETTLED) / "log.jsonl").unlink()
    config = make_config(f"--run.root={tmp_path}", "--run.name=run", "--eval.protocol=auto")
    assert with_former_choices(config) == config


def test_a_run_that_did_not_compile_goes_on_so_and_one_that_did_is_tried(tmp_path: Path) -> None:
    for stored, found in (("false", "false"), ("true", "auto")):
        begun(tmp_path / stored, "--engine.device=cpu", f"--engine.compile={stored}")
        config = make_config(f"--run.root={tmp_path / stored}", "--run.name=run", "--engine.device=cpu")
        assert with_former_choices(config).engine.compile == found


@pytest.mark.parametrize("text", ["engine: {precission: bf16}\n", "[", ""])
def test_a_configuration_that_cannot_be_read_decides_nothing(tmp_path: Path, text: str) -> None:
    (begun(tmp_path, *SETTLED) / "config.yaml").write_text(text)
    config = make_config(f"--run.root={tmp_path}", "--run.name=run")
    assert with_former_choices(config) == config
