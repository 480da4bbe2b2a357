"""The rules that keep the project readable, held by reading its source."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dns.evaluation.protocols import PROTOCOLS
from dns.options import declare
from pipelines.augment import RECIPES
from tests.conftest import REPOSITORY

PACKAGES = ("ffcv_convert", "pipelines", "dns")
SCRIPTS = ("train_ffcv.py", "eval.py")
# Package -> the project modules it may import from, beside its own.
ALLOWED = {"ffcv_convert": (), "pipelines": ("ffcv_convert.schema",), "dns": ()}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def sources(package: str) -> list[Path]:
    return sorted((REPOSITORY / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_follow_the_data(package: str) -> None:
    for path in sources(package):
        for name in imports(path):
            if name.split(".")[0] in (*PACKAGES, "train_ffcv", "eval", "benchmarks"):
                assert any(name.startswith(f"{allowed}.") for allowed in (package, *ALLOWED[package])), (path, name)


def test_one_module_imports_ffcv_and_two_fastargs() -> None:
    users: dict[str, set[str]] = {"ffcv": set(), "fastargs": set()}
    for path in [*(p for package in PACKAGES for p in sources(package)), *(REPOSITORY / script for script in SCRIPTS)]:
        for name in imports(path):
            users.get(name.split(".")[0], set()).add(path.name)
    assert users == {"ffcv": {"ffcv_mended.py"}, "fastargs": {"config.py", "options.py"}}


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_define_no_loss_loader_or_metric(script: str) -> None:
    text = (REPOSITORY / script).read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            assert not any(word in node.name.lower() for word in ("loss", "loader", "metric", "trainer"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_can_be_imported_without_side_effects(script: str, tmp_path: Path) -> None:
    code = (
        "import sys, torch, signal; sys.argv = ['x', '--nonsense']; state = lambda: (torch.get_num_threads(),"
        f"signal.getsignal(2)); before = state(); import {script[:-3]}; assert state() == before"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_every_option_is_read_somewhere() -> None:
    """Each is used by name, or handed on with its whole section (as keyword arguments)."""
    text = "".join((REPOSITORY / name).read_text() for name in SCRIPTS) + (REPOSITORY / "dns" / "run.py").read_text()
    whole_sections = {"multiplier", "engine"}
    assert all(f'values["{section}"]' in text for section in whole_sections)
    for section, key in declare(list(PROTOCOLS), list(RECIPES)).entries:
        assert section in whole_sections or re.search(rf"""["'.]{key}["']""", text), f"{section}.{key} is read nowhere"


def test_readme_names_only_what_exists() -> None:
    text = (REPOSITORY / "README.md").read_text()
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z][a-z-]+)", text)) <= targets
    options = {".".join(path) for path in declare(list(PROTOCOLS), list(RECIPES)).entries}
    assert set(re.findall(r"--([a-z]+\.[a-z0-9_]+)(?!\w*-)", text)) <= options
    for name in re.findall(r"`((?:ffcv_convert|pipelines|dns|configs|tests|benchmarks)/[\w/.]*)`", text):
        assert (REPOSITORY / name).exists(), name
