"""A leading ~ is the home folder in every path that a user types; and which folders can be written."""

import os
from pathlib import Path

import pytest

from dns.training.config import read_config
from dns.training.options import SECTIONS, declared
from ffcv_convert import __main__ as cli
from ffcv_convert.common.errors import ConfigError
from ffcv_convert.common.paths import can_write, expanded
from tests.support.refusals import refusal

NEEDED = ["--data.set=llcm", "--eval.protocol=llcm-i2v"]
PATHS = [f"{section}.{key}" for section in SECTIONS for key, (option, _, _) in declared(section).items() if option.path]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(("text", "path"), [("~/a", "{home}/a"), ("~", "{home}"), ("a/~", "a/~"), ("./~/a", "./~/a")])
def test_the_home_folder_takes_its_place(home: Path, text: str, path: str) -> None:
    assert expanded(text) == path.format(home=home)


def test_no_folder_named_like_it_is_made() -> None:
    with refusal(ConfigError, "~nobody-here/a"):
        expanded("~nobody-here/a")


def test_every_path_of_a_configuration_is_expanded(home: Path) -> None:
    assert len(PATHS) == 5
    (home / "recipe.yaml").write_text("data: {beton_root: ~/Beton}\n")
    assert read_config([*NEEDED, "--config-file=~/recipe.yaml"], description="").data.beton_root == f"{home}/Beton"
    for name in PATHS:
        section, key = name.split(".")
        assert getattr(getattr(read_config([*NEEDED, f"--{name}=~/x"], description=""), section), key) == f"{home}/x"


@pytest.mark.parametrize("command", ["convert", "verify", "synthesise"])
def test_every_path_of_the_converter_is_expanded(home: Path, command: str) -> None:
    names = ["--root"] if command == "synthesise" else ["--data-root", "--beton-root"]
    parsed = cli.parser().parse_args([command, *(f"{name}=~/x" for name in names)])
    for name in names:
        assert getattr(parsed, name[2:].replace("-", "_")) == home / "x"


def test_a_folder_can_be_written_where_the_nearest_one_that_is_there_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """root may write everywhere but in a read-only file system, so access is asked in the system's place."""
    monkeypatch.setattr(os, "access", lambda path, _: path == tmp_path)
    (tmp_path / "barred").mkdir()
    assert can_write(tmp_path)
    assert can_write(tmp_path / "new" / "newer")
    assert not can_write(tmp_path / "barred")
    assert not can_write(tmp_path / "barred" / "new")
