"""make serve passes its variables on as they are."""

import json
from pathlib import Path

import pytest

from tests.faults.test_make import ECHO, make, venv

NAME = "O'Brien's disk, 5 US$"


def test_make_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHECKPOINT", "ARGS"):
        monkeypatch.delenv(name, raising=False)
    place = {"VENV": venv(tmp_path / "venv", ECHO), "INDEX": NAME}
    assert json.loads(make("serve", **place).stdout) == ["-m", "dns.serve", NAME]
    said = json.loads(make("serve", **place, CHECKPOINT=NAME, ARGS="--port=0").stdout)
    assert said == ["-m", "dns.serve", NAME, f"--checkpoint={NAME}", "--port=0"]
