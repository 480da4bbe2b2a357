"""What tells the code of a result from other code."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from dns.training import environment


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one committed source, in place of this one."""
    folder = tmp_path / "project"
    (folder / "dns").mkdir(parents=True)
    (folder / "dns/losses.py").write_text("WEIGHT = 1\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    monkeypatch.setattr(environment, "PROJECT", folder)
    return folder


def code() -> dict[str, Any]:
    return environment.this_code.__wrapped__()


def test_an_edited_source_is_told_from_its_commit(project: Path) -> None:
    clean = code()
    assert (clean["commit"], clean["modified"]) == (git(project, "rev-parse", "HEAD"), False)
    assert environment.named(clean) == f"commit {clean['commit'][:8]}"
    (project / "README.md").write_text("A page computes nothing.\n")
    assert code() == clean
    (project / "dns/losses.py").write_text("WEIGHT = 2\n")
    edited = code()
    assert (edited["commit"], edited["modified"]) == (clean["commit"], True)
    assert edited["sources"] != clean["sources"]
    assert edited["sources"][:8] in environment.named(edited)


def test_a_source_that_git_does_not_know_is_a_modification(project: Path) -> None:
    before = code()
    (project / "dns/new.py").write_text("")
    assert code()["modified"]
    assert code()["sources"] != before["sources"]


def test_another_projects_commit_is_not_taken(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sources were copied into a repository of the user's own, or lie in an environment inside one."""
    inside = project / "third_party"
    (inside / "dns").mkdir(parents=True)
    (inside / "dns/losses.py").write_text("WEIGHT = 1\n")
    own = code()
    monkeypatch.setattr(environment, "PROJECT", inside)
    assert code() == {"commit": "unknown", "modified": None, "sources": own["sources"]}
    assert environment.named(code()) == f"sources {own['sources'][:8]}"


def test_sources_have_a_digest_without_git(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_git = code()
    monkeypatch.setenv("PATH", str(project))
    assert code() == {"commit": "unknown", "modified": None, "sources": with_git["sources"]}


def test_what_git_cannot_tell_is_unknown(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged index hides edits; a repository may have no commit; hooks name a repository of their own."""
    clean = code()
    git(tmp_path, "init", "-q", "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    assert code() == clean
    (project / ".git" / "index").write_bytes(b"damaged")
    assert (code()["commit"], code()["modified"]) == (clean["commit"], None)
    monkeypatch.setattr(environment, "PROJECT", tmp_path / "other")
    assert code()["commit"] == "unknown"
