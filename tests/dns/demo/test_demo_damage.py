"""Exported folders that are damaged or do not fit the images: a message, and nothing is written."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dns.demo import __main__ as command
from tests.conftest import Refused
from tests.support.made_export import WIDTH, make_export
from tests.support.refusals import assert_tells


def damaged(folder: Path, **changes: object) -> None:
    path = folder / "export.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def spoil_network(folder: Path) -> None:
    content = bytearray((folder / "infrared.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "infrared.onnx").write_bytes(content)


def lead_out(folder: Path) -> None:
    networks = json.loads((folder / "export.json").read_text())["networks"]
    networks["visible"]["file"] = "../visible.onnx"
    damaged(folder, networks=networks)


def no_network(folder: Path) -> None:
    networks = json.loads((folder / "export.json").read_text())["networks"]
    (folder / "visible.onnx").write_bytes(b"")
    networks["visible"]["sha256"] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    damaged(folder, networks=networks)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no description": (lambda folder: (folder / "export.json").unlink(), "."),
    "cut": (lambda folder: os.truncate(folder / "export.json", 100), "export.json"),
    "a list": (lambda folder: (folder / "export.json").write_text("[1, 2]"), "export.json"),
    "another format": (lambda folder: damaged(folder, format="another"), "export.json"),
    "a later version": (lambda folder: damaged(folder, version=2), "export.json"),
    "a part lacks": (lambda folder: damaged(folder, outputs={}), "export.json"),
    "a bit of a network": (spoil_network, "infrared.onnx"),
    "a network lacks": (lambda folder: (folder / "visible.onnx").unlink(), "visible.onnx"),
    "a name that leads out": (lead_out, "visible.onnx"),
    "an empty network": (no_network, "visible.onnx"),
    "nothing of the checkpoint": (lambda folder: damaged(folder, checkpoint={"name": "x"}), "export.json"),
    "another width": (
        lambda folder: damaged(folder, outputs={"embedding": 2 * WIDTH, "bn": WIDTH, "z": WIDTH}),
        "infrared.onnx",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_export_is_refused_and_nothing_is_written(
    damage: str, exported: Path, runtime: Path, beton_root: Path, tmp_path: Path, refused: Refused
) -> None:
    damage_it, named = DAMAGES[damage]
    damage_it(make_export(tmp_path / "damaged"))
    given = [tmp_path / "damaged", f"--beton-root={beton_root}", f"--onnxruntime-web={runtime}"]
    message = refused(command.main, given)
    assert_tells(message, tmp_path / "damaged" / named)
    assert sorted(os.listdir(tmp_path)) == ["damaged", "onnxruntime-web"]


def test_images_that_do_not_fit_are_refused(
    exported: Path, runtime: Path, beton_root: Path, tmp_path: Path, refused: Refused
) -> None:
    other = make_export(tmp_path / "larger", size_px=(288, 144))
    given = [f"--beton-root={beton_root}", f"--onnxruntime-web={runtime}", f"--folder={tmp_path / 'demo'}"]
    assert_tells(refused(command.main, [other, *given]), 96, 288, 144)
    sketches = make_export(tmp_path / "sketches", ("visible", "sketch"))
    assert_tells(refused(command.main, [sketches, *given]), sketches, "infrared")
    assert_tells(refused(command.main, [exported, *given, "--dataset=llcm"]), beton_root / "llcm", "--dataset=NAME")
    assert not (tmp_path / "demo").exists()
