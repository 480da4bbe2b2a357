"""The folder of the page: what it holds, what it does not show, and that it is whole or not there."""

import errno
import io
import json
import os
import re
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

from dns.demo import __main__ as command
from dns.demo.serve import server
from dns.judge.subject import open_images
from dns.report import page
from ffcv_convert.common.errors import ConfigError, ReportError
from tests.conftest import Refused
from tests.faults.test_disk import Disk
from tests.support.made_export import WIDTH, make_export
from tests.support.refusals import assert_tells, refusal

Write = Callable[..., Path]


@pytest.fixture
def write(exported: Path, runtime: Path, beton_root: Path, tmp_path: Path) -> Write:
    """write(option, ...): the folder that the command writes with these options."""

    def call(*options: str, of: Path = exported, folder: Path = tmp_path / "demo") -> Path:
        given = [str(of), f"--folder={folder}", f"--beton-root={beton_root}", f"--onnxruntime-web={runtime}", *options]
        assert command.main(given) == 0
        return folder

    return call


def about(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "demo.json").read_text())


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_holds_what_the_page_asks_for_and_no_more(write: Write) -> None:
    folder = write()
    found, files = about(folder), set(files_in(folder))
    needed = {"index.html", "demo.json"}
    for name in ("index.html", *(name for name in files if name.endswith(".js"))):
        text = (folder / name).read_text()
        needed |= set(re.findall(r'(?:href|src)="(?!data:)([^"]+)"', text))
        needed |= {name.removeprefix("./") for name in re.findall(r'^import .* from "([^"]+)"', text, re.MULTILINE)}
        needed |= set(re.findall(r'new URL\("([^"]+)"', text))
    for part in (*found["networks"].values(), *found["galleries"].values()):
        needed |= {part["file"], *(one["thumbnail"] for one in part.get("images", []))}
    assert files == needed
    assert (folder / "page.css").read_text().startswith(page.style())


def test_embeddings_and_names_are_those_of_the_test_images(write: Write, exported: Path, beton_root: Path) -> None:
    import onnxruntime

    folder = write()
    images = open_images(beton_root / "synthetic", None)
    for code, name in enumerate(("visible", "infrared")):
        rows = np.flatnonzero(images.modality_N == code)
        session = onnxruntime.InferenceSession(str(exported / f"{name}.onnx"))
        (expected,) = session.run(["embedding"], {"images": np.stack(images.pixels(rows))})
        found = np.fromfile(folder / f"{name}.f32", "<f4").reshape(-1, WIDTH)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        shown = about(folder)["galleries"][name]["images"]
        assert [one["path"] for one in shown] == [images.path_N[row] for row in rows]
        assert [one["identity"] for one in shown] == images.person_N[rows].tolist()
        small = Image.open(io.BytesIO((folder / shown[0]["thumbnail"]).read_bytes()))
        difference = np.abs(np.asarray(small, int) - images.pixels(rows[:1])[0])
        assert small.size == (48, 96)
        assert difference.mean() < 6  # a JPEG


def test_the_page_lets_nothing_out_and_holds_no_address(write: Write) -> None:
    folder = write()
    html = (folder / "index.html").read_text()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules["default-src"] == rules["form-action"] == rules["base-uri"] == "'none'"
    assert {source for rule in rules.values() for source in rule.split()} == {
        "'none'", "'self'", "'wasm-unsafe-eval'", "blob:", "data:",
    }  # fmt: skip
    assert rules["script-src"] == "'self' 'wasm-unsafe-eval'"
    for name, content in files_in(folder).items():
        if name.endswith((".html", ".js", ".css")):
            assert set(re.findall(rb"https?://[^\s/:<]+", content)) <= {b"http://127.0.0.1"}


def test_people_are_shown_where_they_are_drawn_or_where_it_is_asked_for(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert "nobody's terms apply" in about(write())["terms"]
    monkeypatch.setattr(command, "is_drawn", lambda _: False)  # as of the licensed sets
    folder = write()
    assert "--images=true" in capsys.readouterr().out
    assert not (folder / "images").exists()
    assert about(folder)["terms"] == ""
    assert "thumbnail" not in (folder / "demo.json").read_text()
    assert (write("--images=true") / "images").is_dir()
    monkeypatch.setattr(command, "is_drawn", lambda _: True)
    assert not (write("--images=false") / "images").exists()


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
        lambda folder: damaged(folder, outputs={"embedding": WIDTH + 1, "bn": WIDTH, "z": WIDTH}),
        "infrared.onnx",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_export_is_refused_and_nothing_is_written(
    damage: str, exported: Path, runtime: Path, beton_root: Path, tmp_path: Path, refused: Refused
) -> None:
    spoil, named = DAMAGES[damage]
    spoil(make_export(tmp_path / "spoilt"))
    given = [tmp_path / "spoilt", f"--beton-root={beton_root}", f"--onnxruntime-web={runtime}"]
    message = refused(command.main, given)
    assert_tells(message, tmp_path / "spoilt" / named)
    assert sorted(os.listdir(tmp_path)) == ["onnxruntime-web", "spoilt"]


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


def test_a_page_replaces_a_former_one_and_nothing_else(write: Write, tmp_path: Path) -> None:
    folder = write()
    (folder / "old.txt").touch()
    assert not (write() / "old.txt").exists()
    for name in ("full", "file"):
        other = tmp_path / name
        if name == "full":
            other.mkdir()
            (other / "demo.json").write_text("{}")
        else:
            other.touch()
        with refusal(ConfigError, other, "--folder=FOLDER"):
            write(folder=other)
    assert sorted(os.listdir(tmp_path)) == ["demo", "file", "full", "onnxruntime-web"]


@pytest.mark.parametrize("number", [1, 8, 20])
def test_a_disk_that_fills_up_leaves_the_former_page(
    number: int, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_in(write())
    calls = iter(range(1, 1000))

    def full(descriptor: int) -> None:
        if next(calls) == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with refusal(ReportError, tmp_path / "demo", "No space left on device"):
        write()
    assert files_in(tmp_path / "demo") == before
    assert sorted(os.listdir(tmp_path)) == ["demo", "onnxruntime-web"]


def test_a_full_disk_is_told_and_holds_nothing_half_written(write: Write, tmp_path: Path) -> None:
    disk = Disk(tmp_path / "disk")
    if not disk.mounted:
        pytest.skip("needs a disk that it may mount")
    try:
        disk.leave(60_000)  # page, networks and style fit, images do not
        with refusal(ReportError, disk.path / "demo", "No space left on device"):
            write(folder=disk.path / "demo")
        assert os.listdir(disk.path) == ["filler"]
    finally:
        subprocess.run(["umount", str(disk.path)], check=True)


def test_it_is_served_on_this_machine_alone(write: Write) -> None:
    with server(write(), 0) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        assert serving.server_address[0] == "127.0.0.1"
        types = {"": "text/html", "main.js": "javascript", "onnxruntime/ort.wasm.bundle.min.mjs": "javascript"}
        for path, kind in {**types, "onnxruntime/ort-wasm-simd-threaded.wasm": "application/wasm"}.items():
            with urlopen(f"http://127.0.0.1:{serving.server_port}/{path}") as answer:
                assert kind in answer.headers["Content-Type"]
        with refusal(ConfigError, f"--port={serving.server_port}"):
            server(Path(), serving.server_port)
        serving.shutdown()
