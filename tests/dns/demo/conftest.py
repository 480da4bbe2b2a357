"""Small exported networks, and what stands for onnxruntime-web where no browser runs it."""

import hashlib
from pathlib import Path

import pytest

from dns.demo import onnxruntime_web
from tests.conftest import MadeOnce
from tests.support.made_export import make_export


@pytest.fixture(scope="session")
def exported(made_once: MadeOnce) -> Path:
    """A folder of small exported networks, for images of 96 x 48. Read only."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    return made_once("exported", make_export)


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files that pass as those of onnxruntime-web."""
    folder = tmp_path / "onnxruntime-web"
    folder.mkdir()
    for name in onnxruntime_web.SHA256:
        (folder / name).write_bytes(b"made")
    digest = hashlib.sha256(b"made").hexdigest()
    monkeypatch.setattr(onnxruntime_web, "SHA256", dict.fromkeys(onnxruntime_web.SHA256, digest))
    return folder
