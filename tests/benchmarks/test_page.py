"""The documentation's tables are those of the stored results."""

import json
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from benchmarks import page
from benchmarks.harness import digits
from tests.conftest import REPOSITORY


@pytest.fixture
def committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The results as they were committed: a user may have measured others, or counted faults again."""
    archive = ["git", "archive", "HEAD", "benchmarks/results"]
    done = subprocess.run(archive, cwd=REPOSITORY, capture_output=True)
    if done.returncode:
        pytest.skip("no repository")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as content:
        content.extractall(tmp_path, filter="data")
    monkeypatch.setattr(page, "RESULTS", tmp_path / "benchmarks" / "results")
    return tmp_path / "benchmarks" / "results"


@pytest.mark.parametrize("name", sorted(path.name for path in page.DOCS.glob("*.md")))
def test_tables_are_those_of_the_stored_results(committed: Path, name: str) -> None:
    text = (page.DOCS / name).read_text(encoding="utf-8")
    assert page.render(text) == text, "python -m benchmarks.page writes it again"


def test_a_result_that_is_missing_is_named(committed: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        page.render("<!-- nothing -->\n<!-- end -->")


def test_the_readmes_speeds_are_those_of_the_stored_results(committed: Path) -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for question in ("pipeline", "convert"):
        content = json.loads(page.newest(question).read_text())
        assert f"| {digits(content['cases']['ours']['median'])} images/s: " in readme, question
