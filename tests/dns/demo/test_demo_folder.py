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
from tests.faults.test_disk import Disk
from tests.support.made_export import WIDTH
from tests.support.refusals import refusal

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
