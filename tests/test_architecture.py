"""The rules that keep the project readable, held by reading its source."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dns.methods import METHODS
from dns.training.options import DEFAULT_METHOD, SECTIONS, declared
from tests.conftest import REPOSITORY
from tests.support.scripts import REFUSED

PACKAGES = ("ffcv_convert", "pipelines", "dns")
PAPER = (
    "network", "model", "backbones", "shifting", "losses", "layers", "triplets", "optim", "option", "step", "engine",
    "inductor", "published",
)  # fmt: skip
SCRIPTS = ("train_ffcv.py", "eval.py")
COMMON = ("ffcv_convert.common",)
# Package, or a part of it -> the project's modules that it may import from. The longest name that fits counts.
ALLOWED = {
    "ffcv_convert": ("ffcv_convert",),
    "ffcv_convert.common": COMMON,
    "ffcv_convert.beton": ("ffcv_convert.beton", *COMMON),
    "pipelines": ("pipelines", "ffcv_convert.beton", *COMMON),
    "dns": (*(f"dns.{name}" for name in PAPER), *COMMON),
    "dns.methods": ("dns.methods", *(f"dns.{name}" for name in PAPER), *COMMON),
    "dns.exchange": ("dns.ranks", *COMMON),
    "dns.ablation": ("dns", "pipelines", *COMMON),
    "dns.evaluation": ("dns", "pipelines.data", "ffcv_convert.beton.labels", "ffcv_convert.beton.tracklets", *COMMON),
    "dns.export": ("dns", "pipelines", "ffcv_convert.beton.labels", *COMMON),
    "dns.demo": ("dns", "pipelines.data", "ffcv_convert.beton.labels", *COMMON),
    "dns.judge": ("dns", "pipelines", "ffcv_convert.beton.labels", *COMMON),
    "dns.report": ("dns", "pipelines.data", "ffcv_convert.beton.labels", *COMMON),
    "dns.search": ("dns", "pipelines", "ffcv_convert"),
    "dns.serve": ("dns", "ffcv_convert"),
    "dns.training": ("dns", "pipelines", "ffcv_convert.beton.labels", *COMMON),
}


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


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_follow_the_data(package: str) -> None:
    for path in sources(package):
        part = max((name for name in ALLOWED if f"{module_of(path)}.".startswith(f"{name}.")), key=len)
        for name in imports(path):
            if name.split(".")[0] in (*PACKAGES, "train_ffcv", "eval", "benchmarks"):
                assert any(f"{name}.".startswith(f"{allowed}.") for allowed in ALLOWED[part]), (path, name)


@pytest.mark.parametrize("name", PAPER)
def test_the_paper_s_files_know_of_one_process(name: str) -> None:
    files = sources(f"dns/{name}") or [REPOSITORY / "dns" / f"{name}.py"]
    assert not any("distributed" in module for path in files for module in imports(path))


def test_no_script_imports_another() -> None:
    for path in [REPOSITORY / script for script in SCRIPTS]:
        assert not {name.split(".")[0] for name in imports(path)} & {"train_ffcv", "eval", "benchmarks"}, path


def test_one_module_imports_ffcv_and_two_fastargs() -> None:
    users: dict[str, set[str]] = {"ffcv": set(), "fastargs": set()}
    for path in [*(p for package in PACKAGES for p in sources(package)), *(REPOSITORY / script for script in SCRIPTS)]:
        for name in imports(path):
            users.get(name.split(".")[0], set()).add(path.name)
    assert users == {"ffcv": {"ffcv_patches.py"}, "fastargs": {"checkers.py", "config.py"}}


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_define_no_loss_loader_or_metric(script: str) -> None:
    text = (REPOSITORY / script).read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            assert not any(word in node.name.lower() for word in ("loss", "loader", "metric", "trainer"))


def test_scripts_can_be_imported_without_side_effects(scripts: Path) -> None:
    assert tuple(REFUSED) == SCRIPTS
    code, out, errors, files = json.loads((scripts / "imported.json").read_text())
    assert (code, out, errors, files) == (0, "", "", [])


def texts_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name, attribute, argument and text of a file but for its docstrings, with its line."""
    told = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield line, node.value
        for field in ("id", "attr", "arg", "name", "module"):
            if isinstance(found := getattr(node, field, None), str):
                yield line, found


def names_of_methods(tree: ast.AST) -> list[tuple[int, str]]:
    """Where code names a method. The first one is this project's own name, and in many paths."""
    words = "|".join(name for name in METHODS if name != DEFAULT_METHOD)
    named = re.compile(rf"(?<![a-z])({words})(?![a-z])", re.IGNORECASE)
    return [(line, text) for line, text in texts_of(tree) if named.search(text)]


def test_no_method_is_named_outside_its_file_the_table_and_its_recipes() -> None:
    """So that a new one is a file, a row and recipes: whoever needs to know of a method asks its row."""
    files = [*sources("dns"), *sources("pipelines"), *(REPOSITORY / script for script in SCRIPTS)]
    own = [REPOSITORY / "dns" / "methods", REPOSITORY / "pipelines" / "augment" / "recipes.py"]
    own += [REPOSITORY / "dns" / "evaluation" / "protocols.py"]  # llcm-v2i-deen: a direction that a script runs
    for path in files:
        if not any(path.is_relative_to(place) for place in own):
            assert not names_of_methods(ast.parse(path.read_text())), path


@pytest.mark.parametrize("line", ['if method == "agw": pass', "from dns.methods import caj", "def deen_only(): pass"])
def test_a_method_that_is_named_would_be_found(line: str) -> None:
    assert names_of_methods(ast.parse(line))
    assert not names_of_methods(ast.parse('"""A docstring may tell of AGW, CAJ and DEEN."""'))


def test_every_option_is_read_somewhere() -> None:
    """Each is used by name, in the code that gets its section; a loss's weight and a multiplier by the name of what it
    weighs."""
    files = [*sources("dns"), *(REPOSITORY / name for name in SCRIPTS)]
    text = "".join(path.read_text() for path in files if path.name != "config.py")
    options = {(section, name) for method in METHODS for section in SECTIONS for name in declared(section, method)}
    for section in SECTIONS:
        for name in [name for where, name in sorted(options) if where == section]:
            weighed = section in ("loss", "multiplier") and f'"{name}"' in text
            own = {"data": "self", "loss": "losses"}.get(section, section)  # DataOptions.folder; DNS.__init__
            read = rf"\b({section}|{own}|options|_options|_losses|run|data|optim)\.{name}\b"
            assert weighed or re.search(read, text), f"{section}.{name} is read nowhere"


PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "tests/faults/README.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_pages_name_only_what_exists(page: Path) -> None:
    """Targets of make, options, files, and links to other pages."""
    text = page.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?\bmake ([a-z][a-z-]+)", "\n".join(commands(text)))) <= targets
    options = {f"{section}.{name}" for of in METHODS for section in SECTIONS for name in declared(section, of)}
    assert set(re.findall(r"--([a-z]+\.[a-z0-9_]+)(?!\w*-)", text)) <= options
    for name in re.findall(r"`((?:ffcv_convert|pipelines|dns|configs|tests|benchmarks|docs)/[\w/.]*)`", text):
        assert (REPOSITORY / name).exists(), name
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert link.startswith("https://") or (page.parent / link).exists(), link


def commands(text: str) -> list[str]:
    """What stands as code, where a sentence would also say `make that shorter`."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [*blocks, *re.findall(r"`([^`\n]+)`", text)]


def test_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 200
