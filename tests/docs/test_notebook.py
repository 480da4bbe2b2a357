"""docs/test.ipynb runs from top to bottom, and is stored with what it shows."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import REPOSITORY

NOTEBOOK = REPOSITORY / "docs" / "test.ipynb"


def kinds(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """What each cell of code shows: text, or the richest form of a result."""
    order = ("image/png", "image/svg+xml", "text/markdown", "text/plain")
    shown = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            data = [output.get("data") for output in cell.outputs]
            shown.append(["text" if one is None else next(kind for kind in order if kind in one) for one in data])
    return shown


# Its libraries warn of what does not concern this project.
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_runs_on_a_small_set(small_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECKPOINT", str(small_run / "last.pt"))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    stored = kinds(notebook)
    client = NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    client.execute()  # raises where a cell does
    assert kinds(notebook) == stored
    assert "| llcm-i2v |" in notebook.cells[5].outputs[0].data["text/markdown"]


def test_it_is_stored_with_its_outputs() -> None:
    shown = kinds(nbformat.read(NOTEBOOK, as_version=4))
    assert [kind for cell in shown for kind in cell].count("image/svg+xml") == 2
    assert ["image/png"] in shown
    assert ["text/markdown"] in shown
    assert NOTEBOOK.stat().st_size < 500_000
