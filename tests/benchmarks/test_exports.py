"""The table of exported networks: a row a folder, of one version, from files that are what export.json says."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import exports, harness
from dns.export import description
from ffcv_convert.beton.labels import Modality
from ffcv_convert.common.errors import CheckpointError

ROW = {"torch": {"rank1": 45.0, "mAP": 40.0}, "export": {"rank1": 44.25, "mAP": 39.0}, "places": 1234, "of": 5678}
VERSIONS = {"torch": "2.14.1", "commit": "abc", "modified": False, "sources": "1"}


def folder(path: Path, method: str = "dns", precision: str = "float32", *, tested: bool = True, **versions: Any) -> str:
    """Write a folder as `make export` does, of two files that hold no network."""
    path.mkdir()
    modalities = [Modality.VISIBLE, Modality.INFRARED]
    for modality in modalities:
        (path / description.file_of(modality)).write_bytes(b"x" * 1_250_000)
    trained = {"method": method, "architecture": "resnet10_half" if tested else "resnet50", "dataset": "synthetic",
               "file": "last.pt", "sha256": "", "epoch": 4, "identities": 320, "config": {}, "lists": {}}  # fmt: skip
    content = {
        "format": description.FORMAT, "version": description.VERSION, "size_px": [96, 48], "mean": [], "deviation": [],
        "feature": "bn", "precision": precision, "resize": "lanczos", "parts": 1, "opset": 18, "calibration": None,
        "networks": description.of_files(path, modalities), "outputs": dict.fromkeys(description.OUTPUTS, 256),
        "checkpoint": trained, "versions": {**VERSIONS, **versions},
        "parity": {
            "images": "of the test set", "outputs": {"1": 1.25e-7, "3": 2.5e-7, "48": 5e-7},
            "openvino": {"f32": 7.5e-7, "bf16": 3e-3} if tested else None,
            "protocols": [{"protocol": "llcm-i2v", "flip": "published", **ROW}] if tested else [],
            "not_run": None if tested else "no test set", "limits": {},
        },
    }  # fmt: skip
    (path / description.FILE).write_text(json.dumps(content))
    return str(path)


def rows_of(table: str) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]


def test_a_row_says_what_export_json_says(tmp_path: Path) -> None:
    content = exports.gather([exports.read(Path(folder(tmp_path / "one", precision="int8")))], {"cores": 2})
    assert rows_of(exports.table(content)) == [
        ["dns", "resnet10_half", "96 x 48", "int8", "1.2e-07", "2.5e-07", "5.0e-07", "7.5e-07", "3.0e-03", "45.00",
         "44.25", "0.75", "1,234 of 5,678", "2.5"]
    ]  # fmt: skip
    assert content["environment"] == {"cores": 2, **VERSIONS}


def test_a_network_that_was_not_tested_says_so(tmp_path: Path) -> None:
    found = exports.table(exports.gather([exports.read(Path(folder(tmp_path / "one", tested=False)))], {}))
    assert found.splitlines()[-1].endswith(" | not installed | not installed | not run |  |  |  | 2.5 |")


def test_tested_networks_stand_first_by_method_and_precision(tmp_path: Path) -> None:
    given = [("agw", "int8", True), ("dns", "float32", False), ("dns", "int8", True), ("agw", "float32", True)]
    rows = [
        exports.read(Path(folder(tmp_path / str(number), method, precision, tested=tested)))
        for number, (method, precision, tested) in enumerate(given)
    ]
    found = [(row["method"], row["precision"], row["protocol"] is not None) for row in exports.gather(rows, {})["rows"]]
    assert found == [given[2], given[3], given[0], given[1]]


def test_several_versions_are_refused(tmp_path: Path) -> None:
    one, again = folder(tmp_path / "one"), folder(tmp_path / "again", commit="of docs alone")
    two = folder(tmp_path / "two", torch="3.0")
    assert exports.gather([exports.read(Path(path)) for path in (one, again)], {})
    with pytest.raises(CheckpointError, match="different versions"):
        exports.gather([exports.read(Path(path)) for path in (one, two)], {})


def test_results_are_stored_once_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    path = folder(tmp_path / "one")
    assert exports.main([path]) == 0
    (stored,) = (tmp_path / "results").glob("exports-*.json")
    assert exports.table(json.loads(stored.read_text())) in capsys.readouterr().out
    assert exports.main([path]) == 2
    assert "holds a result of today" in capsys.readouterr().err


def test_a_damaged_folder_is_named_and_nothing_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    path = Path(folder(tmp_path / "one"))
    (path / "visible.onnx").write_bytes(b"another's")
    assert exports.main([str(path)]) == 2
    assert f"error: {path / 'visible.onnx'}: is not the file" in capsys.readouterr().err
    assert exports.main([]) == 2
    assert not (tmp_path / "results").exists()
