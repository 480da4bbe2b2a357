"""make index and make search: what they pass on, and a search that they make."""

import json
import shutil
from pathlib import Path

import pytest

from tests.faults.test_make import ECHO, PASS_ON, command, make, run, venv
from tests.support.search_commands import lines_of, rows_of

NAME = "O'Brien's disk, 5 US$"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A make that runs these tests hands its own on."""
    for name in ("DATASET", "METHOD", "CHECKPOINT", "TRIAL", "CAMERAS", "SINCE", "UNTIL", "MODALITY", "ARGS"):
        monkeypatch.delenv(name, raising=False)


def test_variables_are_passed_on_as_they_are(tmp_path: Path) -> None:
    place = {"VENV": venv(tmp_path / "venv", ECHO), "INDEX": NAME}
    variables = ("BOXES", "FRAMES", "EMBEDDINGS", "CALIBRATE", "MODALITY", "CHECKPOINT", "TRIAL")
    said = json.loads(make("index", **place, **dict.fromkeys(variables, NAME), DATASET="LLCM", BETON_ROOT=NAME).stdout)
    assert said[:4] == ["-m", "dns.search", "index", NAME]
    options = ("boxes", "frames", "embeddings", "calibrate", "modality", "checkpoint", "beton-root", "trial")
    assert sorted(said[4:]) == sorted([*(f"--{option}={NAME}" for option in options), "--dataset=llcm"])
    filters = {"CAMERAS": "hall 1,door", "SINCE": "2026-03-02 08:00", "UNTIL": "2026-03-02 09:00"}
    told = ["--cameras=hall 1,door", "--since=2026-03-02 08:00", "--until=2026-03-02 09:00"]
    said = json.loads(make("index", **place, **filters, ARGS="--remove").stdout)
    assert {*told, "--remove"} < set(said)
    asked = {"QUERY": NAME, "MODALITY": "infrared", "PAGE": NAME, "CHECKPOINT": NAME}
    said = json.loads(make("search", **place, **filters, **asked, ARGS="--hits=3").stdout)
    assert said == [
        "-m", "dns.search", "search", NAME, NAME, "--modality=infrared", f"--page={NAME}", *told,
        f"--checkpoint={NAME}", "--hits=3",
    ]  # fmt: skip


def test_a_new_index_takes_the_run_s_network_and_an_old_one_its_own(tmp_path: Path) -> None:
    place = {"VENV": venv(tmp_path / "venv", ECHO), "IMAGES": "crops"}
    said = json.loads(make("index", **place, INDEX=tmp_path / "New", DATASET="LLCM").stdout)
    assert {"--crops=crops", "--checkpoint=runs/llcm-seed0/best.pt"} < set(said)
    (tmp_path / "Old").mkdir()
    said = json.loads(make("index", **place, INDEX=tmp_path / "Old").stdout)
    assert not [word for word in said if word.startswith(("--checkpoint", "--dataset"))]


@pytest.mark.slow
def test_make_indexes_and_searches(footage: Path, small_run: Path, beton_root: Path, tmp_path: Path) -> None:
    place = {"VENV": venv(tmp_path / "venv", PASS_ON), "INDEX": tmp_path / "Index"}
    frames = tmp_path / NAME
    shutil.copytree(footage, frames)
    made = run(
        command("index", **place, BOXES=frames / "boxes.csv", FRAMES=frames, CHECKPOINT=small_run / "last.pt",
                BETON_ROOT=beton_root)
    )  # fmt: skip
    assert "85 rows of 85 images added, 85 rows now" in made
    assert "calibrated on the 5 people of the test set of synthetic" in made
    query, page = frames / lines_of(footage)[0]["frame"], tmp_path / "found.html"
    found = run(command("search", **place, QUERY=query, MODALITY="visible", CAMERAS="cam1,cam2", PAGE=page))
    among = [row for row in rows_of(tmp_path / "Index") if row.camera in ("cam1", "cam2")]
    assert len(among) == 20
    assert "Among 10 visible rows: " in found
    assert "Among 10 infrared rows: " in found
    assert page.is_file()
