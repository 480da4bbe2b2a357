"""The files of onnxruntime-web: from a folder or from npm, refused where they are missing or other ones."""

import hashlib
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from dns.demo import onnxruntime_web as module
from dns.demo.onnxruntime_web import PACKAGE, SHA256, onnxruntime_web
from ffcv_convert.common.errors import ConfigError, DataError
from tests.support.refusals import refusal

FILES = {name: f"made: {name}".encode() for name in SHA256}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, bytes]:
    """Files with their checksums in place of the real ones."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    monkeypatch.setattr(module, "SHA256", digests)
    return FILES


@pytest.mark.parametrize("place", [".", "dist", "package/dist", "node_modules/onnxruntime-web/dist"])
def test_a_folder_may_be_the_package_or_hold_it(place: str, made: Mapping[str, bytes], tmp_path: Path) -> None:
    lay(tmp_path / place, made)
    assert onnxruntime_web(tmp_path) == made


def test_another_version_is_refused(made: Mapping[str, bytes], tmp_path: Path) -> None:
    lay(tmp_path, {**made, "ort-wasm-simd-threaded.wasm": b"of another version"})
    with refusal(DataError, tmp_path / "ort-wasm-simd-threaded.wasm", PACKAGE, "SHA-256", "--onnxruntime-web=FOLDER"):
        onnxruntime_web(tmp_path)


def test_a_folder_without_them_is_refused(tmp_path: Path) -> None:
    with refusal(ConfigError, tmp_path, *SHA256, PACKAGE):
        onnxruntime_web(tmp_path)


def test_without_npm_the_message_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with refusal(ConfigError, "npm: not found", "apt-get install npm", "--onnxruntime-web=FOLDER"):
        onnxruntime_web(None)


def test_what_npm_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm(tmp_path, "echo 'no such network' >&2; exit 1", monkeypatch)
    with refusal(ConfigError, f"npm pack {PACKAGE}", "no such network", "--onnxruntime-web=FOLDER"):
        onnxruntime_web(None)


def test_npm_s_package_is_unpacked(made: Mapping[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(tmp_path / "packed.tgz", {**made, "more.js": b"which the page does not need"})
    npm(tmp_path, f'[ "$*" = "pack --silent --prefer-offline {PACKAGE}" ] && cp {tmp_path}/packed.tgz .', monkeypatch)
    assert onnxruntime_web(None) == made


@pytest.mark.parametrize("damage", ["cut", "other", "lacks"])
def test_a_damaged_package_is_refused(
    damage: str, made: Mapping[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = made
    pack(tmp_path / "packed.tgz", {first: made[first], **({} if damage == "lacks" else {second: b"other"})})
    if damage == "cut":
        os.truncate(tmp_path / "packed.tgz", 100)
    npm(tmp_path, f"cp {tmp_path}/packed.tgz .", monkeypatch)
    with refusal(DataError, PACKAGE, "--onnxruntime-web=FOLDER"):
        onnxruntime_web(None)


def lay(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def npm(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program called npm in front of the real one."""
    (folder / "bin").mkdir()
    (folder / "bin" / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bin" / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")


def pack(path: Path, files: Mapping[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as package:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            package.addfile(member, io.BytesIO(content))
