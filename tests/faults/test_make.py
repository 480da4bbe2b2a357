"""Through make: a folder with a blank and quotes in its name, and runs that are stopped and go on."""

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dns.training import checkpoint
from ffcv_convert.convert import convert
from ffcv_convert.datasets import llcm
from ffcv_convert.images import ImageFormat
from tests.conftest import REPOSITORY
from tests.faults.conftest import Tally
from tests.faults.training_child import OPTIONS

ECHO = f"""#!{sys.executable}
import json, sys
print(json.dumps(sys.argv[1:]))
"""
MADE_FROM = ("pyproject.toml", "constraints.txt", ".ci/pins.py")
PASS_ON = f"""#!/bin/sh
exec {shlex.quote(sys.executable)} "$@"
"""


def made_from() -> str:
    """What the stamp of an environment holds that is up to date."""
    return hashlib.sha256(b"".join((REPOSITORY / name).read_bytes() for name in MADE_FROM)).hexdigest()


def venv(folder: Path, python: str) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text(python)
    (folder / "bin" / "python").chmod(0o755)
    (folder / ".dns-ffcv-ready").write_text(f"{made_from()}\n")
    return folder


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    """A VENV whose python says what it was called with."""
    return venv(tmp_path / "venv", ECHO)


def command(target: str, **variables: object) -> list[str]:
    """A make of its own, though a make may run these tests."""
    alone = ["env", "--unset=MAKEFLAGS", "--unset=ARGS"]
    return [*alone, "make", "--silent", target, *(f"{name}={value}" for name, value in variables.items())]


def make(target: str, **variables: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(target, **variables), cwd=REPOSITORY, capture_output=True, text=True, timeout=120)


def test_make_passes_a_name_on_as_it_is(echo: Path) -> None:
    name = "O'Brien's disk, 5 US$"
    converted = make("convert-datasets", VENV=echo, DATA_ROOT=name, BETON_ROOT=f"{name}/Beton")
    assert converted.returncode == 0, converted.stderr
    said = json.loads(converted.stdout)
    assert said[said.index("--data-root") + 1] == name
    assert said[said.index("--beton-root") + 1] == f"{name}/Beton"
    tested = make("eval", VENV=echo, CHECKPOINT=name, PROTOCOL=name, TRIAL=name, DATASET=name)
    assert tested.returncode == 0, tested.stderr
    options = ("eval.checkpoint", "eval.protocols", "data.trial")
    told = {f"--{option}={name}" for option in options} | {f"--data.set={name.lower()}"}
    assert told < set(json.loads(tested.stdout))


def test_make_demo_takes_the_run_s_best_checkpoint_or_the_one_that_is_named(
    echo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATASET", raising=False)  # a make that runs these tests hands its own on
    name = "O'Brien's best.pt"
    said = json.loads(make("demo", VENV=echo).stdout)
    assert said[:4] == ["-m", "dns.demo", "runs/synthetic-seed0/best.pt", "--serve"]
    assert not any(word.startswith("--dataset") for word in said)
    said = json.loads(make("demo", VENV=echo, CHECKPOINT=name, DATASET="LLCM", TRIAL=3, ARGS="--images=true").stdout)
    assert said[2] == name
    assert {"--dataset=llcm", "--trial=3", "--images=true"} < set(said)


def installs(checkout: Path, target: str) -> bool:
    """Whether make would install packages there."""
    done = subprocess.run(["make", "-n", target], cwd=checkout, capture_output=True, text=True, check=True)
    return "-m pip install" in done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout without an environment, where pip is a program that says what it was called with."""
    folder = tmp_path / "checkout"
    for name in ("Makefile", *MADE_FROM):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, folder / name)
    (folder / ".ci" / "system-packages").write_text("#!/bin/sh\n")
    (folder / ".ci" / "system-packages").chmod(0o755)
    (venv(folder / ".venv", ECHO) / ".dns-ffcv-ready").unlink()
    return folder


def test_an_environment_is_made_again_where_what_it_was_made_from_changed(checkout: Path, tmp_path: Path) -> None:
    """Copied with its times to a checkout of a later date, it is used as it is."""
    made = subprocess.run(["make", "setup"], cwd=checkout, capture_output=True, text=True, check=True)
    assert '"pip", "install"' in made.stdout
    assert (checkout / ".venv" / ".dns-ffcv-ready").read_text() == f"{made_from()}\n"
    shutil.copytree(checkout, tmp_path / "node")
    (tmp_path / "node" / "pyproject.toml").touch()
    assert not installs(tmp_path / "node", "setup")
    assert installs(tmp_path / "node", "benchmark"), "its packages were not asked for yet"
    shutil.copy(checkout / ".venv" / ".dns-ffcv-ready", tmp_path / "node" / ".venv" / ".dns-ffcv-bench")
    assert not installs(tmp_path / "node", "benchmark")
    with open(tmp_path / "node" / "constraints.txt", "a") as file:
        file.write("more==1\n")
    assert installs(tmp_path / "node", "setup")


@pytest.mark.parametrize(("hangup", "more"), [("default", {"SIGHUP"}), ("ignore", set())])
def test_ranks_of_one_machine_need_no_name_of_it_and_get_the_signals(echo: Path, hangup: str, more: set[str]) -> None:
    """nohup ignores SIGHUP, and torchrun would handle it all the same."""
    asked = ["env", f"--{hangup}-signal=HUP", *command("eval", VENV=echo, RANKS=2, CHECKPOINT="best.pt")]
    done = subprocess.run(asked, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    said = json.loads(done.stdout)
    assert "--local-addr=localhost" in said
    passed = next(option for option in said if option.startswith("--signals-to-handle=")).partition("=")[2].split(",")
    assert set(passed) == {"SIGTERM", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", *more}


@pytest.fixture
def train(data_root_of: Callable[[str], Path], tmp_path: Path) -> Callable[..., list[str]]:
    """train(name, **variables): the command that trains a run of this name on drawn people in LLCM's layout."""
    betons = tmp_path / "Beton"
    convert(llcm.DATASET, data_root_of("llcm").parent, betons, ImageFormat(32, 16), workers=1)
    options = [*OPTIONS[2:], "--model.architecture=resnet10_half", "--model.pretrained=none", "--run.save_minutes=0"]
    variables = {"VENV": venv(tmp_path / "venv", PASS_ON), "DATA_ROOT": data_root_of("llcm").parent}

    def with_name(name: str, **more: str) -> list[str]:
        places = [f"--run.root={tmp_path / 'runs'}", f"--run.name={name}"]
        arguments = shlex.join([*options, *places])
        return command("train", DATASET="llcm", BETON_ROOT=betons, ARGS=arguments, **variables, **more)

    return with_name


def run(arguments: list[str]) -> str:
    """What it printed; it has to end well."""
    done = subprocess.run(arguments, cwd=REPOSITORY, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_make_train_goes_on_with_a_stopped_run(train: Callable[..., list[str]], tmp_path: Path, tally: Tally) -> None:
    """The signal goes to make and to its children, as from a scheduler; and make passes it on once more."""
    folder = tmp_path / "runs" / "run"
    with subprocess.Popen(train("run"), cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          start_new_session=True) as process:  # fmt: skip
        while process.poll() is None and not (
            (folder / "log.jsonl").exists() and '"train"' in (folder / "log.jsonl").read_text()
        ):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    tally.did("kills")
    assert process.returncode != 0, output
    assert f"the same command goes on from {folder / 'last.pt'}" in output
    stopped = checkpoint.load(folder / "last.pt")
    assert (0, 0) < (stopped["epoch"], stopped["iteration"]) < (2, 0)
    at = rf"after {stopped['epoch']} epochs? and {stopped['iteration']} iterations?\n"
    assert re.search(f"going on with {folder} {at}", run(train("run")))


def test_a_data_set_in_capitals_is_understood(echo: Path, tmp_path: Path) -> None:
    done = make("train", VENV=echo, DATASET="LLCM", BETON_ROOT=tmp_path)
    converts, trains = map(json.loads, done.stdout.splitlines())
    assert converts[converts.index("--dataset") + 1] == "llcm"
    assert trains[:3] == ["train_ffcv.py", "--config-file", "configs/llcm.yaml"]


def test_a_method_has_recipes_and_perhaps_a_size_of_its_own(tmp_path: Path) -> None:
    """The python here says what dns.training.conversion would, and what else it was called with."""
    sized = """#!/bin/sh
case "$2 $4" in "dns.training.conversion configs/deen/sysu.yaml") echo 384x144 ;; dns.training.con*) ;;
*) echo "$@" ;; esac
"""
    done = make("train", VENV=venv(tmp_path / "venv", sized), DATASET="sysu", METHOD="DEEN", BETON_ROOT="a b")
    converts, trains = done.stdout.splitlines()
    assert "--beton-root a b/384x144 --height-px 384 --width-px 144 --dataset sysu" in converts
    assert trains.startswith("train_ffcv.py --config-file configs/deen/sysu.yaml --data.beton_root=a b ")
    plain = make("train", VENV=tmp_path / "venv", DATASET="sysu", METHOD="dns", BETON_ROOT="a b").stdout
    assert "--config-file configs/sysu.yaml" in plain
    assert "--beton-root a b --dataset sysu" in plain
    tested = make("eval", VENV=tmp_path / "venv", METHOD="AGW", CHECKPOINT="a.t", DATASET="sysu").stdout
    assert "--eval.checkpoint=a.t --model.method=agw --data.set=sysu" in tested


def test_make_ablation_converts_and_leaves_methods_to_the_rows(echo: Path, tmp_path: Path) -> None:
    done = make("ablation", VENV=echo, DATASET="LLCM", BETON_ROOT=tmp_path, JOBS=2, ARGS="--run.dry=true")
    converts, trains = map(json.loads, done.stdout.splitlines())
    assert converts[converts.index("--dataset") + 1] == "llcm"
    assert trains[:4] == ["-m", "dns.ablation", "--dataset", "llcm"]
    assert {"--run.jobs=2", "--run.dry=true"} < set(trains)
    for variable in ("METHOD", "RECIPE"):
        done = make("ablation", VENV=echo, **{variable: "agw"})
        assert (done.returncode, done.stdout) == (2, "")
        assert "no METHOD and no RECIPE" in done.stderr


def test_options_are_checked_before_a_first_conversion(tmp_path: Path) -> None:
    """The python here refuses the options, as dns.training.config does, and says what else it was called with."""
    refusing = """#!/bin/sh
case "$2" in dns.training.config) exit 2;; *) echo "$@";; esac
"""
    place = {"VENV": venv(tmp_path / "venv", refusing), "DATASET": "llcm", "BETON_ROOT": tmp_path}
    done = make("train", **place, ARGS="--optm.lr=1")
    assert (done.returncode, done.stdout) == (2, "")
    (tmp_path / "llcm").mkdir()
    (tmp_path / "llcm/train.beton").touch()
    done = make("train", **place)
    assert done.returncode == 0
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["ffcv_convert", "--config-file"]


def test_make_train_starts_again_where_it_is_asked_to(echo: Path) -> None:
    """tests/end_to_end/test_train.py starts again."""
    done = make("train", VENV=echo, DATASET="llcm", RESUME="never")
    assert "--run.resume=never" in json.loads(done.stdout.splitlines()[-1])
