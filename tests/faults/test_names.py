"""Folders and pictures with names that mean something to a shell or to make: taken as they are, or refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ffcv_convert.schema import open_beton
from tests.conftest import REPOSITORY
from tests.faults.conftest import Tally
from tests.faults.pictures import draw_custom_set

NAMES = [
    "a b", "it's", 'a "b"', "$HOME", "$(touch ran)", "`touch ran`", "a; touch ran", "a & touch ran", "a | touch ran",
    "*", "~", "-x", "#a", "a\\", "a\nb", "{trial}", "%s", "caf\u00e9", os.fsdecode(b"caf\xe9"),
]  # fmt: skip
# What make passes on; and what ends the recipes' quotes or is make's own, after which another command could follow.
PASSED_ON = [name for name in NAMES if not set(name) & set("'$\n") and name.isprintable()]
EXECUTED = ["'; touch {ran}; '", "$(shell touch {ran})", "a\n touch {ran}"]
ECHO = f"""#!{sys.executable}
import json, sys
print(json.dumps(sys.argv[1:]))
"""


def call(*arguments: object, cwd: Path) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "ffcv_convert", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "utf-8:strict"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, timeout=120)


def test_folders_and_pictures_of_any_name_are_converted(tmp_path: Path, tally: Tally, times) -> None:
    for number, name in enumerate(NAMES[:: times(6, 1)]):
        top = tmp_path / str(number)
        root = draw_custom_set(top / name / "custom", identities=1)
        for modality in ("visible", "infrared"):
            (root / "train" / modality / "1" / "a.png").rename(root / "train" / modality / "1" / f"{name}.png")
        folders = [f"--data-root={name}", f"--beton-root={name}/Beton"]
        for command in (["convert", "--height-px=24", "--width-px=12"], ["convert"], ["verify", "--deep"]):
            done = call(*command, *folders, "--dataset=custom", cwd=top)
            tally.did("hostile_inputs")
            assert done.returncode == 0, (name, command, done.stderr.decode())
        train = open_beton(top / name / "Beton" / "custom" / "train.beton")
        assert train.manifest.column("path") == [f"train/{m}/1/{name}.png" for m in ("visible", "infrared")]
        assert not list(tmp_path.rglob("ran"))


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    """A VENV whose python says what it was called with."""
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").write_text(ECHO)
    (tmp_path / "venv" / "bin" / "python").chmod(0o755)
    (tmp_path / "venv" / ".dns-ffcv-ready").touch()
    return tmp_path / "venv"


def make(echo: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    options = [f"{name}={value}" for name, value in variables.items()]
    command = ["make", "--silent", "convert-datasets", f"VENV={echo}", *options]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", PASSED_ON)
def test_make_passes_a_name_on_as_it_is(echo: Path, tally: Tally, name: str) -> None:
    done = make(echo, DATA_ROOT=name, BETON_ROOT=f"{name}/Beton")
    tally.did("hostile_inputs")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said[said.index("--data-root") + 1] == name
    assert said[said.index("--beton-root") + 1] == f"{name}/Beton"
    assert not (REPOSITORY / "ran").exists()


@pytest.mark.parametrize("variable", ["DATA_ROOT", "BETON_ROOT"])
@pytest.mark.parametrize("text", EXECUTED)
def test_make_refuses_a_name_that_would_run_a_command(
    echo: Path, tmp_path: Path, tally: Tally, variable: str, text: str
) -> None:
    done = make(echo, **{variable: text.format(ran=tmp_path / "ran")})
    tally.did("hostile_inputs")
    assert not (tmp_path / "ran").exists()
    assert done.returncode == 2
    assert variable in done.stderr
